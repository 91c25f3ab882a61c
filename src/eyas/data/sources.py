"""Where an image is, and its bytes: a file, a row of a table, a member of a tar file, or an address."""

import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path

from eyas.data import cells, idx, remote
from eyas.errors import UserError

TAR = "tar:"  # a source `tar:<file>#<offset>+<size>`, in bytes: no shard is scanned twice


class Refusal(Exception):  # noqa: N818 - it is an answer about a file, not an error of the program
    """An image that cannot be used; the message is the reason, in plain words."""


@contextmanager
def opened(source: str) -> Generator[BufferedIOBase]:
    """The bytes of an image as a file that can be sought in; safe in any number of threads.

    A source is a path, an address (`s3://...`), `idx:<file>#<row>`, `tar:<file>#<offset>+<size>`, or
    `parquet:<file>#<row>/<column>` and `arrow:...` alike.

    Raises:
        Refusal: with the reason; nothing else is raised for any source.
    """
    with _file(source) as file:
        yield file


def member(file: str, offset: int, size: int) -> str:
    """The source of one member of a tar file: where its content begins, and how long it is, in bytes."""
    return f"{TAR}{file}#{offset}+{size}"


def _file(source: str) -> BufferedIOBase:
    try:
        for scheme, content in _CONTENT.items():
            if source.startswith(scheme):
                found = content(source)
                return _file(found) if isinstance(found, str) else _in_memory(found)
        return _in_memory(remote.fetch(source)) if remote.is_address(source) else _regular(source)
    except FileNotFoundError:
        raise Refusal("no such file: moved, a broken link, or a name that is not UTF-8") from None
    except OSError as error:
        raise Refusal(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UserError as error:  # of an address: the message says what to install
        raise Refusal(f"cannot be read: {error}") from None
    except ValueError as error:  # of idx and cells; and of paths that hold a zero byte
        raise Refusal(f"damaged: {error}") from None


def _regular(path: str) -> BufferedIOBase:
    found = os.stat(path)  # noqa: PTH116 - a `Path` takes as long as reading. Before opening: a pipe would wait for ever
    if stat.S_ISDIR(found.st_mode):
        raise Refusal("a folder")
    if not stat.S_ISREG(found.st_mode):
        raise Refusal("not a regular file")
    if found.st_size == 0:
        raise Refusal("empty file")
    return open(path, "rb")  # noqa: PTH123 - who asked closes it


def _in_memory(content: bytes) -> BufferedIOBase:
    if not content:
        raise Refusal("empty file")
    return BytesIO(content)


def _idx_row(source: str) -> bytes:
    """The row as a PGM file: its header is 15 bytes, and the pixels are the row's."""
    path, row = idx.split_source(source)
    images = idx.read(path)
    if images.ndim != 3 or not 0 <= row < len(images):
        raise idx.IdxError(f"the file has no image {row}")
    height, width = images.shape[1:]
    return b"P5 %d %d 255\n" % (width, height) + images[row].tobytes()


def _tar_member(source: str) -> bytes:
    path, _, place = source.removeprefix(TAR).rpartition("#")
    offset, size = (int(number) for number in place.split("+"))
    if remote.is_address(path):
        content = remote.fetch(path, offset, offset + size)
    else:
        with Path(path).open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, offset)
    if len(content) < size:
        raise Refusal("truncated: the shard ends before the picture does")
    return content


_CONTENT: dict[str, Callable[[str], bytes | str]] = {
    idx.SCHEME: _idx_row,
    TAR: _tar_member,
    cells.PARQUET: lambda source: cells.read(cells.PARQUET, source),
    cells.ARROW: lambda source: cells.read(cells.ARROW, source),
}
