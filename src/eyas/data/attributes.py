"""What is known of the attributes of images: names, and a target for each image and attribute."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.progress import say

UNKNOWN = "unknown"  # a column: the names of the attributes that nobody said of an image
COMMON = 8  # images that share all their attributes, from which on splits are drawn among them apart
OTHER = "other"
NONE = "none"

Targets = Float32[np.ndarray, "n k"]


def attribute_names(manifest: Manifest, columns: Sequence[str] = ()) -> tuple[str, ...]:
    """The attributes of a data set: the named columns, or all labels that occur in the column `labels`.

    Raises:
        UserError: there is no such column, or no label.
    """
    lost = [name for name in columns if name not in manifest.extra]
    if lost:
        raise UserError(
            f"the data has no column {lost[0]!r} to take as an attribute; it has {', '.join(manifest.extra) or 'none'}"
        )
    if columns:
        return tuple(dict.fromkeys(columns))
    if "labels" not in manifest.extra:
        raise UserError(
            "the data has no attributes: give a table with a column of -1 and 1 for each, a list whose column labels holds "
            "several, or name the columns that are attributes"
        )
    listed = manifest.table["labels"].combine_chunks().flatten().unique().to_pylist()
    doubted = manifest.table[UNKNOWN].combine_chunks().flatten().unique().to_pylist() if UNKNOWN in manifest.extra else []
    names = tuple(sorted({*listed, *doubted} - {None}))
    if not names:
        raise UserError("no image of the data has an attribute; nothing can be learned from it, but it can be the pile")
    return names


def attribute_targets(manifest: Manifest, names: Sequence[str], columns: Sequence[str] = ()) -> Targets:
    """1 where an image has the attribute, 0 where not, nan where it is unknown.

    Raises:
        UserError: a value in one of `columns` is no truth value and no number from 0 to 1 (or -1 for 0).
    """
    if columns:
        values = [_column(manifest, name) for name in names]
        return np.stack(values, axis=1) if len(manifest) else np.zeros((0, len(names)), np.float32)
    targets = np.zeros((len(manifest), len(names)), np.float32)
    targets[_places(manifest, "labels", names)] = 1
    if UNKNOWN in manifest.extra:
        targets[_places(manifest, UNKNOWN, names)] = np.nan
    return targets


def by_attributes(manifest: Manifest, columns: Sequence[str] = ()) -> Manifest:
    """The rows labelled by all their attributes together, so that splits are drawn with a like share of each kind.

    Kinds of few images are one kind. Equal pictures of different kinds are then found as those of different classes are.
    """
    names = attribute_names(manifest, columns)
    targets = attribute_targets(manifest, names, columns)
    kinds, index, counts = np.unique(np.nan_to_num(targets, nan=-1), axis=0, return_inverse=True, return_counts=True)
    texts = [" ".join(name for name, value in zip(names, kind, strict=True) if value >= 0.5) or NONE for kind in kinds]
    labels = [texts[kind] if counts[kind] >= COMMON else OTHER for kind in index.reshape(-1).tolist()]
    place = manifest.table.column_names.index("label")
    return Manifest(manifest.table.set_column(place, "label", pa.array(labels, pa.string())), manifest.flips)


def say_constant(names: Sequence[str], targets: Targets, where: str) -> tuple[str, ...]:
    """The attributes that all images have, or none, of those that it is known of; they are said, as nothing ranks them."""
    known = ~np.isnan(targets)
    there = (targets >= 0.5) & known
    constant = [name for name, some, of in zip(names, there.sum(0), known.sum(0), strict=True) if some in (0, of)]
    if constant:
        some = ", ".join(constant[:5]) + (f" and {len(constant) - 5} more" if len(constant) > 5 else "")
        say(f"{len(constant)} of {len(names)} attributes are the same for all {where} ({some}): they are left out of the mean")
    return tuple(constant)


def _places(manifest: Manifest, column: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Row and attribute of every entry of a column of lists; entries that are no attribute of `names` are left out."""
    lists = manifest.table[column].combine_chunks()
    rows = np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    entries = lists.flatten()
    place = {name: number for number, name in enumerate(names)}
    found = np.array([place.get(entry, -1) for entry in entries.to_pylist()], dtype=np.int64)
    return rows[found >= 0], found[found >= 0]


def _column(manifest: Manifest, name: str) -> Float32[np.ndarray, " n"]:
    ids = manifest.column("id")
    return np.array([_value(name, id, cell) for id, cell in zip(ids, manifest.column(name), strict=True)], dtype=np.float32)


def _value(name: str, id: str, cell: Any) -> float:
    if cell in (None, ""):
        return np.nan
    text = str(cell).strip().lower()
    try:
        value = float({"true": 1, "false": 0, "yes": 1, "no": 0}.get(text, text))
    except ValueError:
        value = np.inf
    if not (0 <= value <= 1 or value == -1):
        raise UserError(
            f"{id}: {name} is {cell!r}; an attribute is 1 or 0 (or -1), true or false, a share between, or empty where unknown"
        )
    return max(0.0, value)
