"""How much a network's confidence is worth: measured on validation images, mended by a temperature, cut at a threshold."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from eyas.studies.soft_labels import Probabilities

TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8.0), 201))
BINS = 10  # of a reliability diagram
FEW = 20  # images that an accuracy is told of at least


def temperature(given: Probabilities, truth: Int64[np.ndarray, " n"]) -> float:
    """The temperature at which the answers' log-likelihood of the truth is largest (Guo et al. 2017), from 1/4 to 8."""
    logits = np.log(given.astype(np.float64) + 1e-12)
    losses = [-np.log(_soften(logits, t)[np.arange(len(truth)), truth] + 1e-12).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def calibrate(given: Probabilities, at: float) -> Probabilities:
    """Probabilities softened by a temperature."""
    return _soften(np.log(given.astype(np.float64) + 1e-12), at).astype(np.float32)


def reliability(given: Probabilities, truth: Int64[np.ndarray, " n"]) -> dict[str, Any]:
    """How often answers are right where they are so sure: images, confidence and accuracy of ten bins, and their gap.

    The gap is the expected calibration error (Guo et al. 2017, equation 5); a bin without images has nulls.
    """
    confidence, right = given.max(1), given.argmax(1) == truth
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    sure, sound = (np.bincount(bins, values.astype(np.float64), BINS) for values in (confidence, right))
    return {
        "images": counts.tolist(),
        "confidence": [float(total / count) if count else None for total, count in zip(sure, counts, strict=True)],
        "accuracy": [float(total / count) if count else None for total, count in zip(sound, counts, strict=True)],
        "gap": float(np.abs(sure - sound).sum() / max(1, len(truth))),
    }


def threshold_for(wanted: float, confidence: Float32[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float | None:
    """The smallest confidence at which so large a share of the images that are as confident, or more, is answered rightly.

    It is one that occurs. `None` where no such share is reached by 20 images or, of fewer, by all of them: the accuracy of a
    handful is chance.
    """
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    sorted_ = confidence[order]
    last = np.append(sorted_[1:] != sorted_[:-1], True)  # equal ones are taken together
    enough = np.arange(1, len(order) + 1) >= min(FEW, len(order))
    found = np.flatnonzero(last[: len(order)] & enough & (accuracy >= wanted))
    return float(sorted_[found[-1]]) if len(found) else None


def _soften(logits: np.ndarray, at: float) -> np.ndarray:
    scaled = logits / at
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
