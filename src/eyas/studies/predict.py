"""`eyas predict`: answers to pictures, by the file that ships or by the trained network itself.

Nothing here waits for torch unless a trained network is to answer: a file needs its runtime alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eyas.deploy import predict as page
from eyas.errors import UserError
from eyas.progress import say
from eyas.run import read_json

SHIPS = "ships"  # in a run's result.json: the target that eyas fit chose


@dataclass(frozen=True, slots=True)
class Guess:
    """A class, and how probable the model finds it."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one picture; for one that cannot be read only the reason.

    Attributes:
        image: as it was given, or found in a folder.
        label: the likeliest class.
        confidence: its probability, to six digits.
        sure: whether that reaches the model's threshold; None where it has none.
        top: the likeliest classes, best first; empty where there is an error.
        error: why the picture cannot be read.
    """

    image: str
    label: str | None = None
    confidence: float | None = None
    sure: bool | None = None
    top: tuple[Guess, ...] = ()
    error: str | None = None


def predict(model: str | Path, images: list[str], top: int = 1, threads: int = 0, batch: int = 1) -> Iterator[Answer]:
    """Answer each picture with its class, as soon as it is looked at.

    A picture that cannot be read stops nothing: its answer is the reason (and the command's exit code is 2).

    Args:
        model: an artifact's folder; a run of eyas fit, which answers by the file that it ships; or a run of eyas train, a
            stage's folder in a run or a model file, which answer by the trained network.
        images: image files, folders of them, or - for names on standard input, one a line.
        top: how many of the likeliest classes are told.
        threads: of the processor; 0 lets the runtime choose.
        batch: images that are answered at once.

    Raises:
        UserError: there is no model, it cannot be used, or a number is out of range.
    """
    for name, value, least in (("top", top, 1), ("threads", threads, 0), ("batch", batch, 1)):
        if value < least:
            raise UserError(f"--{name} is {value}; it must be {least} or above")
    artifact = _artifact(Path(model))
    try:
        facts, ask = _trained(model, threads) if artifact is None else _exported(artifact, threads)
    except page.Unusable as error:
        raise UserError(str(error)) from None
    return _answers(page.answers(page.files(images), lambda name: _pixels(name, facts), ask, facts, top, batch))


def _artifact(model: Path) -> Path | None:
    """The folder of the file that answers; None where the trained network does.

    Raises:
        UserError: there is nothing at all.
    """
    if not model.exists():
        raise UserError(f"nothing at {model}; give an artifact's folder, or the --out of eyas fit or eyas train")
    folder = model.parent if model.is_file() else model
    if (folder / "artifact.json").is_file():
        return folder
    result: Any = read_json(model / "result.json") if (model / "result.json").is_file() else {}
    return model / "artifacts" / result[SHIPS] if SHIPS in result else None


def _exported(folder: Path, threads: int) -> tuple[dict[str, Any], page.Ask]:
    facts = page.about(folder)
    if facts["status"] == "rejected":
        say(f"{folder} was rejected when it was checked (its parity.json and latency.json tell more), and answers all the same")
    family = page.family(facts["target"])
    if family is not None and not (threads and family in page.CHOOSES):
        return facts, page.open_model(folder, threads)
    from eyas.deploy.target import Artifact  # what the page cannot do needs torch: not before it is known to be needed

    return facts, Artifact.load(folder).predictor(threads)


def _trained(model: str | Path, threads: int) -> tuple[dict[str, Any], page.Ask]:
    import torch  # seconds, which an artifact's answers do without

    from eyas.deploy.parity import reference_of
    from eyas.learn.device import choose
    from eyas.studies.model import open_model

    if threads:
        torch.set_num_threads(threads)
    network, classes = open_model(model)
    arch = network.arch
    facts = {"classes": classes, "resolution": arch.resolution, "crop": arch.preprocessing.view}
    return {**facts, "frame": None, "threshold": None}, reference_of(network.to(choose().name))


def _pixels(name: str, facts: dict[str, Any]) -> np.ndarray:
    if "://" not in name:
        return page.pixels(name, facts)
    from eyas.data.sources import Refusal, opened  # pyarrow and more, which files of this machine do without

    try:
        with opened(name) as file:
            return page.pixels(file, facts)
    except Refusal as refusal:
        raise page.Unreadable(str(refusal)) from None


def _answers(lines: Iterable[dict[str, Any]]) -> Iterator[Answer]:
    try:
        for line in lines:
            guesses = tuple(Guess(**guess) for guess in line.pop("top") or ())
            yield Answer(**line, top=guesses)
    except page.Unusable as error:
        raise UserError(str(error)) from None
