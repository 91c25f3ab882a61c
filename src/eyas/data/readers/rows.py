"""Rows of any list of images to a manifest: what the columns label, labels, split, group and weight may hold."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eyas.data import remote
from eyas.data.manifest import COLUMNS, Manifest
from eyas.data.readers.folders import SPLIT_NAMES
from eyas.data.readers.places import Place
from eyas.errors import UserError

PATH_NAMES = ("path", "file_name")  # the second is what Hugging Face's metadata files say
BETWEEN_LABELS = "|"


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a list: where it stands there (`line 3`), what it is called there, its id, source and other cells."""

    where: str
    name: str
    id: str
    source: str
    cells: Mapping[str, Any]


def file_row(listing: Place, folder: Place, where: str, path: Any, cells: Mapping[str, Any]) -> Row:
    """The row of an image in a file of its own; `path` is relative to `folder`, absolute, or an address.

    Raises:
        UserError: there is no such file on this machine.
    """
    if not isinstance(path, str) or not path:
        raise UserError(f"{listing}, {where}: no file {path or ''!r}; every row needs the path of its image")
    if remote.is_address(path):
        remote.filesystem(path)  # a missing package is told once, not of every image
        return Row(where, path, path, path, cells)
    id = os.path.normpath(path)
    file = folder.child(id)
    if not file.remote and not file.exists():
        beside = "beside" if folder == listing.parent else f"in {folder}, where others are that are named in"
        raise UserError(
            f"{listing}, {where}: no file {path!r} {beside} {listing.name}; paths are relative to the folder of the list"
        )
    return Row(where, path, id, file.address, cells)


def path_column(names: Iterable[str]) -> str | None:
    """The column that holds paths, if there is one."""
    return next((name for name in PATH_NAMES if name in names), None)


def manifest_of(listing: Place, rows: Iterable[Row], labelled: bool, kind: str) -> Manifest:
    """The manifest of the rows; columns that Eyas does not know are kept, those named like its own as `<kind>.<name>`.

    A row has `label` (text, a number, or true/false) or `labels` (a list, or text with | between them). Several labels
    leave `label` null and are in the column `labels`.

    Raises:
        UserError: naming the row: an image that is there twice, no label, no such split, no weight.
    """
    seen: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.id in seen:
            at = seen[row.id]
            raise UserError(f"{listing}, {row.where}: {row.name!r} is on {at} already; list every image once")
        seen[row.id] = row.where
        known = {"id": row.id, "source": row.source, "group": as_text(row.cells.get("group")) or None}
        found.append({**known, **_learned(listing, row, kind)} if labelled else known)
    if not found:
        raise UserError(f"{listing} lists no images")
    names = dict.fromkeys(name for row in found for name in row)
    if "labels" in names:  # in some rows only: the others have one
        found = [row if "labels" in row else row | {"labels": [row["label"]]} for row in found]
    return Manifest.of({name: [row.get(name) for row in found] for name in names})


def as_text(value: Any) -> str | None:
    """A label, group or split as text; `None` for what is no text, integer or truth value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # an integer column with gaps, as pandas writes it
        value = int(value)
    return str(value).strip() if isinstance(value, (str, int)) else None


def _learned(listing: Place, row: Row, kind: str) -> dict[str, Any]:
    """Label, split, weight and the extra columns of a row."""
    at, cells = f"{listing}, {row.where}", row.cells
    given = as_text(cells.get("split")) or ""
    if given and given.lower() not in SPLIT_NAMES:
        raise UserError(f"{at}: no split is called {given!r}; write train, validation or test, or leave it empty")
    found = {**_labels(at, row), "split": SPLIT_NAMES.get(given.lower())}
    if cells.get("weight") not in (None, ""):
        found["weight"] = _weight(at, cells["weight"])
    known = {"label", "labels", "split", "group", "weight"}
    return found | {f"{kind}.{name}" if name in COLUMNS else name: cells[name] for name in cells if name not in known}


def _labels(at: str, row: Row) -> dict[str, Any]:
    given, several = (None if row.cells.get(name) in (None, "") else row.cells[name] for name in ("label", "labels"))
    if given is not None and several:
        raise UserError(f"{at}: {row.name!r} has a label and labels; keep one of the two")
    if given is not None or "labels" not in row.cells:
        return {"label": _label(at, row, given)}
    listed = several.split(BETWEEN_LABELS) if isinstance(several, str) else [] if several is None else several
    labels = [as_text(label) for label in listed] if isinstance(listed, list) else [None]
    if not all(labels):
        raise UserError(f'{at}: the labels {several!r} are no list of names; write ["cat", "dog"], or cat|dog in a CSV')
    labels = list(dict.fromkeys(labels))
    return {"label": labels[0] if len(labels) == 1 else None, "labels": labels}


def _label(at: str, row: Row, given: Any) -> str:
    label = as_text(given)
    if label is None and given is not None:
        raise UserError(f"{at}: the label {given!r} is neither text nor a whole number; write the class's name")
    if not label:
        raise UserError(f"{at}: the label of {row.name!r} is empty; give it one, or move the image to the pile")
    return label


def _weight(at: str, given: Any) -> float:
    try:
        weight = float(given)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise UserError(f"{at}: the weight {given!r} is not a number from 0 up; leave it empty for 1")
    return weight
