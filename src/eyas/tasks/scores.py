"""How well scores rank what is true above what is not; every figure also for weighted rows, as a bootstrap draws them."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

CHUNK = 50  # resamples at a time

Scores = Float[np.ndarray, " n"]
Truth = Bool[np.ndarray, " n"]
Weights = Float[np.ndarray, "r n"]


def average_precision(scores: Scores, truth: Truth, weights: Weights | None = None) -> Float64[np.ndarray, " r"]:
    """Area under precision over recall, in steps: the sum of (recall gained) times (precision there), over the thresholds.

    Equal scores are one threshold. One figure for each row of `weights`, how often each image counts; without them one in
    all. Where nothing is true or nothing else there is none: nan.
    """
    order, ends = _thresholds(scores)
    drawn = np.ones((1, len(scores))) if weights is None else weights
    true = np.cumsum(drawn[:, order] * truth[order], 1, dtype=np.float64)[:, ends]
    found = np.cumsum(drawn[:, order], 1, dtype=np.float64)[:, ends]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(found > 0, true / found, 0.0)
        area = (np.diff(true, axis=1, prepend=0.0) * precision).sum(1) / true[:, -1]
    return np.where((true[:, -1] > 0) & (true[:, -1] < found[:, -1]), area, np.nan)


def auc(scores: Scores, truth: Truth, weights: Weights | None = None) -> Float64[np.ndarray, " r"]:
    """Area under the ROC curve: how likely a true one scores above another; equal scores count half. See above."""
    order, ends = _thresholds(scores)
    drawn = np.ones((1, len(scores))) if weights is None else weights
    true = np.cumsum(drawn[:, order] * truth[order], 1, dtype=np.float64)[:, ends]
    false = np.cumsum(drawn[:, order] * ~truth[order], 1, dtype=np.float64)[:, ends]
    middle = true - np.diff(true, axis=1, prepend=0.0) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.diff(false, axis=1, prepend=0.0) * middle).sum(1) / (true[:, -1] * false[:, -1])


def accepted(
    scores: Scores, truth: Truth, false_share: float, weights: Weights | None = None
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Share of the true ones accepted (TAR) at the lowest threshold that accepts at most `false_share` of the others (FAR).

    What scores as the threshold or above is accepted. Returns the shares and the thresholds (infinite: nothing is accepted).
    """
    order, ends = _thresholds(scores)
    drawn = np.ones((1, len(scores))) if weights is None else weights
    true = np.cumsum(drawn[:, order] * truth[order], 1, dtype=np.float64)[:, ends]
    false = np.cumsum(drawn[:, order] * ~truth[order], 1, dtype=np.float64)[:, ends]
    # A share of the others, summed in floats: 3 of 3,000 is at most 0.001 though 3 / 3000 may be a little more.
    allowed = false <= false_share * false[:, -1:] * (1 + 1e-9)
    last = allowed.sum(1) - 1  # the thresholds that are allowed come first
    rows = np.arange(len(last))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(last >= 0, true[rows, last], 0.0) / true[:, -1]
    return shares, np.where(last >= 0, scores[order][ends][last].astype(np.float64), np.inf)


def precision_draws(
    given: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"], resamples: int, seed: int = 0
) -> Float64[np.ndarray, "r k"]:
    """Average precision of each attribute: of the images as they are, then of each resample of them (Efron 1979).

    Targets are 1, 0 or a share, of which a half and more counts as there; nan is unknown. Where an attribute is the same for
    all images, or all of a resample, there is nan.
    """
    images = len(given)
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    weights = np.concatenate([np.ones((1, images)), drawn]).astype(np.float32)
    known, there = ~np.isnan(targets), targets >= 0.5
    found = np.full((len(weights), given.shape[1]), np.nan)
    for k in range(given.shape[1]):
        of = known[:, k]
        if len(np.unique(there[of, k])) == 2:
            parts = [weights[at : at + CHUNK, of] for at in range(0, len(weights), CHUNK)]
            found[:, k] = np.concatenate([average_precision(given[of, k], there[of, k], part) for part in parts])
    return found


def _thresholds(scores: Scores) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " t"]]:
    """The rows from the highest score down, and where in that order each run of equal scores ends."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # nan differs from everything
    return order, ends
