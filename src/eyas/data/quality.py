"""How a picture looks, measured once while it is decoded: light, contrast, sharpness, and a thumbnail to compare it by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from eyas.data.decode import Pixels
from eyas.data.pixels import PixelKernels
from eyas.data.resize import resize

THUMBNAIL = 32  # pixels a side; the whole picture is squeezed into the square, so that a quarter turn stays a quarter turn
SIDE = 128  # pixels of the longer side at which a picture is measured: one size for all, about what networks see
BLACK, WHITE = 3, 252  # grey levels at and beyond which a pixel holds no detail
_LUMINANCE = np.array([19595, 38470, 7471], np.float32) / 65536  # ITU-R 601-2 in 16-bit fractions


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of a picture besides its pixels, all from its grey self.

    `thumbnail`: uint8, row by row. `brightness`, `contrast`: mean and standard deviation of the grey levels, 0 to 255.
    `dark`, `light`: shares of the pixels that are as good as black, or white. `sharpness`: variance of the Laplacian.
    """

    thumbnail: bytes
    brightness: float
    contrast: float
    dark: float
    light: float
    sharpness: float


def look(pixels: Pixels, by: PixelKernels | None = None) -> Look:
    """Measure a decoded picture. A large one is reduced to `SIDE` first, so that decoding stays the long part."""
    height, width, channels = pixels.shape
    scale = min(1.0, SIDE / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    if by:
        thumbnail, numbers = by.look(pixels, height, width, THUMBNAIL, BLACK, WHITE)
    else:
        colours = pixels if channels == 3 else np.repeat(pixels, 3, 2)  # the same way for all: grey in three channels is grey
        small = resize(colours, height, width) if scale < 1 else colours
        thumbnail, numbers = _grey(resize(small, THUMBNAIL, THUMBNAIL)), tally(_grey(small))
    total, squares, dark, light, laplacian, laplacian_squares = numbers
    return Look(
        thumbnail=thumbnail.tobytes(),
        brightness=total / (height * width),
        contrast=_variance(total, squares, height * width) ** 0.5,
        dark=dark / (height * width),
        light=light / (height * width),
        sharpness=_variance(laplacian, laplacian_squares, max(1, (height - 2) * (width - 2))),
    )


def tally(grey: UInt8[np.ndarray, "h w"]) -> list[int]:
    """Of a grey picture: the sums of its levels and of their squares, how many pixels are black, how many white, and the
    sums of its Laplacian and of that squared (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy").
    """
    levels = grey.astype(np.int64)
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * levels[1:-1, 1:-1]
    counted = (levels, np.square(levels), levels <= BLACK, levels >= WHITE, laplacian, np.square(laplacian))
    return [int(each.sum()) for each in counted]


def _variance(total: int, squares: int, count: int) -> float:
    """Of whole numbers, from their sum and that of their squares."""
    return (count * squares - total * total) / count**2


def _grey(colours: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Luminance, bit by bit as Pillow converts to "L": floats hold these sums exactly."""
    # Not as a product of matrices: its library starts threads of its own, which wait for each other by computing.
    red, green, blue = (colours[..., channel] * weight for channel, weight in enumerate(_LUMINANCE))
    return (red + green + blue + np.float32(0.5)).astype(np.uint8)
