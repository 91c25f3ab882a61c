"""Pictures at other sizes, antialiased: Pillow's results within one grey level, by torch or, the same bytes, pixels.cpp."""

import numpy as np
import torch
from jaxtyping import UInt8

from eyas.data.pixels import PixelKernels

Pixels = UInt8[np.ndarray, "_height _width _channels"]


def resize(pixels: Pixels, height: int, width: int, by: PixelKernels | None = None) -> Pixels:
    """The picture at another size, bicubic over the whole footprint of a pixel, so that nothing is skipped or aliased."""
    if by:
        return by.resize(pixels, height, width)
    writable = np.require(pixels, requirements=["C", "W"])  # torch warns about arrays that are not, such as rows of a file
    picture = torch.from_numpy(writable)[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(picture, (height, width), mode="bicubic", antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def shrink(pixels: Pixels, side: int, by: PixelKernels | None = None) -> Pixels:
    """The picture with its short side at `side` pixels, antialiased; a smaller one as it is."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= side:
        return pixels
    return resize(pixels, round(height * side / short), round(width * side / short), by)
