"""Hugging Face's hub: a model's files, from its cache or the network."""

import logging
from pathlib import Path

from eyas.errors import UserError, first_line
from eyas.progress import work

MODELS = ("model.safetensors", "pytorch_model.bin")  # the first that there is


def hub_folder(repository: str) -> Path:
    """The folder that holds a model's weights and `config.json`.

    Raises:
        UserError: the package for it is missing, the repository is not there, or it cannot be reached.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError
    except ImportError:
        raise UserError(f"weights hf:{repository} need huggingface_hub: pip install 'eyas[weights]'") from None
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what it tells of each retry would stand between the progress and the one sentence
    try:
        with work(f"fetching {repository}"):
            folder = Path(hf_hub_download(repository, "config.json")).parent
            for name in MODELS:
                try:
                    hf_hub_download(repository, name)
                    break
                except EntryNotFoundError:
                    if name == MODELS[-1]:
                        raise
    except (OSError, ValueError, EntryNotFoundError, HFValidationError) as error:
        reason = first_line(error)
        raise UserError(f"weights hf:{repository} cannot be had from the Hugging Face hub or its cache: {reason}") from None
    finally:
        logger.setLevel(level)
    return folder
