"""How a picture looks, measured once while it is decoded: light, contrast, sharpness, and a thumbnail to compare it by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image

from eyas.data.decode import Pixels

THUMBNAIL = 32  # pixels a side; the whole picture is squeezed into the square, so that a quarter turn stays a quarter turn
SIDE = 128  # pixels of the longer side at which sharpness is measured: one size for all, about what networks see
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
    """Measure a decoded picture. A large one is averaged over squares of pixels first, so that decoding stays the long part."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    grey = image.convert("L").reduce(max(1, max(image.size) // SIDE))
    counts = np.array(grey.histogram(), np.float64) / (grey.width * grey.height)
    levels = np.arange(256)
    mean = float(counts @ levels)
    small = grey.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)  # smaller ones stay as they are
    return Look(
        thumbnail=small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC).tobytes(),
        brightness=mean,
        contrast=float(np.sqrt(counts @ (levels - mean) ** 2)),
        dark=float(counts[: BLACK + 1].sum()),
        light=float(counts[WHITE:].sum()),
        sharpness=_sharpness(np.asarray(small, np.float32)),
    )


def _sharpness(grey: Float32[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy")."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).var())
