import json
from collections import Counter

import numpy as np
import pytest

from eyas.recipe import SelfTraining
from eyas.studies.select import calibrate, select, temperature

CLASSES = ("a", "b", "c")
KEEP_ALL = SelfTraining(threshold=0.0, balance=False)


def answer(top: int, confidence: float) -> np.ndarray:
    """An answer over three classes with the rest shared."""
    row = np.full(3, (1 - confidence) / 2, np.float32)
    row[top] = confidence
    return row


def answers(*given: tuple[int, float]) -> np.ndarray:
    return np.stack([answer(top, confidence) for top, confidence in given])


class TestThreshold:
    given = answers((0, 0.9), (1, 0.5), (2, 0.7), (0, 0.61), (1, 0.6))

    @pytest.mark.parametrize(("threshold", "kept"), [(0.65, [0, 2]), (0.6, [0, 2, 3, 4]), (0.95, []), (0.0, [0, 1, 2, 3, 4])])
    def test_keeps_what_is_as_confident(self, threshold, kept):
        found = select(self.given, CLASSES, SelfTraining(threshold=threshold, balance=False))
        assert found.rows.tolist() == kept
        np.testing.assert_array_equal(found.targets, self.given[kept])

    @pytest.mark.parametrize(("classes", "used"), [(2, 0.6), (3, 0.4), (10, 0.3), (1000, 0.3), (1, 1.0)])
    def test_is_above_chance_for_any_number_of_classes(self, classes, used):
        """The paper's 0.3 would keep every answer of two classes, the greatest of which is never below 0.5."""
        names = tuple(str(number) for number in range(classes))
        found = select(np.full((4, classes), 1 / classes, np.float32), names, SelfTraining(threshold=0.3))
        assert found.findings["threshold"] == pytest.approx(used)

    def test_nothing_confident(self):
        found = select(self.given, CLASSES, SelfTraining(threshold=1.0))
        assert found.rows.shape == (0,)
        assert found.targets.shape == (0, 3)
        assert (found.findings["rows"], found.findings["confident"], found.findings["distinct"]) == (0, 0, 0)
        assert sum(found.findings["dropped"]) == 5

    def test_an_empty_pile(self):
        found = select(np.zeros((0, 3), np.float32), CLASSES, SelfTraining())
        assert (len(found.rows), found.findings["images"], found.findings["rows"]) == (0, 0, 0)


class TestBalance:
    # Confident: 6 of class a, 3 of b, 1 of c: the median is 3.
    given = answers(*[(0, 0.9 + number / 100) for number in range(6)], (1, 0.8), (1, 0.9), (1, 0.7), (2, 0.99), (2, 0.35))

    def test_every_class_has_as_many_as_the_median_class(self):
        found = select(self.given, CLASSES, SelfTraining())
        assert found.targets.argmax(1).tolist().count(0) == 3
        assert Counter(found.rows.tolist()) == {3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 3}
        np.testing.assert_array_equal(found.targets, self.given[found.rows])
        assert {name: each["rows"] for name, each in found.findings["classes"].items()} == {"a": 3, "b": 3, "c": 3}
        assert {name: each["confident"] for name, each in found.findings["classes"].items()} == {"a": 6, "b": 3, "c": 1}

    def test_repeats_the_most_confident_first(self):
        given = answers((0, 0.7), (0, 0.9), *[(1, 0.8)] * 4)  # the median of 2 and 4 is 3
        assert Counter(select(given, CLASSES, SelfTraining()).rows.tolist()) == {1: 2, 0: 1, 2: 1, 3: 1, 4: 1}

    def test_a_class_that_nothing_was_taken_for_stays_empty_and_counts_for_nothing(self):
        given = answers(*[(0, 0.9)] * 4, *[(1, 0.9)] * 2)
        found = select(given, CLASSES, SelfTraining())
        assert found.findings["classes"]["c"] == {"confident": 0, "rows": 0}
        assert found.findings["classes"]["a"]["rows"] == found.findings["classes"]["b"]["rows"] == 3

    def test_unasked_every_confident_row_is_there_once(self):
        assert select(self.given, CLASSES, SelfTraining(balance=False)).rows.tolist() == list(range(10))

    def test_does_not_depend_on_the_order_of_the_pile(self):
        rng = np.random.default_rng(0)
        given = rng.dirichlet([0.3] * 3, 200).astype(np.float32)
        order = rng.permutation(200)
        straight, shuffled = select(given, CLASSES, SelfTraining()), select(given[order], CLASSES, SelfTraining())
        assert Counter(order[shuffled.rows].tolist()) == Counter(straight.rows.tolist())


class TestLabels:
    def test_soft_are_the_teachers_probabilities(self):
        given = answers((0, 0.9), (2, 0.8))
        np.testing.assert_array_equal(select(given, CLASSES, KEEP_ALL).targets, given)

    def test_hard_are_the_likeliest_class(self):
        found = select(answers((0, 0.9), (2, 0.8)), CLASSES, SelfTraining(labels="hard"))
        assert found.targets.tolist() == [[1, 0, 0], [0, 0, 1]]
        assert found.targets.dtype == np.float32


class TestFindings:
    def test_the_histogram_holds_every_image_once(self):
        given = np.random.default_rng(0).dirichlet([0.3] * 3, 500).astype(np.float32)
        given[0] = [1, 0, 0]
        facts = select(given, CLASSES, SelfTraining()).findings
        assert len(facts["edges"]) == len(facts["kept"]) + 1 == len(facts["dropped"]) + 1
        assert sum(facts["kept"]) == facts["distinct"]
        assert sum(facts["kept"]) + sum(facts["dropped"]) == facts["images"] == 500
        below = [edge < facts["threshold"] - 0.05 for edge in facts["edges"][:-1]]
        assert sum(count for count, low in zip(facts["kept"], below, strict=True) if low) == 0
        assert facts["rows"] == sum(each["rows"] for each in facts["classes"].values())

    def test_are_plain_json(self):
        facts = select(answers((0, 0.9), (1, 0.7)), CLASSES, SelfTraining()).findings
        assert json.loads(json.dumps(facts)) == facts


class TestTemperature:
    @pytest.mark.parametrize("planted", [0.5, 1.0, 2.0, 4.0])
    def test_a_planted_temperature_is_found(self, planted):
        """Truths are drawn from the softened answers, so the answers themselves are `planted` times too sharp."""
        rng = np.random.default_rng(0)
        logits = rng.normal(0, 2 * planted, (6000, 3))
        given = softmax(logits).astype(np.float32)
        honest = softmax(logits / planted)
        truth = (honest.cumsum(1) < rng.random((6000, 1))).sum(1).clip(max=2).astype(np.int64)
        assert temperature(given, truth) == pytest.approx(planted, rel=0.08)

    @pytest.mark.parametrize(("truth", "expected"), [([0, 1, 2], 0.25), ([1, 2, 0], 8.0)])
    def test_stays_in_its_range(self, truth, expected):
        given = answers((0, 0.9), (1, 0.9), (2, 0.9))  # always right, or always wrong
        assert temperature(given, np.array(truth)) == pytest.approx(expected)

    def test_answers_without_any_doubt_can_be_calibrated(self):
        given = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
        found = temperature(given, np.array([0, 1, 2, 1]))
        assert found == pytest.approx(8.0)  # a wrong answer that was quite certain
        assert np.isfinite(calibrate(given, found)).all()


class TestCalibrate:
    given = np.random.default_rng(0).dirichlet([0.5] * 3, 100).astype(np.float32)

    def test_at_1_it_changes_nothing(self):
        np.testing.assert_allclose(calibrate(self.given, 1.0), self.given, atol=1e-6)

    @pytest.mark.parametrize("at", [0.25, 0.7, 3.0, 8.0])
    def test_keeps_the_order_and_sums_to_one(self, at):
        found = calibrate(self.given, at)
        np.testing.assert_array_equal(found.argmax(1), self.given.argmax(1))
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        assert found.dtype == np.float32

    def test_above_1_is_less_sure_and_below_more(self):
        sharp, soft = calibrate(self.given, 0.5).max(1), calibrate(self.given, 2.0).max(1)
        assert (sharp >= self.given.max(1) - 1e-6).all()
        assert (soft <= self.given.max(1) + 1e-6).all()

    def test_is_a_power_of_the_probabilities(self):
        powers = self.given.astype(np.float64) ** (1 / 3)
        np.testing.assert_allclose(calibrate(self.given, 3.0), powers / powers.sum(1, keepdims=True), rtol=1e-3, atol=2e-4)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
