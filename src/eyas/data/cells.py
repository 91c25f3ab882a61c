"""Images in the cells of Parquet and Arrow files: a column of bytes, or of the Hugging Face struct {bytes, path}."""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data import remote

PARQUET = "parquet:"  # a source `parquet:<file>#<row>/<column>`
ARROW = "arrow:"  # the same of an Arrow stream, as `datasets` keeps on the disk; the file is mapped into memory

_FILES = 8  # columns of files that stay open
_ROWS = 64  # unpacked at once
_BATCHES = 4  # of so many rows that stay in memory: threads that go through a file together are never far apart


class CellError(ValueError):
    """The file has no such cell, or no image in it; the message says why."""


def source(scheme: str, file: str, row: int, column: str) -> str:
    """The source of the image in one cell; rows count from 0."""
    return f"{scheme}{file}#{row}/{quote(column, safe='')}"


def read(scheme: str, text: str) -> bytes | str:
    """The bytes in a cell; of a struct without bytes, the path or address of the file that it names.

    Rows of a Parquet file are cheap in their order, from any number of threads; going back costs reading the row group
    from its start.

    Raises:
        OSError: the file cannot be opened.
        UserError: it is behind an address that cannot be opened.
        CellError: it is damaged, or has no such cell.
    """
    file, _, place = text.removeprefix(scheme).rpartition("#")
    row, _, column = place.partition("/")
    try:
        value = _column(scheme, file, unquote(column)).cell(int(row))
    except (pa.ArrowException, KeyError) as error:
        raise CellError(f"row {row} of {Path(file).name} cannot be read ({' '.join(str(error).split())[:120]})") from None
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            return _beside(file, value["path"])
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise CellError(f"row {row} of {Path(file).name} has no bytes in the column {unquote(column)!r}")
    return value


def _beside(file: str, path: str) -> str:
    if remote.is_address(path):
        return path
    return f"{file.rpartition('/')[0]}/{path}" if remote.is_address(file) else str(Path(file).parent / path)


class _ParquetColumn:
    """One column of a Parquet file; the last few batches of rows stay unpacked."""

    def __init__(self, file: str, column: str) -> None:
        # Read ahead by a megabyte, not by the whole row group: that may be the whole file.
        opened = remote.open_file(file) if remote.is_address(file) else file
        self.file = pq.ParquetFile(opened, pre_buffer=False, buffer_size=1 << 20)
        self.column = column
        groups = range(self.file.metadata.num_row_groups)
        self.starts = list(accumulate((self.file.metadata.row_group(group).num_rows for group in groups), initial=0))
        self.lock = threading.Lock()
        self.held: deque[tuple[int, pa.Array]] = deque(maxlen=_BATCHES)
        self.rest: Iterator[pa.RecordBatch] = iter(())
        self.group = -1
        self.next = 0  # row that `rest` comes to next

    def cell(self, row: int) -> Any:
        with self.lock:
            if not 0 <= row < self.starts[-1]:
                raise CellError(f"the file has no row {row}")
            if not any(first <= row < first + len(values) for first, values in self.held):
                self._advance(row)
            return next(values[row - first].as_py() for first, values in self.held if first <= row < first + len(values))

    def _advance(self, row: int) -> None:
        group = bisect_right(self.starts, row) - 1
        if group != self.group or row < self.next:
            self.group, self.next = group, self.starts[group]
            self.rest = self.file.iter_batches(_ROWS, row_groups=[group], columns=[self.column])
        while self.next <= row:
            batch = next(self.rest, None)
            if batch is None:
                raise CellError(f"the file ends before row {row}")
            self.held.append((self.next, batch.column(self.column)))
            self.next += batch.num_rows


class _ArrowColumn:
    """One column of an Arrow stream, mapped into memory."""

    def __init__(self, file: str, column: str) -> None:
        self.values = stream(file)[column]

    def cell(self, row: int) -> Any:
        if not 0 <= row < len(self.values):
            raise CellError(f"the file has no row {row}")
        return self.values[row].as_py()


def stream(file: str) -> pa.Table:
    """The table in an Arrow stream, mapped into memory and not read.

    Raises:
        OSError: the file cannot be opened.
        pyarrow.ArrowException: it is no Arrow stream.
    """
    with pa.memory_map(file) as mapped:
        return pa.ipc.open_stream(mapped).read_all()


_COLUMNS = {PARQUET: _ParquetColumn, ARROW: _ArrowColumn}
_open: OrderedDict[tuple[object, ...], _ParquetColumn | _ArrowColumn] = OrderedDict()
_lock = threading.Lock()


def _column(scheme: str, file: str, column: str) -> _ParquetColumn | _ArrowColumn:
    """The column, opened before or now; a file that has changed since is opened again."""
    found = None if remote.is_address(file) else Path(file).stat()
    key = (scheme, file, column, found and (found.st_ino, found.st_mtime_ns, found.st_size))
    with _lock:
        opened = _open.pop(key, None) or _COLUMNS[scheme](file, column)
        _open[key] = opened
        while len(_open) > _FILES:
            _open.popitem(last=False)
    return opened


def _forget() -> None:
    """Start a forked process without the lock and the places in files that a thread of its parent may hold."""
    global _lock
    _lock = threading.Lock()
    _open.clear()


os.register_at_fork(after_in_child=_forget)
