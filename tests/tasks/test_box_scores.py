"""The figures are COCO's: held against pycocotools on the same answers, and against a second computation of our own."""

import contextlib
import io

import numpy as np
import pytest

from eyas.tasks.box_scores import _answers, _dataset, _table, best_score, box_draws, box_interval, box_precision

COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval


def scene(seed, images=30, classes=4, crowds=0.1, ties=True):
    """Things, and answers that are some of them a little off, some doubled, some made up."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        count = rng.integers(0, 6)
        corner, side = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))
        labels = rng.integers(0, classes - 1, (count, 1))  # the last class is nowhere
        boxes = np.concatenate([corner, corner + side], 1)
        truth.append(np.concatenate([boxes, labels, rng.random((count, 1)) < crowds], 1).astype(np.float32))
        near = np.repeat(boxes, 2, 0) + rng.normal(0, 0.02, (2 * count, 4))
        wrong = rng.uniform(0, 0.5, (3, 4)) + np.array([0, 0, 0.5, 0.5])
        guessed = np.concatenate([np.repeat(labels, 2, 0), rng.integers(0, classes, (3, 1))])
        scores = rng.uniform(0.05, 0.95, (2 * count + 3, 1))
        scores = scores.round(1) if ties else scores
        found.append(np.concatenate([np.concatenate([near, wrong]), guessed, scores], 1).astype(np.float32))
    return found, truth, classes


def pycocotools(found, truth, classes):
    known = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        known.dataset = _dataset(truth, classes)
        known.createIndex()
        judged = COCOeval(known, known.loadRes(_answers(found)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"][:, :, :, 0, -1]
    return judged.stats[:3], [
        values[values > -1].mean() if (values > -1).any() else None for values in precision.transpose(2, 0, 1)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_pycocotools(seed):
    found, truth, classes = scene(seed)
    own = box_precision(found, truth, classes)
    theirs, by_class = pycocotools(found, truth, classes)
    assert (own.mean, own.at_50, own.at_75) == pytest.approx(tuple(theirs), abs=1e-6)
    assert own.classes[:-1] == pytest.approx(by_class[:-1], abs=1e-6)
    assert own.classes[-1] is None and by_class[-1] is None
    assert 0.1 < own.mean < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_the_tables_that_images_are_drawn_from_give_the_same_mean(seed):
    found, truth, classes = scene(seed)
    drawn = box_draws(found, truth, classes, resamples=2)
    assert np.nanmean(drawn[0]) == pytest.approx(box_precision(found, truth, classes).mean, abs=1e-6)
    assert np.isnan(drawn[0]).tolist() == [each is None for each in box_precision(found, truth, classes).classes]


def test_drawing_an_image_twice_is_having_it_twice():
    found, truth, classes = scene(5, images=8, ties=False)
    weights = np.array([2, 1, 0, 3, 1, 0, 1, 2])
    again = np.repeat(np.arange(8), weights)
    drawn = box_precision([found[i] for i in again], [truth[i] for i in again], classes).mean
    tables = [_table(found, truth, number) for number in range(classes)]
    assert np.nanmean([table.curve(weights.astype(float)).mean() for table in tables]) == pytest.approx(drawn, abs=1e-6)


def test_answers_are_best_believed_where_f1_is_largest():
    """Two of three things are found by the three surest answers; what comes below adds more that is wrong than right."""
    there = [np.array([[0.1, 0.1, 0.4, 0.5, 0, 0]], np.float32)] * 3
    right, wrong = [0.1, 0.1, 0.4, 0.5, 0], [0.6, 0.6, 0.9, 0.9, 0]
    rows = [[[*right, 0.9], [*wrong, 0.7]], [[*right, 0.6], [*wrong, 0.2]], [[*wrong, 0.3], [*right, 0.1]]]
    found = [np.array(row, np.float32) for row in rows]
    assert best_score(found, there, 1) == pytest.approx(0.6)  # F1 is 2 * 2 / (3 + 3); in the end 2 * 3 / (6 + 3)
    assert best_score([np.array([[*wrong, 0.9]], np.float32)] * 3, there, 1) is None


def test_the_interval_holds_the_mean_and_narrows_with_more_images():
    few, many = scene(6, images=12), scene(6, images=60)
    widths = []
    for found, truth, classes in (few, many):
        low, high = box_interval(found, truth, classes, resamples=100)
        assert low < box_precision(found, truth, classes).mean < high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_perfect_answers_are_worth_1_and_none_0():
    box = np.array([[0.1, 0.1, 0.4, 0.5, 1, 0]], np.float32)
    sure = np.array([[0.1, 0.1, 0.4, 0.5, 1, 0.9]], np.float32)
    nothing = np.zeros((0, 6), np.float32)
    assert box_precision([sure, nothing], [box, nothing], 3).mean == pytest.approx(1)
    assert box_precision([nothing, nothing], [box, nothing], 3).classes == (None, 0.0, None)
    assert box_precision([sure], [nothing], 3).classes == (None, None, None)
    assert box_interval([nothing], [nothing], 3, resamples=3) == (0, 0)


def test_an_answer_to_a_crowd_counts_neither_for_nor_against():
    crowd = np.array([[0, 0, 1, 1, 0, 1], [0.7, 0.7, 0.9, 0.9, 0, 0]], np.float32)
    answers = np.array([[0.1, 0.1, 0.3, 0.3, 0, 0.9], [0.7, 0.7, 0.9, 0.9, 0, 0.8]], np.float32)
    assert box_precision([answers], [crowd], 1).mean == pytest.approx(1)
