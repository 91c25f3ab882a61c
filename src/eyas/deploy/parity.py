"""Does the exported file answer as the trained network does? Asked on the user's own images, judged by a contract."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import nn

from eyas.errors import ContractError, UserError
from eyas.nn.answers import Kind, answered

Predictor = Callable[[np.ndarray], np.ndarray]
"""What every artifact loads to: images uint8 [n, h, w, 3] -> answers float32 [n, k], as `eyas.nn.answers` has them."""

Answers = Float[np.ndarray, "n k"]

Precision = Literal["float32", "float16", "bfloat16", "int8"]

CHANCE = 0.05  # a contract is broken when its figure would be this bad by chance in fewer than 1 of 20 samples


@dataclass(frozen=True, slots=True)
class Parity:
    """How two predictors answered the same images.

    Attributes:
        images: how many were asked.
        agreement: share of the same answers.
        largest_gap: largest difference of one probability, or of one number of a vector.
        mean_gap: mean difference of one.
        reference: the measure of the trained network; None where the truth is not known.
        artifact: that of the exported file; None where the truth is not known.
        lost: images that only the trained network gets right; None where the measure is no share of right answers.
        won: images that only the exported file gets right; None likewise.
        least: how much less the file has of the measure, at the least: in 95 of 100 resamples of the images it is more; None
            where `lost` and `won` tell.
        measure: what tells how good the answers are.
    """

    images: int
    agreement: float
    largest_gap: float
    mean_gap: float
    reference: float | None = None
    artifact: float | None = None
    lost: int | None = None
    won: int | None = None
    least: float | None = None
    measure: str = "accuracy"


@dataclass(frozen=True, slots=True)
class Scored:
    """How good two predictors' answers to the same images are; the fields are those of `Parity`."""

    reference: float
    artifact: float
    lost: int | None = None
    won: int | None = None
    least: float | None = None


@runtime_checkable
class Gauge(Protocol):
    """How the answers of one kind of network are compared, and how good they are. Answers are float32 [n, k]."""

    @property
    def measure(self) -> str:
        """What tells how good they are."""
        ...

    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Of each image, the share of the answers that are the same."""
        ...

    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n *_"]:
        """Differences of probabilities, or of whatever is of one size."""
        ...

    def scored(self, ours: Answers, theirs: Answers) -> Scored | None:
        """How good both are; None where the truth is not known."""
        ...


@dataclass(frozen=True, eq=False)
class Classes:
    """One class an image: the likeliest one is the answer, and accuracy the measure.

    Attributes:
        labels: the true class of each image; None where it is not known.
    """

    labels: Int[np.ndarray, " n"] | None = None
    measure: str = "accuracy"

    def same(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, " n"]:
        """Whether the first answer is the same."""
        first, second = _first(ours), _first(theirs)
        return ((first == second) & (second >= 0)).astype(np.float64)

    def gaps(self, ours: Answers, theirs: Answers) -> Float[np.ndarray, "n k"]:
        """Of all probabilities."""
        return np.abs(ours - theirs)

    def scored(self, ours: Answers, theirs: Answers) -> Scored | None:
        """Accuracy, and the images that one gets right and the other does not."""
        if self.labels is None:
            return None
        before, after = _first(ours) == self.labels, _first(theirs) == self.labels
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        return Scored(float(before.mean()), float(after.mean()), lost, won)


@dataclass(frozen=True, slots=True)
class Contract:
    """What an exported file must keep.

    Attributes:
        min_agreement: smallest share of the same answers.
        max_gap: largest difference of one probability; 1 allows any.
        max_drop: largest loss of accuracy, as a share of the images, or of another kind's measure.
    """

    min_agreement: float
    max_gap: float
    max_drop: float


CONTRACTS: dict[Precision, Contract] = {
    # The same arithmetic in another order: 1e-5 between two processors; the rest of the 0.02 is for a network that was
    # asked on a GPU, whose convolutions may round to ten bits. Anything beyond that is another preprocessing or a wrong weight.
    "float32": Contract(min_agreement=0.99, max_gap=0.02, max_drop=0.005),
    # Fractions of ten and of seven bits move probabilities where the network is unsure. How far a sound file moves one, of
    # networks whose answers are mostly close calls, is what benchmarks/runtimes.py tells; the limits are some times that.
    "float16": Contract(min_agreement=0.99, max_gap=0.1, max_drop=0.005),
    "bfloat16": Contract(min_agreement=0.99, max_gap=0.5, max_drop=0.005),
    # Eight bits move single probabilities far where the network is unsure, without harm: no limit on the gap.
    # A sound file of a trained classifier differs on a few close calls in a hundred; one scale a tensor, which is known to
    # break depthwise networks, on far more (benchmarks/int8.py). 90 % lies between. The drop is for
    # files judged without a promise of the user's; eyas export and eyas fit put --max-drop in its place (`agreed`).
    "int8": Contract(min_agreement=0.90, max_gap=1.0, max_drop=0.02),
}


def agreed(precision: Precision, max_drop: float) -> Contract:
    """What a file of this precision must keep, where int8 may lose `max_drop` of the accuracy, as a share of the images."""
    contract = CONTRACTS[precision]
    return replace(contract, max_drop=max_drop) if precision == "int8" else contract


def reference_of(network: nn.Module, kind: Kind = "classify") -> Predictor:
    """The trained network as a predictor, in evaluation mode, on the device where it is; `kind` is what it was trained for."""

    def predict(images: np.ndarray) -> np.ndarray:
        training = network.training
        parameter = next(network.parameters())
        network.eval()
        try:
            with torch.inference_mode():
                return answered(network(torch.from_numpy(images).to(parameter.device)), kind).cpu().numpy()
        finally:
            network.train(training)

    return predict


def check(
    reference: Predictor,
    artifact: Predictor,
    images: UInt8[np.ndarray, "n h w 3"],
    gauge: Gauge = Classes(),
    batch: int = 32,
    seen: UInt8[np.ndarray, "n _height _width 3"] | None = None,
) -> Parity:
    """Ask both the same images, `batch` at a time, and compare.

    The exported file is shown `seen` where it is given: the same images as they are made on a device, from encoded files.
    An answer that is not a number counts as the largest gap there is, and its image as one that nobody agrees on.

    Raises:
        UserError: there are no images.
        ContractError: the two do not answer in as many numbers.
    """
    if not len(images):
        raise UserError("parity cannot be checked without images; keep at least one labelled image for validation")
    ours = _answers(reference, images, batch)
    theirs = _answers(artifact, images if seen is None else seen, batch)
    if ours.shape != theirs.shape:
        raise ContractError(
            f"the trained network answers in {ours.shape[1]} numbers and the exported file in {theirs.shape[1]}"
        )
    gap = np.nan_to_num(gauge.gaps(ours, theirs), nan=1.0)
    agreement, scored = float(gauge.same(ours, theirs).mean()), gauge.scored(ours, theirs)
    found = Parity(len(images), agreement, float(gap.max()), float(gap.mean()), measure=gauge.measure)
    return replace(found, **asdict(scored)) if scored else found


def breaches(parity: Parity, contract: Contract) -> list[str]:
    """One sentence for each promise that is broken; none when the artifact can be shipped.

    A validation set is a sample, and a small one moves by chance: of 80 images one flipped answer is already 1.25 points.
    So a figure fails only when it is beyond its limit and beyond chance (p < 0.05):

    * agreement: were the true share of disagreement at its limit, so many disagreements would be unlikely (exact binomial);
    * accuracy: the drop is judged on the images whose answer turned from right to wrong or back; were both as likely, so
      many losses among them would be unlikely (exact one-sided sign test, McNemar 1947). Five losses and no gain is the
      least that fails. Another measure fails where 95 of 100 resamples of the images have a loss.

    The largest gap needs no such care: it is a property of the two programs and not of the sample.
    """
    broken = []
    differing = round((1 - parity.agreement) * parity.images)
    likely = _tail(differing, parity.images, 1 - contract.min_agreement)
    if parity.agreement < contract.min_agreement and likely < CHANCE:
        broken.append(
            f"the exported file gives the trained network's answer on {parity.agreement:.1%} of {parity.images} images, "
            f"and {contract.min_agreement:.0%} is the least"
        )
    if parity.largest_gap > contract.max_gap:
        broken.append(
            f"a number in an answer of the exported file is {parity.largest_gap:.3g} off the trained network's, "
            f"and {contract.max_gap:g} is the most"
        )
    return broken + _dropped(parity, contract)


def _dropped(parity: Parity, contract: Contract) -> list[str]:
    before, after = parity.reference, parity.artifact
    if before is None or after is None or before - after <= contract.max_drop:
        return []
    if parity.lost is not None and parity.won is not None:
        chance = _tail(parity.lost, parity.lost + parity.won, 0.5) >= CHANCE
        counts = f" ({parity.lost} answers lost, {parity.won} won)"
    else:
        chance, counts = parity.least is None or parity.least <= 0, ""
    if chance:
        return []
    return [
        f"{parity.measure} falls from {before:.1%} to {after:.1%}{counts}, "
        f"and {contract.max_drop * 100:g} points are the most it may lose"
    ]


def _answers(predictor: Predictor, images: np.ndarray, batch: int) -> Float[np.ndarray, "n k"]:
    return np.concatenate([predictor(images[start : start + batch]) for start in range(0, len(images), batch)])


def _first(probabilities: Float[np.ndarray, "n k"]) -> Int[np.ndarray, "n"]:
    """The most likely class, -1 where a probability is not a number."""
    return np.where(np.isfinite(probabilities).all(1), probabilities.argmax(1), -1)


def _tail(hits: int, trials: int, chance: float) -> float:
    """Probability of at least `hits` in `trials` that each hit with `chance` (0 < chance < 1)."""
    ways = (math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(hits, trials + 1))
    odds = (k * math.log(chance) + (trials - k) * math.log1p(-chance) for k in range(hits, trials + 1))
    return math.fsum(math.exp(way + odd) for way, odd in zip(ways, odds, strict=True))
