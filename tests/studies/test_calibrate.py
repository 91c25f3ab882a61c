"""What confidence is worth: temperatures, reliability, and the threshold that validation images ask for."""

import numpy as np
import pytest

from eyas.studies.calibrate import calibrate, reliability, temperature, threshold_for
from tests.studies.piles import answers


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


class TestReliability:
    def test_holds_every_image_once(self):
        given = np.random.default_rng(0).dirichlet([0.3] * 3, 500).astype(np.float32)
        given[0] = [1, 0, 0]
        found = reliability(given, np.zeros(500, np.int64))
        assert sum(found["images"]) == 500
        assert found["confidence"][0] is None  # of three probabilities one is a third at least
        filled = [(low / 10, mean) for low, mean in enumerate(found["confidence"]) if mean is not None]
        assert all(low - 1e-6 <= mean <= low + 0.1 + 1e-6 for low, mean in filled)

    def test_the_gap_is_what_confidence_promises_beyond_accuracy(self):
        given = answers(*[(0, 0.9)] * 10)
        assert reliability(given, np.array([0] * 9 + [1]))["gap"] == pytest.approx(0, abs=1e-6)
        assert reliability(given, np.array([0] * 5 + [1] * 5))["gap"] == pytest.approx(0.4, abs=1e-6)

    def test_calibration_closes_it(self):
        rng = np.random.default_rng(1)
        honest = rng.dirichlet([1] * 3, 4000)
        truth = (honest.cumsum(1) < rng.random((4000, 1))).sum(1).clip(max=2).astype(np.int64)
        sharp = (honest**3 / (honest**3).sum(1, keepdims=True)).astype(np.float32)
        before = reliability(sharp, truth)["gap"]
        after = reliability(calibrate(sharp, temperature(sharp, truth)), truth)["gap"]
        assert before > 0.15
        assert after < 0.03


class TestThreshold:
    confidence = np.linspace(0.4, 0.99, 60).astype(np.float32)
    right = np.arange(60) >= 20  # wrong below, right above

    def test_is_the_smallest_that_keeps_the_promise(self):
        found = threshold_for(0.8, self.confidence, self.right)
        accuracy = [self.right[self.confidence >= each].mean() for each in self.confidence]
        assert found == self.confidence[next(index for index, each in enumerate(accuracy) if each >= 0.8)]
        assert self.right[self.confidence >= found].mean() >= 0.8

    def test_takes_all_where_all_are_good_enough(self):
        assert threshold_for(0.6, self.confidence, self.right) == self.confidence[0]

    def test_none_where_nothing_is(self):
        assert threshold_for(0.9, self.confidence, np.zeros(60, bool)) is None

    def test_a_handful_that_happens_to_be_right_is_not_enough(self):
        right = np.arange(60) >= 50  # ten images, all right; of twenty a half
        assert threshold_for(0.9, self.confidence, right) is None

    def test_of_few_images_all_are_needed(self):
        confidence = np.array([0.9, 0.8, 0.7], np.float32)
        assert threshold_for(1.0, confidence, np.array([True, True, True])) == pytest.approx(0.7)
        assert threshold_for(1.0, confidence, np.array([True, True, False])) is None

    def test_equal_confidences_are_taken_together(self):
        confidence = np.full(40, 0.7, np.float32)
        assert threshold_for(0.9, confidence, np.arange(40) < 30) is None
        assert threshold_for(0.7, confidence, np.arange(40) < 30) == pytest.approx(0.7)

    def test_no_images(self):
        assert threshold_for(0.9, np.zeros(0, np.float32), np.zeros(0, bool)) is None


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
