"""Files behind addresses like `s3://bucket/photos`, through fsspec."""

import re
from typing import Any

from eyas.errors import UserError, first_line


def is_address(text: str) -> bool:
    """Whether `text` is `protocol://...`, and no path of this machine."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address (an `AbstractFileSystem`), and the path within it.

    Raises:
        UserError: fsspec or the package of the protocol is not installed, or the protocol is not known.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(f"{address} needs the package fsspec; pip install 'eyas[remote]'") from None
    try:
        return url_to_fs(address)
    except ImportError as error:  # fsspec names the package that knows the protocol
        raise UserError(f"{address} cannot be opened: {first_line(error)}") from None
    except Exception as error:  # whatever the package of the protocol raises on a bad address or missing keys
        raise UserError(f"{address} cannot be opened: {first_line(error)}; check the address and your access to it") from None


def open_file(address: str) -> Any:
    """The file at an address (an `AbstractBufferedFile`), seekable, read in blocks as needed.

    Raises:
        UserError: see `filesystem`.
        OSError: it is not there, or cannot be read.
    """
    system, path = filesystem(address)
    try:
        return system.open(path, "rb")
    except OSError:
        raise
    except Exception as error:  # packages of a protocol have errors of their own
        raise OSError(first_line(error)) from None


def fetch(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or those from `start` to `end`, in one request.

    Raises:
        UserError: see `filesystem`.
        OSError: it is not there, or cannot be read.
    """
    system, path = filesystem(address)
    try:
        return system.cat_file(path, start=start, end=end)
    except OSError:
        raise
    except Exception as error:  # packages of a protocol have errors of their own
        raise OSError(first_line(error)) from None
