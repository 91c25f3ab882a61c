"""Hugging Face data sets: from the hub by their name, and folders that `save_to_disk` wrote."""

import json
from collections.abc import Generator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from eyas.data import cells
from eyas.data.manifest import Manifest
from eyas.data.readers.columns import layout, rows
from eyas.data.readers.folders import SPLIT_NAMES
from eyas.data.readers.places import Place
from eyas.data.readers.rows import Row, manifest_of
from eyas.errors import UserError, first_line
from eyas.progress import say

SCHEME = "hf:"
_STATE, _SPLITS = "state.json", "dataset_dict.json"

_Parts = dict[str, list[str]]  # Arrow files by the name of their split


def read(source: str, labelled: bool) -> Manifest:
    """`hf:owner/name`, `hf:owner/name:config`, or `hf:folder` of files that the package `datasets` understands.

    It is downloaded once, into the cache of `datasets`. `#column` at the end names the column of the labels where there
    are several.

    Raises:
        UserError: the package is not installed, the set cannot be loaded, or has no images or labels.
    """
    name, _, column = source.removeprefix(SCHEME).partition("#")
    name, _, config = name.partition(":")
    try:
        import datasets
    except ImportError:
        raise UserError(f"{source} needs the package datasets; pip install 'eyas[hub]'") from None
    local = Path(name).expanduser()
    try:
        found = datasets.load_dataset(str(local.absolute()) if local.is_dir() else name, config or None)
    except Exception as error:  # network, hub, builder: each has errors of its own
        raise UserError(
            f"{source} cannot be loaded: {first_line(error)}; "
            "check the name, hf:owner/name or hf:owner/name:config, and the network"
        ) from None
    parts: _Parts = {}
    for split, part in found.items():
        parts[str(split)] = [file["filename"] for file in part.cache_files]
        assert part._indices is None, "a data set that was just loaded has all its rows in order"
    return _manifest(Place(source), parts, labelled, column or None)


def is_saved(folder: Place) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return not folder.remote and any(folder.child(name).exists() for name in (_STATE, _SPLITS))


def read_saved(folder: Place, labelled: bool) -> Manifest:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; the package is not needed for it.

    Raises:
        UserError: a file of it is missing or damaged, or it has no images or labels.
    """
    saved = {"": folder}
    if folder.child(_SPLITS).exists():
        saved = {str(name): folder.child(str(name)) for name in _json(folder.child(_SPLITS))["splits"]}
    parts = {}
    for split, inside in saved.items():
        files = [entry["filename"] for entry in _json(inside.child(_STATE))["_data_files"]]
        parts[split] = [inside.child(file).address for file in files]
    return _manifest(folder, parts, labelled, None)


def _manifest(place: Place, parts: _Parts, labelled: bool, column: str | None) -> Manifest:
    fixed = {name: SPLIT_NAMES[name.lower()] for name in parts if name.lower() in SPLIT_NAMES}
    if labelled and "train" in fixed.values():
        others = sorted(set(parts) - set(fixed))
        if others:
            say(f"{place} has the splits {', '.join(others)} beside train, validation and test; they are left out")
        parts = {name: parts[name] for name in fixed}
    else:
        fixed = {}
    found = chain.from_iterable(_part(place, name, parts[name], fixed.get(name), labelled, column) for name in parts)
    return manifest_of(place, found, labelled, "hf")


def _part(place: Place, name: str, files: list[str], split: str | None, labelled: bool, column: str | None) -> Generator[Row]:
    start, hidden = 0, 0
    for file in files:
        table = _table(place, file)
        plan = layout(table.schema, str(place), column)
        if plan.image is None or (labelled and plan.label is None):
            missing = "images" if plan.image is None else "labels"
            raise UserError(f"{place} has no {missing} in any column of {', '.join(table.column_names)}; give another data set")
        for row in rows(table, plan, Place(file), cells.ARROW, name or place.name, start, split):
            if labelled and row.cells.get("label", "") is None:
                hidden += 1
            else:
                yield row
        start += table.num_rows
    if hidden:
        say(f"{hidden} images of {place}{f', split {name},' if name else ''} have no label; they are left out")


def _table(place: Place, file: str) -> pa.Table:
    try:
        return cells.stream(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{place}: {file} cannot be read ({first_line(error)}); save or download the data set again") from None


def _json(place: Place) -> Any:
    try:
        with place.open() as file:
            return json.load(file)
    except ValueError:
        raise UserError(f"{place} is damaged; save the data set again") from None
