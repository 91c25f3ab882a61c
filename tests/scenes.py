"""Small labelled pictures that a small network can learn in seconds: bars and dots on noise."""

from pathlib import Path

import numpy as np
from PIL import Image


def bars(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise with an upright bar."""
    image = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
    left = int(rng.integers(4, side - 8))
    image[:, left : left + 4] = rng.integers(150, 255, 3)
    return image


def dots(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise with a square dot."""
    image = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
    top, left = rng.integers(2, side - 12, 2)
    image[top : top + 10, left : left + 10] = rng.integers(150, 255, 3)
    return image


def write_scenes(folder: Path, count: int, side: int = 32, seed: int = 0, labelled: bool = True) -> Path:
    """`count` pictures of each class, in class folders or, for a pile, in one."""
    rng = np.random.default_rng(seed)
    for name, draw in (("bar", bars), ("dot", dots)):
        place = folder / name if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(draw(rng, side)).save(place / f"{name if labelled else ''}{seed}-{name[0]}{number:03d}.png")
    return folder
