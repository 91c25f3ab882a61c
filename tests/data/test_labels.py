import sys

import numpy as np
import pytest

from eyas.data.labels import label_issues
from eyas.errors import UserError


def believed(truth, labels, share, seed=0):
    """Out-of-fold answers of a model that is about `share` sure of the truth, whatever the labels say."""
    rng = np.random.default_rng(seed)
    classes = max(labels) + 1
    sure = np.clip(rng.normal(share, 0.03, (len(truth), 1)), 0.4, 0.97)
    rows = np.where(np.arange(classes) == np.asarray(truth)[:, None], sure, (1 - sure) / (classes - 1))
    return rows.astype(np.float32)


def test_swapped_labels_are_found_with_what_they_should_be():
    truth = np.arange(300) % 3
    labels = truth.copy()
    wrong = [7, 80, 200]
    labels[wrong] = (labels[wrong] + 1) % 3
    found = label_issues(believed(truth, labels, 0.85), labels)
    assert {issue.row for issue in found} == set(wrong)
    assert all(issue.suggested == truth[issue.row] and issue.label == labels[issue.row] for issue in found)
    assert all(issue.of_suggested > 0.7 > 0.2 > issue.of_label for issue in found)


def test_the_most_suspicious_come_first():
    truth = np.arange(200) % 2
    labels = truth.copy()
    labels[:8] = 1 - labels[:8]
    found = [issue.of_label for issue in label_issues(believed(truth, labels, 0.8), labels)]
    assert found == sorted(found)
    assert len(found) >= 6


def test_a_model_that_is_unsure_of_right_labels_accuses_none():
    truth = np.arange(300) % 3
    assert label_issues(believed(truth, truth, 0.5), truth) == []


def test_no_images_no_issues():
    assert label_issues(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == []


def test_without_cleanlab(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UserError, match=r"pip install 'eyas\[audit\]'"):
        label_issues(np.full((2, 2), 0.5, np.float32), np.array([0, 1]))
