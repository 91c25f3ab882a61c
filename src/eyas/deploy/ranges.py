"""The range of each activation, chosen from what calibration images give: what eight bits have to cover.

Ways as in onnxruntime and NNCF: all that is seen; all but the ends, as single large values cost everything else its steps;
or the ends that round with the least squared error.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from jaxtyping import Float

BINS = 2048
OUTSIDE = 1e-3  # share of the values that "percentile" leaves outside, half of it at each end
LEVELS = 256
NARROW = BINS * 2**-20  # of the largest value: float32 has too few numbers between such ends to be sorted into bins
SHRINKS = np.linspace(1.0, 0.3, 36)  # shares of each end that "mse" tries

Spans = dict[str, tuple[float, float]]
Seen = Callable[[], Iterable[dict[str, np.ndarray]]]
"""Starts over: the values of every tensor by name, image after image."""


def spans(seen: Seen, how: Literal["minmax", "percentile", "mse"]) -> Spans:
    """The lowest and highest value by tensor; images are asked once for "minmax" and twice for the others."""
    whole: Spans = {}
    for tensors in seen():
        for name, values in tensors.items():
            low, high = whole.get(name, (np.inf, -np.inf))
            whole[name] = min(low, float(values.min())), max(high, float(values.max()))
    if how == "minmax":
        return whole
    counts = {name: np.zeros(BINS) for name, (low, high) in whole.items() if high - low > NARROW * max(-low, high)}
    for tensors in seen():
        for name in counts.keys() & tensors.keys():
            counts[name] += np.histogram(tensors[name], BINS, whole[name])[0]
    choose = _central if how == "percentile" else _least_error
    return whole | {name: choose(count, *whole[name]) for name, count in counts.items()}


def _central(counts: Float[np.ndarray, "bins"], low: float, high: float) -> tuple[float, float]:
    """The ends between which all but `OUTSIDE` of the values lie."""
    edges = np.linspace(low, high, BINS + 1)
    below = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    first = int(np.searchsorted(below, OUTSIDE / 2, "right")) - 1
    last = int(np.searchsorted(below, 1 - OUTSIDE / 2, "left"))
    return float(edges[first]), float(edges[last])


def _least_error(counts: Float[np.ndarray, "bins"], low: float, high: float) -> tuple[float, float]:
    """The ends, each drawn in towards 0 in its turn, with the least squared error of rounding to 256 levels."""
    edges = np.linspace(low, high, BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2

    def error(ends: tuple[float, float]) -> float:
        bottom, top = min(ends[0], 0.0), max(ends[1], 0.0)  # 0 is always a level
        step = (top - bottom) / (LEVELS - 1)
        rounded = np.round((centres.clip(bottom, top) - bottom) / step) * step + bottom
        return float((counts * (rounded - centres) ** 2).sum())

    best = min(((low, high * share) for share in SHRINKS), key=error) if high > 0 else (low, high)
    return min(((low * share, best[1]) for share in SHRINKS), key=error) if low < 0 else best
