"""One row an image: what every reader makes and everything else reads."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyas.errors import UserError
from eyas.run import write_atomic

Split = Literal["train", "validation", "test"]
Mirrors = Literal["none", "horizontal", "both"]

SPLITS: tuple[Split, ...] = get_args(Split)
COLUMNS = ("id", "source", "label", "split", "group")  # all text; every other column is extra


@dataclass(frozen=True)
class Manifest:
    """The images of a data set, in a fixed order.

    Columns: `id` (unique, stable), `source` (what `eyas.data.decode.decode` reads), `label` (null: unknown), `split`
    (`train`, `validation`, `test`; null until it is fixed), `group` (null: alone; images of a group never part), then
    any extra ones. `flips` says which mirrorings leave every label true.
    """

    table: pa.Table
    flips: Mirrors = "horizontal"

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]], flips: Mirrors = "horizontal") -> "Manifest":
        """Make a manifest: `Manifest.of({"id": [...], "source": [...], "label": [...]})`; what is left out is null.

        Raises:
            UserError: a column has the wrong type or length, an id is missing or twice there, a split is not known.
        """
        rows = len(columns.get("id", ()))
        given = {name: columns.get(name, [None] * rows) for name in COLUMNS}
        extra = {name: values for name, values in columns.items() if name not in COLUMNS}
        arrays = {name: _array(name, values, rows, pa.string()) for name, values in given.items()}
        arrays |= {name: _array(name, values, rows, None) for name, values in extra.items()}
        return cls(_checked(pa.table(arrays), "the manifest"), flips)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged, or another kind of table.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise UserError(f"{path} is not there: was the data of this run audited?") from None
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path} cannot be read as a manifest: {error}") from None
        flips = (table.schema.metadata or {}).get(b"flips", b"").decode()
        if flips not in get_args(Mirrors):
            raise UserError(f"{path} is not a manifest of Eyas: it does not say which flips keep a label true")
        return cls(_checked(table.replace_schema_metadata(), str(path)), flips)

    def save(self, path: Path) -> None:
        """Write the manifest as parquet, whole or not at all."""
        buffer = io.BytesIO()
        pq.write_table(self.table.replace_schema_metadata({"flips": self.flips}), buffer)
        write_atomic(path, buffer.getvalue())

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(value for value in self.table["label"].unique().to_pylist() if value is not None))

    @property
    def extra(self) -> tuple[str, ...]:
        """Names of the columns beyond the five."""
        return tuple(name for name in self.table.column_names if name not in COLUMNS)

    def column(self, name: str) -> list[Any]:
        """The values of one column, `None` where there is none."""
        return self.table[name].to_pylist()

    def where(self, mask: Sequence[bool] | np.ndarray | None = None, *, split: Split | None = None) -> "Manifest":
        """The rows where `mask` is true and the split is `split`, in their order."""
        keep = np.ones(len(self), bool) if mask is None else np.asarray(mask, bool)
        if split is not None:
            keep = keep & np.array([value == split for value in self.column("split")], bool)
        return replace(self, table=self.table.filter(pa.array(keep)))

    def with_splits(self, splits: Sequence[str | None]) -> "Manifest":
        """The same rows with other splits."""
        column = _array("split", splits, len(self), pa.string())
        table = self.table.set_column(self.table.column_names.index("split"), "split", column)
        return replace(self, table=_checked(table, "the manifest"))

    def without_labels(self) -> "Manifest":
        """The images alone: labels, splits and every extra column are gone, not hidden; groups stay."""
        columns = {name: self.table[name] for name in ("id", "source")}
        nothing = pa.nulls(len(self), pa.string())
        return replace(self, table=pa.table(columns | {"label": nothing, "split": nothing, "group": self.table["group"]}))

    def concat(self, other: "Manifest") -> "Manifest":
        """These rows, then those of `other`; an id that is taken gets `#2` after it, extra columns are null where unknown."""
        taken = set(self.column("id"))
        ids = []
        for name in other.column("id"):
            ids.append(_free(name, taken))
            taken.add(ids[-1])
        renamed = other.table.set_column(other.table.column_names.index("id"), "id", pa.array(ids, pa.string()))
        try:
            table = pa.concat_tables([self.table, renamed], promote_options="default")
        except pa.ArrowException as error:
            raise UserError(f"two data sets cannot be joined: an extra column has two types ({error})") from None
        return replace(self, table=table.combine_chunks())


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def _array(name: str, values: Sequence[Any], rows: int, kind: pa.DataType | None) -> pa.Array:
    if len(values) != rows:
        raise UserError(f"column {name!r} has {len(values)} values for {rows} ids; one a row is expected")
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, UnicodeError) as error:
        raise UserError(f"column {name!r} does not hold values of one type: {error}") from None


def _checked(table: pa.Table, where: str) -> pa.Table:
    types: Mapping[str, pa.DataType] = dict(zip(table.column_names, table.schema.types, strict=True))
    for name in COLUMNS:
        if types.get(name) != pa.string():
            raise UserError(f"{where} has no text column {name!r}; its columns are {', '.join(types) or 'none'}")
    for name in ("id", "source"):
        if not all(table[name].to_pylist()):
            raise UserError(f"{where} has rows without {name}; every image needs one")
    if "" in table["label"].unique().to_pylist():
        raise UserError(f"{where} has empty labels; leave an unknown label out (null)")
    (common, count) = Counter(table["id"].to_pylist()).most_common(1)[0] if table.num_rows else ("", 0)
    if count > 1:
        raise UserError(f"{where} has the id {common!r} {count} times; an id names one image")
    unknown = set(table["split"].unique().to_pylist()) - {*SPLITS, None}
    if unknown:
        raise UserError(f"{where} has the split {min(unknown)!r}; a split is {', '.join(SPLITS)}, or null")
    return table
