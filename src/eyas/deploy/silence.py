"""What native libraries write to the standard error stream by themselves, kept from the user."""

import io
import os
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def silent() -> Generator[None]:
    """Nothing is written to the error stream inside; exceptions get out."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with redirect_stderr(io.StringIO()):  # some write by way of Python after all
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
