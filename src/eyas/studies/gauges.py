"""How the answers of networks that do not classify are compared and measured: attributes, vectors, boxes.

Their measures are no shares of right answers, so what a file loses is told by drawing the images again: for both networks
alike, so that what differs is the networks (a paired bootstrap).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from eyas.deploy import boxes as decoder
from eyas.deploy.parity import Answers, Scored
from eyas.tasks.box_scores import Rows, box_draws, overlaps
from eyas.tasks.retrieval import retrieval
from eyas.tasks.scores import precision_draws

RESAMPLES = 500
DIGITS = 5  # of an answer that count where answers are ranked: what differs by less is no loss
NEAR = 0.99  # cosine of two vectors that are the same answer
ALIKE = 0.5  # overlap of two boxes that are the same answer

Drawn = Float[np.ndarray, "r parts"]


@dataclass(eq=False)
class Resampled(ABC):
    """A measure of several parts, each over all images: its mean over the parts, on the images and on resamples of them.

    Attributes:
        parts: what the columns are of: attributes, classes of boxes; of vectors one.
        measure: the mean of what.
    """

    parts: tuple[str, ...]
    measure: str = "mean average precision"
    kept: dict[bytes, Drawn] = field(default_factory=dict)

    @abstractmethod
    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Of each image, the share of the answers that are the same."""

    @abstractmethod
    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n *_"]:
        """Differences of what is of one size."""

    @abstractmethod
    def draws(self, given: Answers) -> Drawn:
        """The measure of each part: of the images as they are, then of each resample; nan where there is nothing to measure."""

    def scored(self, ours: Answers, theirs: Answers) -> Scored | None:
        """The means of both over the parts, and what is lost at the least."""
        before, after = self._means(ours), self._means(theirs)
        if not np.isfinite(before[0]):
            return None
        return Scored(float(before[0]), float(after[0]), least=_percentile(before - after, 5))

    def change(self, before: Answers, after: Answers) -> dict[str, Any]:
        """The measure of both answers as shares, and the change in points with its 95 % interval."""
        return self._change(self._means(before), self._means(after), len(before))

    def changes(self, before: Answers, after: Answers) -> dict[str, Any]:
        """The same of each part that is not the only one, where it can be measured."""
        if len(self.parts) < 2:
            return {}
        first, second = self._drawn(before), self._drawn(after)
        rows = {name: (first[:, k], second[:, k]) for k, name in enumerate(self.parts) if np.isfinite(first[0, k])}
        return {name: self._change(one, other, len(before)) for name, (one, other) in rows.items()}

    def _change(self, before: np.ndarray, after: np.ndarray, images: int) -> dict[str, Any]:
        points = 100 * (after - before)
        shares = {"images": images, "before": float(before[0]), "after": float(after[0]), "points": float(points[0])}
        return {**shares, "low": _percentile(points, 2.5), "high": _percentile(points, 97.5)}

    def _drawn(self, given: Answers) -> Drawn:
        rounded = given.round(DIGITS)
        key = rounded.tobytes()
        if key not in self.kept:
            self.kept[key] = self.draws(rounded)
        return self.kept[key]

    def _means(self, given: Answers) -> Float[np.ndarray, " r"]:
        drawn = self._drawn(given)
        there = np.isfinite(drawn)
        means = np.full(len(drawn), np.nan)
        np.divide(np.where(there, drawn, 0).sum(1), there.sum(1), out=means, where=there.any(1))
        return means


@dataclass(eq=False)
class AttributeGauge(Resampled):
    """Attributes: the answer to one is whether it is there, and average precision the measure."""

    targets: Float[np.ndarray, "n k"] = field(kw_only=True)

    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Share of the attributes that both say are there, or are not."""
        return (((ours >= 0.5) == (theirs >= 0.5)) & np.isfinite(theirs)).mean(1)

    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n k"]:
        """Of all probabilities."""
        return np.abs(ours - theirs)

    def draws(self, given: Answers) -> Drawn:
        """Average precision of each attribute."""
        return precision_draws(np.nan_to_num(given), self.targets, RESAMPLES)


@dataclass(eq=False)
class VectorGauge(Resampled):
    """Vectors of length 1: the same answer is nearly the same direction, and retrieval the measure."""

    identities: Int64[np.ndarray, " n"] = field(kw_only=True)

    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Whether the cosine of the two vectors is 0.99 or above."""
        return ((ours * np.nan_to_num(theirs)).sum(1) >= NEAR).astype(np.float64)

    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n d"]:
        """Of all numbers."""
        return np.abs(ours - theirs)

    def draws(self, given: Answers) -> Drawn:
        """Mean average precision of retrieval; identities are drawn again, with all their images."""
        found = retrieval(np.nan_to_num(given), self.identities)
        values = found.figures["average_precision"]
        names, index = np.unique(found.identities, return_inverse=True)
        if not len(names):
            return np.full((1 + RESAMPLES, 1), np.nan)
        drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        weights = np.concatenate([np.ones((1, len(names))), drawn])[:, index.reshape(-1)]
        return (weights @ values / weights.sum(1))[:, None]


@dataclass(eq=False)
class BoxGauge(Resampled):
    """Boxes: the same answer is the same thing at nearly the same place, and COCO's average precision the measure.

    Attributes:
        truth: boxes of each image.
        facts: what decodes a row of an answer (`eyas.deploy.boxes`).
        threshold: score from which on a box is an answer that has to be the same.
    """

    truth: list[Rows] = field(kw_only=True)
    facts: dict[str, Any] = field(kw_only=True)
    threshold: float = field(kw_only=True)

    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Share of both networks' sure boxes that the other one has as well, sure or half as sure; 1 where there are none."""
        pairs = zip(self.found(ours), self.found(theirs), strict=True)
        return np.array([_shared(first, second, self.threshold) for first, second in pairs])

    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n boxes c"]:
        """Of the probabilities of all default boxes."""
        return np.abs(self._scores(ours) - self._scores(theirs))

    def draws(self, given: Answers) -> Drawn:
        """Average precision of each class."""
        return box_draws(self.found(given), self.truth, len(self.parts), resamples=RESAMPLES)

    def found(self, given: Answers) -> list[Rows]:
        """What the rows of an answer say: left, top, right, bottom, class and score of each box, the surest first."""
        return [_rows(decoder.decode(np.nan_to_num(row), self.facts)) for row in given]

    def _scores(self, given: Answers) -> Float[np.ndarray, "n boxes c"]:
        return given.reshape(len(given), -1, 4 + 1 + len(self.parts))[..., 4:]


def _rows(found: dict[str, np.ndarray]) -> Rows:
    columns = (found["boxes"].reshape(-1, 4), found["classes"][:, None], found["scores"][:, None])
    return np.concatenate(columns, 1).astype(np.float32)


def _shared(first: Rows, second: Rows, threshold: float) -> float:
    one, other = _matched(first, second, threshold), _matched(second, first, threshold)
    both = np.concatenate([one, other])
    return float(both.mean()) if len(both) else 1.0


def _matched(rows: Rows, others: Rows, threshold: float) -> Bool[np.ndarray, " m"]:
    """Which of the sure rows have a box of their class among the others, at the same place and at least half as sure."""
    sure, near = rows[rows[:, 5] >= threshold], others[others[:, 5] >= threshold / 2]
    if not len(sure) or not len(near):
        return np.zeros(len(sure), bool)
    crowdless = near.copy()
    crowdless[:, 5] = 0
    return ((overlaps(sure, crowdless) >= ALIKE) & (sure[:, None, 4] == near[None, :, 4])).any(1)


def _percentile(values: np.ndarray, percent: float) -> float:
    """Of what resamples give; of the images as they are where no resample has anything to measure."""
    usable = values[1:][np.isfinite(values[1:])]
    return float(np.percentile(usable, percent)) if len(usable) else float(values[0])
