"""`eyas evaluate`: a trained model's accuracy on labelled images."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eyas.data.batches import Examples, one_hot
from eyas.data.manifest import Manifest
from eyas.data.readers import read
from eyas.data.store import build, open_store
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.studies.answering import confusion, correct, probabilities
from eyas.studies.model import find_model
from eyas.studies.prepare import side_of
from eyas.studies.proof import Accuracy, accuracy


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


def evaluate(
    run: str | Path, data: str | Path, split: Literal["auto", "all", "train", "validation", "test"] = "auto"
) -> Evaluated:
    """Measure accuracy on labelled images that the model has not seen.

    Args:
        run: a run of eyas fit or eyas train, or one stage's folder in it.
        data: labelled images, as for eyas fit.
        split: which images; auto takes the test split where the data has one, else all.

    Raises:
        UserError: the data has other classes than the model, or no image that can be used.
    """
    path = find_model(run)
    network, classes = load_network(path)
    manifest = _chosen(read(str(data)), split)
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise UserError(f"{data} has the class {unknown[0]!r}, which {path} was not trained on; it knows {', '.join(classes)}")
    with tempfile.TemporaryDirectory() as folder:
        built = build(manifest, Path(folder) / "store", side_of(network.arch.resolution, network.arch.preprocessing.view))
        seen = _seen(Path(run))
        fresh = [row for row, mark in enumerate(built.store.hashes) if mark not in seen]
        if not fresh:
            raise UserError(
                f"no image of {data} can be used: {len(built.refused)} unreadable, {len(built.store)} seen in training"
            )
        labels = dict(zip(manifest.column("id"), manifest.column("label"), strict=True))
        truth = [labels[built.store.ids[row]] for row in fresh]
        examples = Examples(built.store, np.array(fresh, dtype=np.int64), one_hot(truth, classes), labelled=True)
        given = probabilities(network, examples)
    right = correct(given, examples)
    of = np.array(truth)
    recalls = {name: accuracy(right[of == name]) for name in classes if (of == name).any()}
    left_out = len(built.store) - len(fresh)
    return Evaluated(path, classes, accuracy(right), recalls, confusion(given, examples), left_out, len(built.refused))


def _chosen(manifest: Manifest, split: str) -> Manifest:
    has_test = "test" in manifest.column("split")
    if split == "all" or (split == "auto" and not has_test):
        return manifest
    name = "test" if split == "auto" else split
    chosen = manifest.where([found == name for found in manifest.column("split")])
    if not len(chosen):
        raise UserError(f"the data has no {name} split; choose another with --split, or all")
    return chosen


def _seen(run: Path) -> set[str]:
    """Digests of the pictures that the run trained on or chose with, pile included."""
    root = next((folder for folder in (run, *run.resolve().parents) if (folder / "data" / "manifest.parquet").exists()), None)
    if root is None:
        return set()
    data = root / "data"
    manifest = Manifest.load(data / "manifest.parquet")
    marks = _marks(data / "labelled", manifest.where([split != "test" for split in manifest.column("split")]))
    if (data / "pile.parquet").exists():  # not all that its store holds: copies of test images were dropped unseen
        marks |= _marks(data / "pile", Manifest.load(data / "pile.parquet"))
    return marks


def _marks(folder: Path, rows: Manifest) -> set[str]:
    store, wanted = open_store(folder), set(rows.column("id"))
    return {mark for id, mark in zip(store.ids, store.hashes, strict=True) if id in wanted}
