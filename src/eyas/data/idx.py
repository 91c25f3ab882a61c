"""IDX, the format of MNIST and its kin: a gzipped array with its shape in front."""

import gzip
import math
import struct
import threading
import zlib
from functools import lru_cache

import numpy as np

SCHEME = "idx:"  # a source `idx:<path of the images file>#<row>`

_UINT8 = 0x08
_LOCK = threading.Lock()  # one thread unpacks a file, the others wait for it


class IdxError(ValueError):
    """The file is not an IDX array of bytes; the message says why."""


def source(path: str, row: int) -> str:
    """The source of one image of an IDX file."""
    return f"{SCHEME}{path}#{row}"


def split_source(text: str) -> tuple[str, int]:
    """The path and the row of a source."""
    path, _, row = text.removeprefix(SCHEME).rpartition("#")
    return path, int(row)


def read(path: str) -> np.ndarray:
    """The array of a gzipped IDX file, uint8, read-only; the last few files stay in memory.

    Raises:
        OSError: it cannot be opened.
        IdxError: it is not a whole IDX file of bytes.
    """
    with _LOCK:
        return _read(path)


@lru_cache(maxsize=2)
def _read(path: str) -> np.ndarray:
    try:
        with gzip.open(path) as file:
            content = file.read()
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (gzip.BadGzipFile, EOFError, zlib.error, struct.error):
        raise IdxError("not a whole gzipped IDX file") from None
    if zeros or kind != _UINT8 or len(content) != 4 + 4 * dimensions + math.prod(shape):
        raise IdxError("not an IDX array of bytes as long as its header says")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
