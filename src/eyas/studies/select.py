"""What is taken from the pile: calibrated, confident, balanced (Noisy Student, sections 2 and 3.1)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from eyas.recipe import SelfTraining

TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8.0), 201))
BINS = 20  # of the confidence histogram


@dataclass(frozen=True)
class Selection:
    """Rows of the pile to train on, repeated where a class is scarce, with their targets; and what was found."""

    rows: Int64[np.ndarray, " m"]
    targets: Float32[np.ndarray, "m k"]
    findings: dict[str, Any]


def temperature(given: Float32[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"]) -> float:
    """The temperature at which the answers' log-likelihood of the truth is largest (Guo et al. 2017), from 1/4 to 8."""
    logits = np.log(given.astype(np.float64) + 1e-12)
    losses = [-np.log(_soften(logits, t)[np.arange(len(truth)), truth] + 1e-12).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def calibrate(given: Float32[np.ndarray, "n k"], at: float) -> Float32[np.ndarray, "n k"]:
    """Probabilities softened by a temperature."""
    return _soften(np.log(given.astype(np.float64) + 1e-12), at).astype(np.float32)


def select(given: Float32[np.ndarray, "n k"], classes: tuple[str, ...], choice: SelfTraining) -> Selection:
    """Keep confident answers; with `balance`, as many of every class as the median class has.

    `given` are calibrated probabilities. Of a class with more the most confident stay; one with fewer is repeated.
    """
    confidence, top = given.max(1), given.argmax(1)
    # 1.2 over chance: with two classes the paper's 0.3 would keep everything.
    threshold = max(choice.threshold, min(1.2 / len(classes), 1.0))
    order = np.argsort(-confidence, kind="stable")
    kept = [order[(top[order] == index) & (confidence[order] >= threshold)] for index in range(len(classes))]
    counts = [len(rows) for rows in kept]
    if choice.balance and any(counts):
        goal = round(float(np.median([count for count in counts if count])))
        kept = [np.resize(rows, goal) if len(rows) else rows for rows in kept]
    rows = np.sort(np.concatenate(kept), kind="stable").astype(np.int64)
    targets = given[rows]
    if choice.labels == "hard":
        targets = np.eye(len(classes), dtype=np.float32)[top[rows]]
    edges = np.linspace(0, 1, BINS + 1)
    taken = np.isin(np.arange(len(given)), rows)
    findings = {
        "threshold": threshold,
        "images": len(given),
        "confident": sum(counts),
        "distinct": int(taken.sum()),
        "rows": len(rows),
        "classes": {
            name: {"confident": count, "rows": len(used)} for name, count, used in zip(classes, counts, kept, strict=True)
        },
        "edges": edges.tolist(),
        "kept": np.histogram(confidence[taken], edges)[0].tolist(),
        "dropped": np.histogram(confidence[~taken], edges)[0].tolist(),
    }
    return Selection(rows, targets, findings)


def _soften(logits: np.ndarray, at: float) -> np.ndarray:
    scaled = logits / at
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
