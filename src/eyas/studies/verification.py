"""Telling whether two images show the same: accuracy by folds, accepted shares at few false ones, ROC; with intervals."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from eyas.data.readers.pairs import Pair
from eyas.errors import UserError
from eyas.tasks.retrieval import retrieval
from eyas.tasks.scores import accepted, auc

FOLDS = 10  # LFW's
FALSE_SHARES = (1e-1, 1e-2, 1e-3, 1e-4)
RESAMPLES = 200
PAIRS = 1_000_000  # of different identities that are scored at most, where all are to be
CHUNK = 4  # resamples at a time, where there are so many pairs

Vectors = Float[np.ndarray, "n d"]


@dataclass(frozen=True)
class Share:
    """A figure with its 95 % bootstrap interval: identities are drawn again, with all their images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accepted:
    """How many pairs of one identity are accepted (TAR) where at most a share of the others is (FAR).

    Attributes:
        false_share: that share.
        allowed: how many pairs of different identities it lets through: below one the figure says nothing, below about ten
            little.
        needed: pairs of different identities that would let ten through.
        rate: TAR; none where not one may be let through.
        threshold: cosine from which on pairs are accepted.
    """

    false_share: float
    allowed: int
    needed: int
    rate: Share | None
    threshold: float | None


@dataclass(frozen=True)
class Verified:
    """How well pairs are told apart.

    Attributes:
        same: pairs of one identity.
        different: pairs of two.
        accuracy: share told rightly, each fold by the threshold that is best on the others; mean of the folds.
        deviation: standard error of that mean over the folds, as LFW reports it.
        folds: how many.
        auc: area under the ROC curve.
        accepted: shares accepted at few false ones.
        left_out: pairs whose images could not be used.
    """

    same: int
    different: int
    accuracy: float
    deviation: float
    folds: int
    auc: Share
    accepted: tuple[Accepted, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Retrieved:
    """How images find others of their identity: shares of the queries with intervals; `alone` have none to find."""

    queries: int
    alone: int
    figures: dict[str, Share]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Pairs by the rows of their images, whether they are of one identity, and the fold of each."""

    first: Int64[np.ndarray, " p"]
    second: Int64[np.ndarray, " p"]
    same: Bool[np.ndarray, " p"]
    fold: Int64[np.ndarray, " p"]
    left_out: int = 0


def listed(pairs: tuple[Pair, ...], rows: dict[str, int], seed: int = 0) -> Pairing:
    """The pairs of a list whose images both have a row; where it has one fold, ten are drawn by seed."""
    used = [pair for pair in pairs if pair.first in rows and pair.second in rows]
    first, second = (np.array([rows[getattr(pair, end)] for pair in used], dtype=np.int64) for end in ("first", "second"))
    same = np.array([pair.same for pair in used], dtype=bool)
    fold = np.array([pair.fold for pair in used], dtype=np.int64)
    if len(set(fold.tolist())) < 2:
        fold = _folds(same, seed)
    return Pairing(first, second, same, fold, len(pairs) - len(used))


def every(identities: Int64[np.ndarray, " n"], seed: int = 0) -> Pairing:
    """All pairs of images; of those of different identities at most `PAIRS`, drawn by seed."""
    first, second = np.triu_indices(len(identities), 1) if len(identities) <= 4000 else _drawn(identities, seed)
    same = identities[first] == identities[second]
    if (~same).sum() > PAIRS:
        others = np.flatnonzero(~same)
        kept = np.sort(np.concatenate([np.flatnonzero(same), np.random.default_rng(seed).choice(others, PAIRS, replace=False)]))
        first, second, same = first[kept], second[kept], same[kept]
    return Pairing(first.astype(np.int64), second.astype(np.int64), same, _folds(same, seed))


def verify(vectors: Vectors, identities: Int64[np.ndarray, " n"], pairs: Pairing, seed: int = 0) -> Verified:
    """Measure how well unit vectors tell the pairs apart, by their cosine.

    Intervals come from drawing the identities again: pairs share images and identities, and are not independent.

    Raises:
        UserError: there are fewer than two pairs of one kind, or there is one fold.
    """
    same, different = int(pairs.same.sum()), int((~pairs.same).sum())
    if len(np.unique(pairs.fold)) == 1:
        raise UserError("all pairs are in one fold; a threshold is chosen on the others, so give two at least")
    if min(same, different) < 2:
        raise UserError(
            f"{same} pairs of one identity and {different} of two can be used; verification needs two of each at least"
        )
    cosines = _cosines(vectors, pairs)
    left_out = pairs.left_out
    right = by_folds(cosines, pairs.same, pairs.fold)
    order = np.argsort(-cosines, kind="stable")  # what is sorted already is sorted again in no time
    cosines, pairs = cosines[order], Pairing(pairs.first[order], pairs.second[order], pairs.same[order], pairs.fold[order])
    again = [_figures(cosines, pairs.same, part) for part in _weights(identities, pairs, seed)]
    drawn = {name: np.concatenate([part[name] for part in again]) for name in again[0]}
    return Verified(
        same,
        different,
        float(np.mean(right)),
        float(np.std(right, ddof=1) / np.sqrt(len(right))),
        len(right),
        _share(auc(cosines, pairs.same)[0], drawn["auc"]),
        tuple(_accepted(cosines, pairs.same, share, drawn[f"{share}"]) for share in FALSE_SHARES),
        left_out,
    )


def retrieve(vectors: Vectors, identities: Int64[np.ndarray, " n"], seed: int = 0) -> Retrieved:
    """Measure how images find others of their identity, with intervals over identities; no figures where none has any."""
    found = retrieval(vectors, identities)
    if not len(found.identities):
        return Retrieved(0, found.alone, {})
    names, index = np.unique(found.identities, return_inverse=True)
    counts = np.bincount(index.reshape(-1), minlength=len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    figures = {}
    for name, values in found.figures.items():
        sums = np.bincount(index.reshape(-1), values, minlength=len(names))
        again = (drawn * sums).sum(1) / np.maximum((drawn * counts).sum(1), 1)
        figures[name] = _share(found.mean(name), again)
    return Retrieved(len(found.identities), found.alone, figures)


def by_folds(
    cosines: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], fold: Int64[np.ndarray, " p"]
) -> Float[np.ndarray, " f"]:
    """Share of each fold's pairs that is told rightly by the threshold that is best on the other folds (LFW's protocol)."""
    found = []
    for number in np.unique(fold):
        held = fold == number
        threshold = best_threshold(cosines[~held], same[~held])
        found.append(((cosines[held] >= threshold) == same[held]).mean())
    return np.array(found)


def best_threshold(cosines: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"]) -> float:
    """The cosine from which on pairs are called the same so that most are told rightly; of equally good ones the highest.

    It lies midway between two cosines that occur: neither is on the edge.
    """
    values = np.unique(cosines)
    middle = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    place = np.searchsorted(values, cosines)
    rejected_same = np.concatenate([[0], np.cumsum(np.bincount(place[same], minlength=len(values)))])
    rejected_other = np.concatenate([[0], np.cumsum(np.bincount(place[~same], minlength=len(values)))])
    right = rejected_other - rejected_same
    return float(middle[len(right) - 1 - right[::-1].argmax()])


def _figures(
    cosines: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], weights: Float[np.ndarray, "r p"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Those of some resamples."""
    shares = {f"{share}": accepted(cosines, same, share, weights)[0] for share in FALSE_SHARES}
    return {"auc": auc(cosines, same, weights), **shares}


def _accepted(
    cosines: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], share: float, again: Float[np.ndarray, " r"]
) -> Accepted:
    allowed, needed = int((~same).sum() * share * (1 + 1e-9)), round(10 / share)
    if not allowed:
        return Accepted(share, 0, needed, None, None)
    rate, threshold = accepted(cosines, same, share)
    return Accepted(share, allowed, needed, _share(rate[0], again), float(threshold[0]) if np.isfinite(threshold[0]) else None)


def _weights(identities: Int64[np.ndarray, " n"], pairs: Pairing, seed: int) -> Generator[Float[np.ndarray, "_ p"]]:
    """How often each pair counts in each resample of the identities, a few resamples at a time.

    A pair of two identities counts as often as both are drawn, one within an identity as often as that is.
    """
    names, index = np.unique(identities, return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    drawn = drawn.astype(np.float32)[:, index.reshape(-1)]
    within = index[pairs.first] == index[pairs.second]
    for start in range(0, RESAMPLES, CHUNK):
        one = drawn[start : start + CHUNK, pairs.first]
        yield np.where(within, one, one * drawn[start : start + CHUNK, pairs.second])


def _cosines(vectors: Vectors, pairs: Pairing) -> Float[np.ndarray, " p"]:
    parts = range(0, len(pairs.first), 65536)
    return np.concatenate(
        [np.einsum("pd,pd->p", vectors[pairs.first[at : at + 65536]], vectors[pairs.second[at : at + 65536]]) for at in parts]
    )


def _folds(same: Bool[np.ndarray, " p"], seed: int) -> Int64[np.ndarray, " p"]:
    """Ten folds, each with its share of both kinds; fewer where there are fewer pairs of a kind."""
    folds, rng = max(2, min(FOLDS, int(same.sum()), int((~same).sum()))), np.random.default_rng(seed)
    found = np.empty(len(same), np.int64)
    for kind in (same, ~same):
        found[kind] = rng.permutation(np.arange(int(kind.sum())) % folds)
    return found


def _drawn(identities: Int64[np.ndarray, " n"], seed: int) -> tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]:
    """All pairs within an identity, and `PAIRS` others, where all pairs would be too many to write down."""
    order = np.argsort(identities, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(identities[order])) + 1)
    within = [np.stack(np.triu_indices(len(rows), 1)) for rows in groups]
    first = np.concatenate([rows[places[0]] for rows, places in zip(groups, within, strict=True)])
    second = np.concatenate([rows[places[1]] for rows, places in zip(groups, within, strict=True)])
    ends = np.random.default_rng(seed).integers(len(identities), size=(2, 2 * PAIRS))
    low, high = np.unique(np.sort(ends, axis=0), axis=1)
    differ = np.flatnonzero(identities[low] != identities[high])
    kept = np.sort(np.random.default_rng(seed).permutation(differ)[:PAIRS])
    return np.concatenate([first, low[kept]]), np.concatenate([second, high[kept]])


def _share(value: float, again: Float[np.ndarray, " r"]) -> Share:
    usable = again[np.isfinite(again)]  # a resample may hold one kind of pair only
    low, high = np.percentile(usable, [2.5, 97.5]) if len(usable) else (value, value)
    return Share(float(value), float(low), float(high))
