"""JSON: lines with one image each, or COCO."""

import json
from collections.abc import Generator
from typing import Any

from eyas.data.manifest import Manifest
from eyas.data.readers import coco
from eyas.data.readers.places import Place
from eyas.data.readers.rows import Row, file_row, manifest_of, path_column
from eyas.errors import UserError

_EXPECTED = '{"path": "a.jpg", "label": "cat"}'


def read(place: Place, labelled: bool) -> Manifest:
    """A `.json` file: COCO, or lines of JSON under that name.

    Raises:
        UserError: it is neither.
    """
    with place.open() as file:
        content = file.read()
    try:
        found = json.loads(content)
    except UnicodeDecodeError:
        raise UserError(f"{place} is not UTF-8 text; save it as JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a whole value, then more: lines
            return read_lines(place, labelled)
        raise UserError(f"{place}, line {error.lineno}: no JSON ({error.msg}); write the file again") from None
    if coco.fits(found):
        return coco.read(place, found, labelled)
    if isinstance(found, dict) and path_column(found):
        return read_lines(place, labelled)
    raise UserError(
        f"{place} is JSON of another kind; expected COCO (an object with images, annotations and categories), "
        f"or a .jsonl with one {_EXPECTED} a line"
    )


def read_lines(place: Place, labelled: bool) -> Manifest:
    """A `.jsonl` file: one object a line, with `path` and `label` or `labels`.

    Raises:
        UserError: naming the line.
    """
    return manifest_of(place, _rows(place), labelled, "jsonl")


def _rows(place: Place) -> Generator[Row]:
    for line, cells in _objects(place):
        path = path_column(cells)
        if path is None:
            raise UserError(f"{place}, line {line}: no path among {', '.join(cells) or 'nothing'}; a line is {_EXPECTED}")
        yield file_row(place, place.parent, f"line {line}", cells.pop(path), cells)


def _objects(place: Place) -> Generator[tuple[int, dict[str, Any]]]:
    for number, line in place.lines():
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{place}, line {number}: no JSON ({error.msg}); a line is {_EXPECTED}") from None
        if not isinstance(found, dict):
            raise UserError(f"{place}, line {number}: {line[:40]!r} is no object; a line is {_EXPECTED}")
        yield number, found
