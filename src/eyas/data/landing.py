"""A large file that is on the disk soon after its last byte: what is written goes there while more is being made."""

import ctypes
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

STEP = 8 << 20  # bytes that are sent to the disk at a time
WRITE = 2  # SYNC_FILE_RANGE_WRITE of Linux: begin to write, wait for nothing


class Landing:
    """A file that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.written = 0  # bytes
        self.sent = 0

    def write(self, content: bytes | memoryview) -> None:
        """Add to the end.

        Raises:
            OSError: the disk did not take this.
        """
        self.file.write(content)
        self.written += len(content)
        if self.written - self.sent >= STEP:
            self.file.flush()
            if send := sender():
                send(self.file.fileno(), self.sent, self.written - self.sent, WRITE)  # `finish` hears of what fails
            self.sent = self.written

    def finish(self) -> None:
        """Return when every byte is on the disk.

        Raises:
            OSError: the disk did not take all of it.
        """
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def landing(path: Path) -> Generator[Landing]:
    """A new file, all of it on the disk when the block ends; gone when the block fails.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with path.open("wb") as file:
            found = Landing(file)
            yield found
            found.finish()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@cache
def sender() -> Callable[[int, int, int, int], int] | None:
    """Begins to write a part of a file (its number, from where, how many bytes); `None` where the system has no such thing.

    `fsync` of what there is, in a thread of its own, is slower: the file system orders its journal each time.
    """
    with suppress(AttributeError, OSError):
        found = ctypes.CDLL(None).sync_file_range
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        return found
    return None
