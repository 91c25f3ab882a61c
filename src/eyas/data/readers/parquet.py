"""Parquet lists: paths, or the images themselves in a column."""

from collections.abc import Generator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data import cells
from eyas.data.manifest import Manifest
from eyas.data.readers.columns import Layout, described, holds_bytes, layout, rows
from eyas.data.readers.places import Place
from eyas.data.readers.rows import Row, file_row, manifest_of, path_column
from eyas.errors import UserError


def read(place: Place, labelled: bool) -> Manifest:
    """A table with `path`, or with image files in a column (bytes, or the Hugging Face struct {bytes, path}).

    Only the other columns are read now. Numbers that Hugging Face keeps names for become those names.

    Raises:
        UserError: it is no Parquet file, has no images or no labels, or naming the row that is wrong.
    """
    try:
        with place.open() as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            table = parquet.read(columns=[field.name for field in schema if not holds_bytes(field.type)])
    except pa.ArrowException as error:
        raise UserError(f"{place} cannot be read as Parquet: {' '.join(str(error).split())[:200]}; write it again") from None
    plan = layout(schema, str(place))
    path = path_column(schema.names)
    if path is None and plan.image is None:
        raise UserError(
            f"{place} has no column path and none with image files among {', '.join(schema.names) or 'nothing'}; "
            "write paths relative to the file, or the bytes of the image files"
        )
    if labelled and plan.label is None:
        raise UserError(f"{place} has no column label or labels among {', '.join(schema.names)}; add one")
    inside = plan.image is not None  # then a path is where the image came from
    found = rows(table, plan, place, cells.PARQUET, place.name, 0, None) if inside else _files(place, table, plan, str(path))
    return manifest_of(place, found, labelled, "parquet")


def _files(place: Place, table: pa.Table, plan: Layout, path: str) -> Generator[Row]:
    for number, known in enumerate(described(table, plan)):
        cell: Any = known.pop(path)
        yield file_row(place, place.parent, f"row {number}", cell, known)
