"""How a picture looks, measured once while it is decoded: light, contrast, sharpness, and a thumbnail to compare it by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from eyas.data.decode import Pixels
from eyas.data.resize import resize

THUMBNAIL = 32  # pixels a side; the whole picture is squeezed into the square, so that a quarter turn stays a quarter turn
SIDE = 128  # pixels of the longer side at which a picture is measured: one size for all, about what networks see
BLACK, WHITE = 3, 252  # grey levels at and beyond which a pixel holds no detail
_LEVELS = np.arange(256.0)
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


def look(pixels: Pixels) -> Look:
    """Measure a decoded picture. A large one is reduced to `SIDE` first, so that decoding stays the long part."""
    height, width, channels = pixels.shape
    colours = pixels if channels == 3 else np.repeat(pixels, 3, 2)  # the same way for all: grey in three channels is grey
    scale = SIDE / max(height, width)
    small = resize(colours, max(1, round(height * scale)), max(1, round(width * scale))) if scale < 1 else colours
    grey = _grey(small)
    counts = np.bincount(grey.reshape(-1), minlength=256) / grey.size
    mean = float(counts @ _LEVELS)
    return Look(
        thumbnail=_grey(resize(small, THUMBNAIL, THUMBNAIL)).tobytes(),
        brightness=mean,
        contrast=float(np.sqrt(counts @ (_LEVELS - mean) ** 2)),
        dark=float(counts[: BLACK + 1].sum()),
        light=float(counts[WHITE:].sum()),
        sharpness=_sharpness(grey),
    )


def _grey(colours: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Luminance, bit by bit as Pillow converts to "L": floats hold these sums exactly."""
    # Not as a product of matrices: its library starts threads of its own, which wait for each other by computing.
    red, green, blue = (colours[..., channel] * weight for channel, weight in enumerate(_LUMINANCE))
    return (red + green + blue + np.float32(0.5)).astype(np.uint8)


def _sharpness(grey: UInt8[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy")."""
    if min(grey.shape) < 3:
        return 0.0
    levels = grey.astype(np.int16)
    found = levels[:-2, 1:-1] + levels[2:, 1:-1]
    found += levels[1:-1, :-2]
    found += levels[1:-1, 2:]
    found -= levels[1:-1, 1:-1] << 2
    values = found.astype(np.float64)
    return max(0.0, float(np.square(values).mean() - values.mean() ** 2))
