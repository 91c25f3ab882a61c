"""JPEG by libjpeg-turbo directly: the same pixels as Pillow, which uses it too, with less around it."""

import re

import numpy as np
from jaxtyping import UInt8
from simplejpeg import decode_jpeg, encode_jpeg

SCANS = 500  # a small file can ask for thousands of passes over a large picture; libjpeg-turbo's own limit, where it has one
QUALITY = 95  # of what Eyas itself writes
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # one that begins a segment, or ends the picture


def decode(content: bytes, grey: bool) -> UInt8[np.ndarray, "h w c"]:
    """All pixels of a grey or YCbCr or RGB picture, as one channel or three.

    Raises:
        ValueError: the file is not sound to its last byte of picture, or of another kind.
    """
    return decode_jpeg(content, "gray" if grey else "rgb", strict=True)


def encode(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A grey or RGB picture as JPEG of quality 95, colours at full resolution."""
    grey = pixels.shape[2] == 1
    return encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "gray" if grey else "rgb", "gray" if grey else "444")


def too_many_scans(content: bytes) -> bool:
    """Whether the first picture in the file has more than `SCANS` scans; a few dozen are the most that any program writes."""
    if content.count(b"\xff\xda") <= SCANS:
        return False
    place, scans = 2, 0
    while found := _MARKER.search(content, place):  # what lies within a segment (a thumbnail, notes of a camera) is passed over
        if found[0] == b"\xff\xd9":
            return False
        scans += found[0] == b"\xff\xda"
        if scans > SCANS:
            return True
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    return False
