"""JPEG by libjpeg-turbo directly: the same pixels as Pillow, which uses it too, with less around it."""

import re

import numpy as np
from jaxtyping import UInt8
from simplejpeg import decode_jpeg, decode_jpeg_header, encode_jpeg

SCANS = 500  # a small file can ask for thousands of passes over a large picture; libjpeg-turbo's own limit, where it has one
QUALITY = 95  # of what Eyas itself writes
START = b"\xff\xd8\xff"  # of every JPEG file
_SCAN, _NOTES = b"\xff\xda", b"\xff\xe1"  # markers; notes are EXIF and XMP, either of which may say how the picture is turned
_TOLD = re.compile(rb"\xff[\xda\xe1]")  # of these two, anywhere: compressed data holds neither
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # one that begins a segment, or ends the picture


def plain(content: bytes) -> tuple[int, int, bool] | None:
    """Height, width, and whether it is grey; None unless it is a usual picture, upright, that takes no time to decode."""
    markers = _TOLD.findall(content)
    if len(markers) > SCANS or _NOTES in markers:
        return None
    try:
        height, width, colours, _ = decode_jpeg_header(content)
    except ValueError:
        return None
    return (int(height), int(width), colours == "Gray") if colours in ("Gray", "YCbCr", "RGB") else None


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
    if content.count(_SCAN) <= SCANS:
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
