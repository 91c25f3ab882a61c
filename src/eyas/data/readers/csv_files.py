"""CSV lists: `path,label` with other columns beside them, or a column for each attribute."""

import csv
import io
from collections.abc import Generator
from itertools import chain

from eyas.data.manifest import Manifest
from eyas.data.readers import attributes
from eyas.data.readers.places import Place
from eyas.data.readers.rows import file_row, manifest_of, path_column
from eyas.errors import UserError


def read(place: Place, labelled: bool) -> Manifest:
    """A CSV in UTF-8 whose first line names the columns: `path` and `label` or `labels`; or a table of attributes.

    Raises:
        UserError: naming the line.
    """
    lines = _lines(place)
    header = next(lines)[1]
    first = next(lines, None)
    rows = chain([first] if first else [], lines)
    if attributes.fits(header, first[1] if first else []):
        return attributes.read(place, header, rows, labelled)
    path = _path_column(place, header, labelled)
    if first is None:
        raise UserError(f"{place} lists no images: there is nothing below its first line")
    cells = ((f"line {line}", dict(zip(header, values, strict=True))) for line, values in rows)
    return manifest_of(place, (file_row(place, place.parent, at, row.pop(path), row) for at, row in cells), labelled, "csv")


def has_attributes(place: Place) -> bool:
    """Whether a CSV is a table of attributes, from its columns.

    Raises:
        UserError: it cannot be read.
    """
    lines = _lines(place)
    header = next(lines)[1]
    return attributes.fits(header, next(lines, (2, []))[1])


def _lines(place: Place) -> Generator[tuple[int, list[str]]]:
    """Line number and stripped values: of the first line, whatever it holds, then of every line that is not blank."""
    reader = None
    try:
        with place.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            yield 1, header
            for values in reader:
                if len(values) not in (0, len(header)):
                    raise UserError(
                        f"{place}, line {reader.line_num}: {len(values)} values where line 1 names {len(header)} columns; "
                        "put values that hold a comma in double quotes"
                    )
                if values:
                    yield reader.line_num, [value.strip() for value in values]
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{place} cannot be read as CSV: {error}, at line {reader.line_num if reader else 1}") from None


def _path_column(place: Place, header: list[str], labelled: bool) -> str:
    path = path_column(header)
    has_label = "label" in header or "labels" in header
    if path is None or (labelled and not has_label):
        raise UserError(
            f"{place}, line 1: no column {'path' if path is None else 'label'!r} among {', '.join(header) or 'nothing'}; "
            "the first line is path,label or path,label,split,group, with commas"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{place}, line 1: a column is named twice in {', '.join(header)}; every column needs its own name")
    return path
