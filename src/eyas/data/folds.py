"""Cross-validation: every labelled image is held out once."""

from collections import Counter, defaultdict

import numpy as np
from jaxtyping import Int64

from eyas.data.manifest import Manifest
from eyas.data.splits import draw_validation, shuffled
from eyas.recipe import Splits


def folds(manifest: Manifest, count: int, seed: int) -> Int64[np.ndarray, " n"]:
    """For each row the fold, from 0, that it is held out in: of every class about as many in each, groups kept whole.

    The splits are not looked at. Rows that show the same thing must be of one group (`eyas.data.duplicates.together`), or
    a wrong label that both have would speak for itself.
    """
    units: dict[str, list[int]] = defaultdict(list)
    for row, (id, group) in enumerate(zip(manifest.column("id"), manifest.column("group"), strict=True)):
        units[f"row {id}" if group is None else f"group {group}"].append(row)
    labels = manifest.column("label")
    found = np.zeros(len(manifest), dtype=np.int64)
    held: list[Counter[str]] = [Counter() for _ in range(count)]
    # The largest groups first, while every fold still has room for them.
    for name in sorted(shuffled(units, "folds", seed), key=lambda name: -len(units[name])):
        rows = units[name]
        here = Counter(labels[row] for row in rows)
        fold = min(range(count), key=lambda index: (sum(held[index][label] for label in here), held[index].total(), index))
        held[fold].update(here)
        found[rows] = fold
    return found


def with_fold(manifest: Manifest, held_out: np.ndarray, splits: Splits, seed: int) -> Manifest:
    """The manifest to train one fold's model on: `held_out` rows are its test split, validation is drawn from the others."""
    open_rows = manifest.with_splits(["test" if out else None for out in held_out.tolist()])
    drawn = draw_validation(open_rows, splits, seed)
    return drawn.with_splits([split or "train" for split in drawn.column("split")])
