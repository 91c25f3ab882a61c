import numpy as np
import pytest

from eyas.studies.proof import accuracy, accuracy_seeds, compare, compare_seeds


def answers(right: int, wrong: int) -> np.ndarray:
    return np.array([True] * right + [False] * wrong)


class TestAccuracy:
    @pytest.mark.parametrize(
        ("right", "images", "low", "high"),
        [  # Newcombe 1998, Table I, method 3 (Wilson's score interval without continuity correction)
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_interval_as_published(self, right, images, low, high):
        found = accuracy(answers(right, images - right))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert (found.value, found.images) == (right / images, images)
        mirrored = accuracy(answers(images - right, right))
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=5e-5)

    @pytest.mark.parametrize(("right", "wrong"), [(1, 0), (0, 1), (500, 0), (0, 500), (3, 2), (7, 0), (10, 0), (0, 7)])
    def test_interval_holds_the_value_and_stays_a_share(self, right, wrong):
        found = accuracy(answers(right, wrong))
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 0

    def test_more_images_say_it_more_exactly(self):
        few, many = accuracy(answers(8, 2)), accuracy(answers(800, 200))
        assert few.low < many.low < 0.8 < many.high < few.high

    def test_it_holds_the_true_accuracy_19_times_of_20(self):
        rng = np.random.default_rng(0)
        drawn = [accuracy(rng.random(60) < 0.9) for _ in range(2000)]
        assert np.mean([found.low <= 0.9 <= found.high for found in drawn]) == pytest.approx(0.95, abs=0.02)

    def test_reads_as_a_sentence_has_it(self):
        assert str(accuracy(answers(81, 19))) == "81.0 % (72.2 to 87.5)"


class TestCompare:
    def test_identical_answers(self):
        found = compare(answers(70, 30), answers(70, 30))
        assert (found.difference, found.low, found.high, found.share_better, found.images) == (0, 0, 0, 0.5, 100)

    def test_a_clear_winner(self):
        found = compare(answers(95, 5), answers(70, 30))
        assert found.difference == pytest.approx(25)
        assert 15 < found.low < 25 < found.high < 35
        assert found.share_better > 0.9999

    def test_as_far_ahead_as_the_other_is_behind(self):
        rng = np.random.default_rng(1)
        first, second = rng.random(300) < 0.84, rng.random(300) < 0.8
        one, other = compare(first, second), compare(second, first)
        assert one.difference == -other.difference
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.5)
        assert one.share_better == pytest.approx(1 - other.share_better, abs=0.02)

    def test_agrees_with_the_normal_approximation(self):
        """40 wins and 20 losses in 400: 5 points, standard error sqrt((60/400 - 0.05^2) / 400) = 1.92 points."""
        first, second = np.repeat([True, False, True], [40, 20, 340]), np.repeat([False, True, True], [40, 20, 340])
        found = compare(first, second)
        assert found.difference == pytest.approx(5)
        assert (found.low, found.high) == pytest.approx((5 - 1.96 * 1.92, 5 + 1.96 * 1.92), abs=0.3)
        assert found.share_better == pytest.approx(0.9954, abs=0.003)

    def test_agrees_with_drawing_the_images_themselves(self):
        rng = np.random.default_rng(2)
        first, second = rng.random(80) < 0.8, rng.random(80) < 0.75
        drawn = rng.integers(0, 80, (10_000, 80))
        differences = 100 * (first[drawn].mean(1) - second[drawn].mean(1))
        found = compare(first, second)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])), abs=1.3)
        assert found.share_better == pytest.approx(((differences > 0) + 0.5 * (differences == 0)).mean(), abs=0.02)

    def test_pairing_matters(self):
        """The same two accuracies, right on the same images or on others."""
        nested = compare(answers(60, 40), answers(50, 50))
        apart = compare(answers(60, 40), answers(50, 50)[::-1].copy())
        assert nested.difference == apart.difference == pytest.approx(10)
        assert nested.high - nested.low < 0.6 * (apart.high - apart.low)

    def test_chance_seldom_passes_for_a_gain(self):
        """Two models of equal skill: at a share of 0.95 one comparison in twenty is taken for a gain."""
        rng = np.random.default_rng(3)
        passed = [compare(rng.random(200) < 0.8, rng.random(200) < 0.8, resamples=500).share_better >= 0.95 for _ in range(600)]
        assert np.mean(passed) == pytest.approx(0.05, abs=0.025)

    def test_the_same_seed_is_the_same_verdict(self):
        first, second = answers(80, 20), answers(75, 25)
        assert compare(first, second, seed=4) == compare(first, second, seed=4)


class TestSeeds:
    """Several trainings of each."""

    def test_equal_trainings_are_as_one(self):
        rng = np.random.default_rng(3)
        first, second = rng.random(200) < 0.85, rng.random(200) < 0.8
        one, three = compare(first, second), compare_seeds(np.stack([first] * 3), np.stack([second] * 3))
        assert three.difference == one.difference
        assert (three.low, three.high, three.share_better) == pytest.approx((one.low, one.high, one.share_better), abs=0.7)

    def test_trainings_that_differ_widen_the_interval(self):
        """Two of three trainings gain ten points each, one loses as much: nothing is proven, whatever a single one says."""
        better, worse = answers(90, 10), answers(80, 20)
        first, second = np.stack([better, better, worse]), np.stack([worse, worse, better])
        found = compare_seeds(first, second)
        assert found.difference == pytest.approx(10 / 3)
        assert found.low < -3 < 8 < found.high
        assert 0.5 < found.share_better < 0.95
        assert compare(better, worse).share_better > 0.99

    def test_the_mean_accuracy_lies_in_its_interval(self):
        found = accuracy_seeds(np.stack([answers(90, 10), answers(80, 20)]))
        assert found.value == pytest.approx(0.85)
        assert found.low < 0.80 < 0.90 < found.high
        assert found.images == 100
