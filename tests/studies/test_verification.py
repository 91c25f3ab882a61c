"""Verification and retrieval against computations that share no line with them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from eyas.data.readers.pairs import Pair
from eyas.errors import UserError
from eyas.studies import verification
from eyas.studies.verification import Pairing, best_threshold, by_folds, every, listed, retrieve, verify

RNG = np.random.default_rng(0)
IDENTITIES = np.repeat(np.arange(20), 4)
CENTRES = RNG.normal(size=(20, 8))
VECTORS = CENTRES[IDENTITIES] + 0.9 * RNG.normal(size=(80, 8))
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
PAIRS = every(IDENTITIES)
COSINES = np.array([VECTORS[a] @ VECTORS[b] for a, b in zip(PAIRS.first, PAIRS.second, strict=True)])


def by_loops(cosines: np.ndarray, same: np.ndarray, fold: np.ndarray) -> list[float]:
    """Accuracy of each fold, with the best of all thresholds tried one by one."""
    found = []
    for number in sorted(set(fold.tolist())):
        rest, held = fold != number, fold == number
        values = sorted(set(cosines[rest].tolist()))
        tried = [values[0] - 1] + [(a + b) / 2 for a, b in pairwise(values)] + [values[-1] + 1]
        shares = [float(((cosines[rest] >= threshold) == same[rest]).mean()) for threshold in tried]
        best = max(range(len(tried)), key=lambda index: (shares[index], index))
        found.append(float(((cosines[held] >= tried[best]) == same[held]).mean()))
    return found


def test_all_pairs_are_all_pairs():
    assert len(PAIRS.first) == 80 * 79 // 2
    assert PAIRS.same.sum() == 20 * 6
    assert (PAIRS.first < PAIRS.second).all()


def test_accuracy_by_folds_is_that_of_trying_every_threshold():
    chosen = RNG.permutation(len(COSINES))[:400]
    cosines, same, fold = np.round(COSINES[chosen], 2), PAIRS.same[chosen], PAIRS.fold[chosen]
    assert by_folds(cosines, same, fold) == pytest.approx(by_loops(cosines, same, fold))


def test_the_best_threshold_of_separable_pairs_lies_between():
    assert best_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.1, 0.9]), np.array([False, False])) > 0.9


def test_figures_equal_those_of_scikit_learn():
    found = verify(VECTORS, IDENTITIES, PAIRS)
    assert (found.same, found.different, found.folds) == (120, 3040, 10)
    assert found.auc.value == pytest.approx(roc_auc_score(PAIRS.same, COSINES))
    false, true, _ = roc_curve(PAIRS.same, COSINES, drop_intermediate=False)
    for each in found.accepted[:3]:
        assert each.rate.value == pytest.approx(true[false <= each.false_share + 1e-12].max())
        assert ((each.threshold <= COSINES) & ~PAIRS.same).sum() <= each.allowed
    assert found.accuracy == pytest.approx(np.mean(by_loops(COSINES, PAIRS.same, PAIRS.fold)))


def test_the_standard_error_is_that_of_a_sample_of_folds():
    right = by_loops(COSINES, PAIRS.same, PAIRS.fold)
    assert verify(VECTORS, IDENTITIES, PAIRS).deviation == pytest.approx(np.std(right, ddof=1) / np.sqrt(10))


def test_one_fold_is_refused():
    with pytest.raises(UserError, match="all pairs are in one fold"):
        verify(VECTORS, IDENTITIES, replace(PAIRS, fold=np.zeros_like(PAIRS.fold)))


def test_where_nobody_has_two_images_there_is_nothing_to_find():
    found = retrieve(VECTORS[:3], np.arange(3))
    assert (found.queries, found.alone, found.figures) == (0, 3, {})


def test_a_share_that_lets_no_pair_through_has_no_figure():
    last = verify(VECTORS, IDENTITIES, PAIRS).accepted[-1]
    assert (last.false_share, last.allowed, last.needed, last.rate) == (1e-4, 0, 100_000, None)


def test_intervals_hold_the_value_and_narrow_with_identities():
    many = np.repeat(np.arange(60), 4)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 8))[many] + 0.9 * rng.normal(size=(240, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    few, more = verify(VECTORS, IDENTITIES, PAIRS).auc, verify(vectors, many, every(many)).auc
    for share in (few, more):
        assert share.low < share.value < share.high
    assert more.high - more.low < few.high - few.low


def test_a_resample_counts_pairs_as_if_their_images_were_there_so_often():
    """Of identities drawn 0, 1 or 2 times: the weights are those of pairs of repeated images."""
    identities, pairs = np.array([0, 0, 1, 1, 2]), every(np.array([0, 0, 1, 1, 2]))
    for part in verification._weights(identities, pairs, 0):
        for row in part:
            weight = dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), row, strict=True))
            zero, one = weight[0, 1], weight[2, 3]
            assert weight[0, 2] == weight[1, 3] == zero * one
            assert weight[0, 4] * one == weight[2, 4] * zero
    assert sum(len(part) for part in verification._weights(identities, pairs, 0)) == verification.RESAMPLES


def test_a_list_of_one_fold_is_drawn_into_ten_and_pairs_without_images_are_counted():
    rows = {f"i{number}": number for number in range(80)}
    pairs = tuple(Pair(f"i{a}", f"i{b}", bool(s), 0) for a, b, s in zip(PAIRS.first, PAIRS.second, PAIRS.same, strict=True))
    found = listed((*pairs, Pair("i0", "lost", True, 0)), rows)
    assert found.left_out == 1
    assert len(set(found.fold.tolist())) == 10
    np.testing.assert_array_equal(found.same, PAIRS.same)
    assert verify(VECTORS, IDENTITIES, found).left_out == 1
    own = listed(tuple(Pair("i0", "i1", True, fold % 3) for fold in range(9)), rows)
    assert own.fold.tolist() == [0, 1, 2] * 3


def test_pairs_of_one_kind_only_are_refused():
    with pytest.raises(UserError, match="120 pairs of one identity and 0 of two"):
        same = np.flatnonzero(PAIRS.same)
        verify(VECTORS, IDENTITIES, Pairing(*(each[same] for each in (PAIRS.first, PAIRS.second, PAIRS.same, PAIRS.fold))))


def test_of_very_many_images_some_pairs_are_drawn(monkeypatch):
    monkeypatch.setattr(verification, "PAIRS", 500)
    some = every(IDENTITIES)
    assert (some.same.sum(), (~some.same).sum()) == (120, 500)
    identities = np.repeat(np.arange(1500), 3)
    many = every(identities)
    assert (many.same.sum(), (~many.same).sum()) == (4500, 500)
    np.testing.assert_array_equal(identities[many.first] == identities[many.second], many.same)
    assert (many.first != many.second).all()


def test_retrieval_has_intervals_over_identities():
    found = retrieve(VECTORS, IDENTITIES)
    assert (found.queries, found.alone) == (80, 0)
    share = found.figures["recall@1"]
    cosines = VECTORS @ VECTORS.T - 9 * np.eye(80)
    assert share.value == pytest.approx((IDENTITIES[cosines.argmax(1)] == IDENTITIES).mean())
    assert share.low < share.value < share.high
