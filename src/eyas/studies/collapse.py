"""Whether what was taken from a pile has begun to collapse: onto few classes, or to little of it."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

NARROW = 0.5  # effective classes of what is confident, over those of the labelled images
FALLING = 0.8  # usable share, over that of the round before
NAMED = 5


def effective(counts: Int64[np.ndarray, " k"]) -> float:
    """To how many equally large classes so many images in each come down: the exponent of their entropy (Hill 1973)."""
    shares: Float64[np.ndarray, " k"] = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def alarms(found: dict[str, Any], labelled: Int64[np.ndarray, " k"], before: dict[str, Any] | None = None) -> list[str]:
    """What is alarming in the findings of a selection, a sentence each; nothing where there is nothing.

    Args:
        found: the findings, see `eyas.studies.select`.
        labelled: images of every class that people labelled for training.
        before: the findings of the round before.
    """
    counts = np.array([each["confident"] for each in found["classes"].values()], dtype=np.int64)
    told: list[str] = []
    if not counts.any():
        return told
    narrow, usual = effective(counts), effective(labelled)
    if narrow < NARROW * usual:
        told.append(
            f"what is confident in the pile spreads over {narrow:.1f} classes' worth, the labelled images over {usual:.1f}: "
            "the teacher puts nearly everything into few classes"
        )
    none = [name for name, count in zip(found["classes"], counts, strict=True) if not count]
    if none:
        more = f" and {len(none) - NAMED} more" if len(none) > NAMED else ""
        told.append(f"no image of the pile is confident enough for the class {', '.join(none[:NAMED])}{more}")
    share = _usable(found)
    if before and share < FALLING * _usable(before):
        told.append(
            f"{share:.1%} of the pile is usable and {_usable(before):.1%} was in the round before: the teacher has become less "
            "sure of it"
        )
    return told


def _usable(found: dict[str, Any]) -> float:
    return found["confident"] / max(1, found["images"])
