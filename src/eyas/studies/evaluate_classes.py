"""A classifier's accuracy on labelled images; and which images a run has not seen, for every task."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from eyas.arch.spec import Arch
from eyas.data.batches import Examples, one_hot
from eyas.data.manifest import Manifest
from eyas.data.readers import read
from eyas.data.store import Store, build
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.studies.answering import confusion, correct, probabilities
from eyas.studies.model import check_kind, find_model
from eyas.studies.pictures import known_pictures
from eyas.studies.prepare import side_of
from eyas.studies.proof import Accuracy, accuracy

Part = Literal["auto", "all", "train", "validation", "test"]


@dataclass(frozen=True)
class Evaluated:
    """Accuracy of a model on a data set; `confusion` has the truth in rows.

    `seen` images were left out because the run trained on them or chose with them, `unreadable` because of their files.
    """

    model: Path
    classes: tuple[str, ...]
    accuracy: Accuracy
    recalls: dict[str, Accuracy]
    confusion: list[list[int]]
    seen: int
    unreadable: int


def evaluate_classes(run: str | Path, data: str | Path, split: Part = "auto") -> Evaluated:
    """Measure accuracy on labelled images that the model has not seen.

    Args:
        run: a run of eyas fit or eyas train, or one stage's folder in it.
        data: labelled images, as for eyas fit.
        split: which images; auto takes the test split where the data has one, else all.

    Raises:
        UserError: the data has other classes than the model, or no image that can be used.
    """
    path = find_model(run)
    check_kind(path, "classify")
    network, classes = load_network(path)
    manifest = chosen(read(str(data)), split)
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise UserError(f"{data} has the class {unknown[0]!r}, which {path} was not trained on; it knows {', '.join(classes)}")
    with unseen(run, manifest, network.arch, str(data)) as found:
        truth = found.rows.column("label")
        examples = Examples(found.store, found.positions, one_hot(truth, classes), labelled=True)
        given = probabilities(network, examples)
    right = correct(given, examples)
    of = np.array(truth)
    recalls = {name: accuracy(right[of == name]) for name in classes if (of == name).any()}
    return Evaluated(path, classes, accuracy(right), recalls, confusion(given, examples), found.seen, found.unreadable)


@dataclass(frozen=True)
class Unseen:
    """Images that a run has not seen: their rows, where they are in a store, and how many others were left out."""

    rows: Manifest
    store: Store
    positions: Int64[np.ndarray, " n"]
    seen: int
    unreadable: int


@contextmanager
def unseen(run: str | Path, manifest: Manifest, arch: Arch, data: str) -> Generator[Unseen]:
    """The images of `manifest` that the run neither trained on nor chose with, prepared for as long as the block lasts.

    Raises:
        UserError: there are none.
    """
    known = known_pictures(Path(run))  # first, as it may be refused
    with tempfile.TemporaryDirectory() as folder:
        built = build(manifest, Path(folder) / "store", side_of(arch.resolution, arch.preprocessing.view))
        fresh = {
            id: row for row, (id, mark) in enumerate(zip(built.store.ids, built.store.hashes, strict=True)) if mark not in known
        }
        if not fresh:
            raise UserError(
                f"no image of {data} can be used: {len(built.refused)} unreadable, {len(built.store)} seen in training"
            )
        rows = manifest.where([id in fresh for id in manifest.column("id")])
        positions = np.array([fresh[id] for id in rows.column("id")], dtype=np.int64)
        yield Unseen(rows, built.store, positions, len(built.store) - len(fresh), len(built.refused))


def chosen(manifest: Manifest, split: Part) -> Manifest:
    """The rows of a split; `auto` takes the test split where there is one, else all.

    Raises:
        UserError: there are none.
    """
    has_test = "test" in manifest.column("split")
    if split == "all" or (split == "auto" and not has_test):
        return manifest
    name = "test" if split == "auto" else split
    chosen = manifest.where([found == name for found in manifest.column("split")])
    if not len(chosen):
        raise UserError(f"the data has no {name} split; choose another with --split, or all")
    return chosen
