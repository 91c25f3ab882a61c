"""Memory that stays with the process."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_BYTES = 2**30


def keep() -> None:
    """Have memory of pictures and activations stay with the process, to be used again for the next.

    The C library gives large pieces back to the system at once, which clears them anew every time. Another C library than
    glibc is left as it is.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            library.mallopt(option, _BYTES)
