"""What RandAugment's operations do at a level, as numbers; torch or pixels.cpp then do what these say.

`level` is the magnitude in tenths: 1 is the end of AutoAugment's ranges, and more goes beyond. What brightens or darkens,
turns left or right, is drawn by the sign. Levels grow with severity everywhere: in the reference code posterize and
solarize grow milder, and above magnitude 10 leave their range.
"""

import math
from collections.abc import Callable
from functools import cache

Numbers = tuple[float, ...]

FILL = 128  # what moves in from outside the image, as in the reference code
LARGEST_SHIFT = 0.9  # of the side, and
LARGEST_CUT = 0.35  # half the side of what is cut out: some of a picture always stays in sight
MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")  # their numbers say where a pixel comes from


@cache
def amounts(operation: str, level: float, sign: float, height: int, width: int) -> Numbers:
    """The numbers of one operation on an image of this size; none where there is nothing to choose.

    * Those in `MOVING`: (a, b, c, d, e, f), and pixel (x, y) comes from (ax + by + c, dx + ey + f), as Pillow's affine
      transform has it.
    * color, contrast, brightness, sharpness: the factor.
    * solarize: the level from which on it is inverted. solarize_add: what is added below 128. posterize: the bits that stay.
    * cutout: half the side of the square, as a share.
    """
    found = _AMOUNTS.get(operation)
    return found(level, sign, height, width) if found else ()


def _factor(level: float, sign: float, _height: int, _width: int) -> Numbers:
    """From 0.1 up, the reference's lowest: at 0 and below, brightness leaves a black picture, whatever it showed."""
    return (max(0.1, 1 + 0.9 * level * sign),)


def _edge(level: float, _sign: float, _height: int, _width: int) -> Numbers:
    return (max(0, round(256 * (1 - level))),)


def _added(level: float, _sign: float, _height: int, _width: int) -> Numbers:
    return (round(110 * level),)


def _bits(level: float, _sign: float, _height: int, _width: int) -> Numbers:
    return (256 - 2 ** (8 - max(1, 8 - round(4 * level))),)


def _half(level: float, _sign: float, _height: int, _width: int) -> Numbers:
    """At level 1 it is 40 of 224 pixels, as in the reference code."""
    return (min(level * 40 / 224, LARGEST_CUT),)


def _rotation(level: float, sign: float, height: int, width: int) -> Numbers:
    angle = -math.radians(30 * level * sign)
    cosine, sine = (round(value, 15) for value in (math.cos(angle), math.sin(angle)))
    x, y = width / 2, height / 2
    return cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y


def _shear_x(level: float, sign: float, _height: int, _width: int) -> Numbers:
    return 1, 0.3 * (level * sign), 0, 0, 1, 0


def _shear_y(level: float, sign: float, _height: int, _width: int) -> Numbers:
    return 1, 0, 0, 0.3 * (level * sign), 1, 0


def _translate_x(level: float, sign: float, _height: int, width: int) -> Numbers:
    return 1, 0, _shift(level * sign, width), 0, 1, 0


def _translate_y(level: float, sign: float, height: int, _width: int) -> Numbers:
    return 1, 0, 0, 0, 1, _shift(level * sign, height)


def _shift(amount: float, side: int) -> int:
    """In whole pixels."""
    return math.floor(max(-LARGEST_SHIFT, min(0.45 * amount, LARGEST_SHIFT)) * side + 0.5)


_AMOUNTS: dict[str, Callable[[float, float, int, int], Numbers]] = {
    **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), _factor),
    "solarize": _edge,
    "solarize_add": _added,
    "posterize": _bits,
    "cutout": _half,
    "rotate": _rotation,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
