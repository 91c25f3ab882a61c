"""Which model of a run a command means, and how images reach it."""

from pathlib import Path

from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.studies.learning import MODEL

PLACES = ("student", "model")  # where eyas fit and eyas train keep the model to use


def find_model(run: Path) -> Path:
    """The model file of a run, of a stage's folder (`runs/solar/teacher`), or the file itself.

    Raises:
        UserError: there is none.
    """
    if run.is_file():
        return run
    for folder in (run, *(run / place for place in PLACES)):
        if (folder / MODEL).exists():
            return folder / MODEL
    raise UserError(f"no trained model in {run}; give a run of eyas fit or eyas train, or a folder that holds {MODEL}")


def open_model(run: Path) -> tuple[Network, tuple[str, ...]]:
    """The network of a run and its class names."""
    return load_network(find_model(run))
