"""In which order the images of a source are drawn, and how often each."""

import numpy as np
from jaxtyping import Float32, Float64, Int64


def balanced(targets: Float32[np.ndarray, "n k"], power: float) -> Float64[np.ndarray, " n"]:
    """How often each image is to be drawn in an epoch of n draws, by the scarcity of its class.

    `power` 0 draws each image once; 1 draws each class equally often; 0.5 lies between (square-root sampling).
    """
    weights = targets.astype(np.float64) @ scarcity(targets, power)
    return weights * len(weights) / weights.sum()


def scarcity(targets: Float32[np.ndarray, "n k"], power: float = 1.0) -> Float64[np.ndarray, " k"]:
    """A weight for each class: its share of the images to the power of -`power`; 0 for a class without images.

    The images' mean weight is 1. With power 1 it is n / (classes with images x images of the class).
    """
    counts = targets.sum(0, dtype=np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1e-12) ** -power, 0.0)
    return weights * counts.sum() / (weights * counts).sum()


def epoch(weights: Float64[np.ndarray, " n"] | None, images: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """`images` draws in random order: each image once, or with `weights` (mean 1) as often as its weight says.

    An image of weight 2.3 is drawn twice or three times, 2.3 times on average (systematic resampling in a random order).
    """
    order = rng.permutation(images)
    if weights is None:
        return order
    ends = np.minimum(np.floor(np.cumsum(weights[order]) + rng.random()), images)
    ends[-1] = images  # what the weights sum to, but for rounding
    return rng.permutation(np.repeat(order, np.diff(ends, prepend=0.0).astype(np.int64)))
