"""How a picture looks, measured once while it is decoded: light, contrast, sharpness, and a thumbnail to compare it by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image

from eyas.data.decode import Pixels
from eyas.data.resize import resize

THUMBNAIL = 32  # pixels a side; the whole picture is squeezed into the square, so that a quarter turn stays a quarter turn
SIDE = 128  # pixels of the longer side at which a picture is measured: one size for all, about what networks see
BLACK, WHITE = 3, 252  # grey levels at and beyond which a pixel holds no detail


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
    grey = Image.fromarray(small).convert("L")
    counts = np.array(grey.histogram(), np.float64) / (grey.width * grey.height)
    levels = np.arange(256)
    mean = float(counts @ levels)
    return Look(
        thumbnail=Image.fromarray(resize(small, THUMBNAIL, THUMBNAIL)).convert("L").tobytes(),
        brightness=mean,
        contrast=float(np.sqrt(counts @ (levels - mean) ** 2)),
        dark=float(counts[: BLACK + 1].sum()),
        light=float(counts[WHITE:].sum()),
        sharpness=_sharpness(np.asarray(grey, np.float32)),
    )


def _sharpness(grey: Float32[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy")."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).var())
