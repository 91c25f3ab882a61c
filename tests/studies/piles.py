"""Made-up answers to a pile of three classes."""

from pathlib import Path

import numpy as np

from eyas.run import write_json
from eyas.studies.select import Scores
from eyas.studies.soft_labels import FACTS, Form, SoftLabels, open_labels, write_shard

CLASSES = ("a", "b", "c")


def answer(top: int, confidence: float) -> np.ndarray:
    """An answer over three classes with the rest shared."""
    row = np.full(3, (1 - confidence) / 2, np.float32)
    row[top] = confidence
    return row


def answers(*given: tuple[int, float]) -> np.ndarray:
    return np.stack([answer(top, confidence) for top, confidence in given])


def scores_of(given: np.ndarray, energy: np.ndarray | None = None) -> Scores:
    """What a first pass finds."""
    energies = np.zeros(len(given)) if energy is None else energy
    return Scores(given.max(1, initial=0), given.argmax(1).astype(np.int32), energies.astype(np.float32))


def labels_in(folder: Path, given: np.ndarray, shard: int = 100, top: int = 0, energy: np.ndarray | None = None) -> SoftLabels:
    """Soft labels with the ids 0, 1, ... in shards of so many images."""
    folder.mkdir(exist_ok=True)
    form = Form(given.shape[1], top)
    names = CLASSES if given.shape[1] == len(CLASSES) else [str(number) for number in range(given.shape[1])]
    write_json(folder / FACTS, {"teacher": "t", "arch": "a", "classes": names, "top": top})
    energies = np.zeros(len(given), np.float32) if energy is None else energy.astype(np.float32)
    for start in range(0, len(given), shard):
        rows = range(start, min(start + shard, len(given)))
        columns = {"id": [str(row) for row in rows], "energy": energies[rows.start : rows.stop]}
        form_columns = form.columns(given[rows.start : rows.stop])
        write_shard(folder / f"{start // shard:05d}.parquet", columns | form_columns, {"refused": []})
    return open_labels(folder)
