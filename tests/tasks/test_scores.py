"""Figures of rankings against scikit-learn's, and against what the definitions say counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from eyas.tasks.scores import accepted, auc, average_precision

RNG = np.random.default_rng(0)
TRUTH = RNG.random(200) < 0.3
SCORES = {
    "all different": RNG.normal(size=200) + TRUTH,
    "with equal ones": np.round(RNG.normal(size=200) + TRUTH, 1),
    "all equal": np.zeros(200),
    "as float32": (RNG.normal(size=200) + TRUTH).astype(np.float32),
}
WEIGHTS = RNG.multinomial(200, np.full(200, 1 / 200), 5).astype(np.float64)


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_equal_to_scikit_learn_without_and_with_weights(scores):
    assert average_precision(scores, TRUTH) == pytest.approx([average_precision_score(TRUTH, scores)])
    assert auc(scores, TRUTH) == pytest.approx([roc_auc_score(TRUTH, scores)])
    expected = [average_precision_score(TRUTH, scores, sample_weight=row) for row in WEIGHTS]
    assert average_precision(scores, TRUTH, WEIGHTS) == pytest.approx(expected)
    expected = [roc_auc_score(TRUTH, scores, sample_weight=row) for row in WEIGHTS]
    assert auc(scores, TRUTH, WEIGHTS) == pytest.approx(expected)


@pytest.mark.parametrize("truth", [np.zeros(5, bool), np.ones(5, bool)])
def test_what_is_the_same_for_all_cannot_be_ranked(truth):
    assert np.isnan(average_precision(np.arange(5.0), truth)).all()
    assert np.isnan(auc(np.arange(5.0), truth)).all()


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 1.0])
def test_accepted_counted_threshold_by_threshold(scores, share):
    best, where = 0.0, np.inf
    for threshold in np.unique(scores)[::-1]:  # from the strictest
        if (scores[~TRUTH] >= threshold).mean() > share + 1e-9:
            break
        best, where = (scores[TRUTH] >= threshold).mean(), threshold
    found, threshold = accepted(scores, TRUTH, share)
    assert (found[0], threshold[0]) == (pytest.approx(best), where)


def test_accepted_with_weights_is_that_of_images_repeated():
    scores = SCORES["with equal ones"]
    for row in WEIGHTS:
        again = np.repeat(np.arange(200), row.astype(int))
        shares, thresholds = accepted(scores, TRUTH, 0.1, row[None])
        assert (shares[0], thresholds[0]) == pytest.approx([each[0] for each in accepted(scores[again], TRUTH[again], 0.1)])


def test_as_many_false_ones_as_the_share_says_are_accepted():
    scores = np.arange(3010.0)
    truth = scores >= 3000
    truth[:3000] = False
    scores[truth] = 2996.5  # above all but three of the others
    assert accepted(scores, truth, 0.001)[0][0] == 1  # 3 of 3,000
    assert accepted(scores, truth, 0.0009)[0][0] == 0
