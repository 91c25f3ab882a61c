"""`eyas predict`: answers to pictures, by the file that ships or by the trained network itself.

Nothing here waits for torch unless a trained network is to answer: a file needs its runtime alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eyas.deploy import boxes
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


@dataclass(frozen=True, slots=True)
class Attributes:
    """The probability of each attribute of one picture; for one that cannot be read only the reason."""

    image: str
    attributes: dict[str, float]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """The vector of one picture, of length 1; for one that cannot be read only the reason."""

    image: str
    vector: tuple[float, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """What a detector finds at a place.

    Attributes:
        label: what it is.
        confidence: its score, to six digits.
        sure: whether that reaches the model's threshold; None where it has none.
        box: left, top, right and bottom in pixels of the picture.
    """

    label: str
    confidence: float
    sure: bool | None
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Boxes:
    """What a detector finds in one picture, the surest first; for one that cannot be read only the reason."""

    image: str
    boxes: tuple[Box, ...]
    error: str | None = None


Told = Answer | Attributes | Vector | Boxes


def predict(
    model: str | Path,
    images: list[str],
    top: int = 1,
    threads: int = 0,
    batch: int = 1,
    draw: str | Path | None = None,
) -> Iterator[Told]:
    """Answer each picture as soon as it is looked at: with its class, its attributes, its vector, or boxes.

    A picture that cannot be read stops nothing: its answer is the reason (and the command's exit code is 2).

    Args:
        model: an artifact's folder; a run of eyas fit, which answers by the file that it ships; or a run of eyas train, a
            stage's folder in a run or a model file, which answer by the trained network.
        images: image files, folders of them, or - for names on standard input, one a line.
        top: how many of the likeliest classes are told.
        threads: of the processor; 0 lets the runtime choose.
        batch: images that are answered at once.
        draw: of a detector, a folder for copies of the pictures with the boxes that it is sure of, PICTURE-boxes.png.

    Raises:
        UserError: there is no model, it cannot be used, it has nothing to draw, or a number is out of range.
    """
    for name, value, least in (("top", top, 1), ("threads", threads, 0), ("batch", batch, 1)):
        if value < least:
            raise UserError(f"--{name} is {value}; it must be {least} or above")
    artifact = _artifact(Path(model))
    try:
        if artifact is None:
            facts, ask, tell = _trained(model, threads, top)
        else:
            facts, ask = _exported(artifact, threads)
            tell = page.teller(facts, top)
        page.check(facts, top, draw)
    except page.Unusable as error:
        raise UserError(str(error)) from None
    paint = boxes.drawing(str(draw)) if draw is not None else None
    return _answers(page.answers(page.files(images), _picture, ask, facts, tell, batch, paint), facts["task"])


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


def _trained(model: str | Path, threads: int, top: int) -> tuple[dict[str, Any], page.Ask, page.Tell]:
    import torch  # seconds, which an artifact's answers do without

    from eyas.deploy.parity import reference_of
    from eyas.learn.device import choose
    from eyas.nn.detectors import load_detector
    from eyas.nn.weights import kind_of, load_network
    from eyas.studies.detection import asking, listing
    from eyas.studies.model import find_model

    if threads:
        torch.set_num_threads(threads)
    path = find_model(model)
    kind, device = kind_of(path), choose().name
    if kind == "detect":
        detector, names = load_detector(path)
        return _facts(kind, names, detector.arch), asking(detector.to(device)), listing(names)
    network, names = load_network(path)
    facts = _facts(kind, names, network.arch)
    return facts, reference_of(network.to(device), kind), page.teller(facts, top)


def _facts(kind: str, names: tuple[str, ...], arch: Any) -> dict[str, Any]:
    """What `artifact.json` would say of a trained network."""
    seen = {"resolution": arch.resolution, "crop": arch.preprocessing.view, "frame": None}
    return {"task": kind, "classes": names, "threshold": None, "boxes": None, **seen}


def _picture(name: str) -> np.ndarray:
    if "://" not in name:
        return page.decode(name)
    from eyas.data.sources import Refusal, opened  # pyarrow and more, which files of this machine do without

    try:
        with opened(name) as file:
            return page.decode(file)
    except Refusal as refusal:
        raise page.Unreadable(str(refusal)) from None


def _answers(lines: Iterable[dict[str, Any]], task: str) -> Iterator[Told]:
    try:
        for line in lines:
            yield TOLD[task](line)
    except page.Unusable as error:
        raise UserError(str(error)) from None
    except OSError as error:  # of what is drawn: pictures that cannot be read are told of
        raise UserError(f"cannot write {error.filename}: {error.strerror}; give --draw another folder") from None


def _answer(line: dict[str, Any]) -> Answer:
    guesses = tuple(Guess(**guess) for guess in line.pop("top"))
    return Answer(**line, top=guesses)


def _boxes(line: dict[str, Any]) -> Boxes:
    found = tuple(Box(each["label"], each["confidence"], each["sure"], tuple(each["box"])) for each in line["boxes"])
    return Boxes(line["image"], found, line["error"])


TOLD: dict[str, Callable[[dict[str, Any]], Told]] = {
    "classify": _answer,
    "attributes": lambda line: Attributes(**line),
    "embed": lambda line: Vector(line["image"], tuple(line["vector"]), line["error"]),
    "detect": _boxes,
}
