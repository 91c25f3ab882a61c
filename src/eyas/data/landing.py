"""A large file that is on the disk soon after its last byte: what is written goes there while more is being made."""

import os
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STEP = 16 << 20  # bytes that are sent to the disk at a time


class Landing:
    """A file that is being written."""

    def __init__(self, file: IO[bytes], sender: ThreadPoolExecutor) -> None:
        self.file, self.sender = file, sender
        self.written = 0  # bytes
        self.sent = 0
        self.sending: Future[None] | None = None

    def write(self, content: bytes | memoryview) -> None:
        """Add to the end.

        Raises:
            OSError: the disk did not take this, or something that was written before.
        """
        self.file.write(content)
        self.written += len(content)
        if self.written - self.sent >= STEP and (self.sending is None or self.sending.done()):
            if self.sending:
                self.sending.result()  # an error is told once, to whoever asks first: the last fsync would not hear of it
            self.sending = self.sender.submit(os.fsync, self.file.fileno())
            self.sent = self.written

    def finish(self) -> None:
        """Return when every byte is on the disk.

        Raises:
            OSError: the disk did not take all of it.
        """
        if self.sending:
            self.sending.result()
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def landing(path: Path) -> Generator[Landing]:
    """A new file, all of it on the disk when the block ends; gone when the block fails.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with path.open("wb") as file, ThreadPoolExecutor(1) as sender:
            found = Landing(file, sender)
            yield found
            found.finish()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
