"""A teacher's answers to a pile in parquet shards: how they are written, and read again without ever holding them all."""

import io
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32

from eyas.errors import UserError
from eyas.run import PARTIAL, read_json, write_atomic

Probabilities = Float32[np.ndarray, "n k"]

FACTS = "labels.json"  # teacher, classes and form; with it a folder is one of soft labels
MANY = 200  # classes, above which only the likeliest are kept: 2 bytes a class an image would outgrow the images
LIKELIEST = 32
INT16 = 2**15
ELEMENTS = 2**22  # probabilities in memory at a time
_NOTES = b"eyas"


@dataclass(frozen=True, slots=True)
class Form:
    """How probabilities are kept: of all classes, or of the `top` likeliest, the rest spread evenly over the others.

    A fixed-size list of float16 `probabilities` an image, with `top` another one of int16 `indices` of the classes.
    """

    classes: int
    top: int = 0

    @classmethod
    def asked(cls, classes: int, top: int) -> "Form":
        """The `top` likeliest; with 0 all of up to 200 classes, and the 32 likeliest of more.

        Raises:
            UserError: a negative number.
        """
        if top < 0:
            raise UserError(f"top is {top}; it must be 0 or above")
        kept = top or (LIKELIEST if classes > MANY else 0)
        return cls(classes, kept if kept < classes else 0)

    def columns(self, given: Probabilities) -> dict[str, pa.Array]:
        """Probabilities as columns of a table."""
        if not self.top:
            return {"probabilities": _lists(given.astype(np.float16))}
        likeliest = np.sort(np.argpartition(-given, self.top - 1, axis=1)[:, : self.top], axis=1)
        order = np.argsort(-np.take_along_axis(given, likeliest, 1), axis=1, kind="stable")
        indices = np.take_along_axis(likeliest, order, 1)
        kept = np.take_along_axis(given, indices, 1).astype(np.float16)
        return {
            "indices": _lists(indices.astype(np.int16 if self.classes < INT16 else np.int32)),
            "probabilities": _lists(kept),
        }

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return ["indices", "probabilities"] if self.top else ["probabilities"]

    def read(self, rows: pa.RecordBatch) -> Probabilities:
        """Probabilities of all classes again; they sum to 1."""
        kept = _matrix(rows, "probabilities").astype(np.float32)
        if self.top:
            rest = np.clip(1 - kept.sum(1, keepdims=True), 0, None) / (self.classes - self.top)
            given = np.repeat(rest, self.classes, axis=1)
            np.put_along_axis(given, _matrix(rows, "indices").astype(np.int64), kept, 1)
        else:
            given = kept
        return given / given.sum(1, keepdims=True)


@dataclass(frozen=True)
class SoftLabels:
    """Answers to a pile, in the order of their shards; nothing of them is in memory but the names of the files."""

    folder: Path
    teacher: str
    classes: tuple[str, ...]
    form: Form
    shards: tuple[Path, ...] = field(repr=False)

    def __len__(self) -> int:
        return sum(pq.read_metadata(path).num_rows for path in self.shards)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the whole pile."""
        found = [shard_table(path, [name])[name] for path in self.shards]
        return pa.chunked_array([chunk for column in found for chunk in column.chunks], found[0].type if found else pa.string())

    def batches(self, also: Sequence[str] = ()) -> Generator[tuple[Probabilities, pa.RecordBatch]]:
        """Probabilities of a few images at a time, in order, with other columns beside them."""
        for path in self.shards:
            table = shard_table(path, [*self.form.names, *also])
            for rows in table.to_batches(max(1, ELEMENTS // self.form.classes)):
                yield self.form.read(rows), rows


def open_labels(folder: Path) -> SoftLabels:
    """The soft labels in a folder.

    Raises:
        UserError: there are none, or `labels.json` is damaged.
    """
    if not (folder / FACTS).exists():
        raise UserError(f"{folder} holds no soft labels of this version of Eyas; give the command that made it again")
    try:
        facts = read_json(folder / FACTS)
        form = Form(len(facts["classes"]), facts["top"])
        return SoftLabels(folder, facts["teacher"], tuple(facts["classes"]), form, shard_paths(folder))
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FACTS} is damaged (no {error}); label the pile again into a new folder") from None


def shard_paths(folder: Path) -> tuple[Path, ...]:
    """The shards of a folder, in their order."""
    return tuple(sorted(folder.glob("[0-9]*.parquet")))


def shard_table(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Some columns of a shard, or all.

    Raises:
        UserError: it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(columns) if columns else None)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and label again: its images alone are answered anew") from None


def shard_notes(path: Path) -> dict[str, Any]:
    """What was written beside the rows of a shard.

    Raises:
        UserError: it is damaged, or of another program.
    """
    try:
        return json.loads((pq.read_schema(path).metadata or {})[_NOTES])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged or no shard of soft labels ({error}); take it out of the folder") from None


def write_shard(path: Path, columns: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """A shard and what is known beside its rows, whole or not at all."""
    table = pa.table(dict(columns)).replace_schema_metadata({_NOTES: json.dumps(notes)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())


@contextmanager
def written_in_parts(path: Path, schema: pa.Schema) -> Generator[pq.ParquetWriter]:
    """A parquet file that is larger than memory may be, there as a whole when the block ends, or not at all."""
    part = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
    try:
        with pq.ParquetWriter(part, schema) as writer:
            yield writer
        part.replace(path)  # the stage that it belongs to flushes it before it vouches for it
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; mend that and give the same command again") from None
    finally:
        part.unlink(missing_ok=True)


def within(values: pa.ChunkedArray, others: pa.ChunkedArray) -> Bool[np.ndarray, " n"]:
    """Which of the values are among the others."""
    found = pc.call_function("is_in", [values], pc.SetLookupOptions(value_set=others))
    return found.to_numpy().astype(bool)


def _lists(rows: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _matrix(rows: pa.RecordBatch, name: str) -> np.ndarray:
    lists = rows.column(name)
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), lists.type.list_size)
