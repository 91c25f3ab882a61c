"""Statistics behind every claim: intervals for accuracies, and whether one model beats another on the same images."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

Correct = Bool[np.ndarray, " n"]
Answers = Bool[np.ndarray, "trainings n"]

Z95 = 1.959964
CONFIDENCE = 0.95  # share of bootstrap resamples in which a student must be ahead


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of images answered rightly, with its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        """`85.2 % (82.3 to 87.7)`."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy of one model less that of another on the same images, in points, with a 95 % bootstrap interval.

    `share_better` is the share of resamples in which the first is ahead; ties count half.
    """

    difference: float
    low: float
    high: float
    share_better: float
    images: int


def accuracy(correct: Correct) -> Accuracy:
    """The share of `correct` and its Wilson interval, which holds for few images and for shares near 0 and 1."""
    images, share = len(correct), float(correct.mean())
    middle = (share + Z95**2 / (2 * images)) / (1 + Z95**2 / images)
    half = Z95 / (1 + Z95**2 / images) * math.sqrt(share * (1 - share) / images + Z95**2 / (4 * images**2))
    # The share lies within, which rounding can take back where all or none are right.
    return Accuracy(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)), images)


def compare(first: Correct, second: Correct, seed: int = 0, resamples: int = 10_000) -> Comparison:
    """Paired bootstrap: the images are drawn again, each with both answers (Efron and Tibshirani 1993)."""
    gains = first.astype(np.float64) - second
    # Only wins, losses and ties matter, so a resample of images is a multinomial draw of the three.
    shares = [(gains > 0).mean(), (gains < 0).mean(), (gains == 0).mean()]
    wins, losses, _ = np.random.default_rng(seed).multinomial(len(gains), shares, resamples).T
    differences = 100 * (wins - losses) / len(gains)
    low, high = np.percentile(differences, [2.5, 97.5])
    better = ((differences > 0) + 0.5 * (differences == 0)).mean()
    return Comparison(100 * float(gains.mean()), float(low), float(high), float(better), len(gains))


def compare_seeds(first: Answers, second: Answers, seed: int = 0, resamples: int = 2_000) -> Comparison:
    """As `compare`, over several trainings of both: in each resample trainings and images are drawn again.

    So the interval holds for another training on other images. Of two or three trainings it is a rough one.
    """
    gains = first.astype(np.float64) - second
    trainings, images = gains.shape
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for row in range(resamples):
        drawn = gains[rng.integers(trainings, size=trainings)].mean(0)
        differences[row] = 100 * drawn[rng.integers(images, size=images)].mean()
    low, high = np.percentile(differences, [2.5, 97.5])
    better = ((differences > 0) + 0.5 * (differences == 0)).mean()
    return Comparison(100 * float(gains.mean()), float(low), float(high), float(better), images)


def accuracy_seeds(correct: Answers, seed: int = 0, resamples: int = 2_000) -> Accuracy:
    """The mean accuracy of several trainings, with an interval over trainings and images."""
    found = compare_seeds(correct, np.zeros_like(correct), seed, resamples)
    return Accuracy(found.difference / 100, found.low / 100, found.high / 100, found.images)


def judged(control: Comparison, teacher: Comparison, seeds: int = 1) -> dict[str, Any]:
    """The verdict from the student's comparisons with its control and with its teacher, over so many seeds.

    The rounds that were asked for go on unless the student is proven worse than its teacher: a few hundred validation images
    cannot tell a gain of a point from none.
    """
    helped, goes_on = control.share_better >= CONFIDENCE, teacher.share_better > 1 - CONFIDENCE
    told = sentence(asdict(control), helped, seeds)
    found = {"teacher": asdict(teacher), "helped": helped, "goes_on": goes_on, "seeds": seeds, "sentence": told}
    return asdict(control) | found


def sentence(found: dict[str, Any], helped: bool, seeds: int = 1) -> str:
    """The verdict in one sentence."""
    points = f"{found['difference']:+.1f} points (95 % interval {found['low']:+.1f} to {found['high']:+.1f})"
    over = f" over {seeds} seeds" if seeds > 1 else ""
    gain = f"student less equal-compute control: {points} on {found['images']} validation images{over}"
    if helped:
        return f"The pile helped; {gain}."
    harm = found["share_better"] <= 1 - CONFIDENCE
    return f"{'The pile did harm' if harm else 'It is not proven that the pile helped'}, and its round was dropped; {gain}."
