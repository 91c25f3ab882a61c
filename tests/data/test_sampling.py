import numpy as np
import pytest

from eyas.data.sampling import Groups, balanced, epoch, scarcity
from eyas.errors import UserError

TRUTH = np.repeat([0, 1, 2], [80, 15, 5])
TARGETS = np.eye(3, dtype=np.float32)[TRUTH]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_power_0_is_every_image_once_and_power_1_every_class_as_often():
    np.testing.assert_allclose(balanced(TARGETS, 0.0), 1)
    weights = balanced(TARGETS, 1.0)
    assert [weights[k == TRUTH].sum() for k in range(3)] == pytest.approx([100 / 3] * 3)


def test_power_one_half_goes_by_square_roots():
    weights = balanced(TARGETS, 0.5)
    sums = np.array([weights[k == TRUTH].sum() for k in range(3)])
    np.testing.assert_allclose(sums / sums[0], np.sqrt([80, 15, 5]) / np.sqrt(80))


def test_scarcity_is_images_by_classes_times_count():
    np.testing.assert_allclose(scarcity(TARGETS), 100 / (3 * np.array([80, 15, 5])))
    assert scarcity(np.eye(4, dtype=np.float32)[TRUTH])[3] == 0


def test_soft_targets_count_by_their_shares():
    soft = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(scarcity(soft), 2 / (2 * np.array([1.5, 0.5])))
    np.testing.assert_allclose(balanced(soft, 1.0).mean(), 1)


class TestEpoch:
    def test_without_weights_every_image_comes_once(self):
        order = epoch(None, 50, generator())
        assert sorted(order) == list(range(50))
        assert order.tolist() != list(range(50))

    def test_equal_weights_are_no_weights(self):
        assert sorted(epoch(np.ones(50), 50, generator())) == list(range(50))

    def test_an_image_comes_as_often_as_its_weight_says_and_never_a_whole_time_off(self):
        weights = balanced(TARGETS, 1.0)
        draws = np.array([np.bincount(epoch(weights, 100, generator(seed)), minlength=100) for seed in range(400)])
        assert (draws.sum(1) == 100).all()
        assert (np.abs(draws - weights) < 1).all()
        np.testing.assert_allclose(draws.mean(0), weights, atol=0.12)
        classes = np.array([draws[:, k == TRUTH].sum(1) for k in range(3)])
        np.testing.assert_allclose(classes.mean(1), 100 / 3, rtol=0.02)

    def test_any_weights_give_an_epoch_of_that_length(self):
        rng = generator(1)
        for seed in range(200):
            images = int(rng.integers(1, 60))
            weights = rng.exponential(size=images)
            assert len(epoch(weights / weights.mean(), images, generator(seed))) == images


class TestGroups:
    IDENTITIES = np.array([7, 7, 7, 7, 7, 3, 3, 9, 4, 4, 4])  # 9 has one image

    def test_a_batch_has_k_images_of_each_of_p_identities(self):
        groups = Groups.of(self.IDENTITIES, 2)
        for seed in range(20):
            rows = groups.draw(6, generator(seed))
            drawn = self.IDENTITIES[rows].reshape(3, 2)
            assert (drawn[:, 0] == drawn[:, 1]).all()
            assert sorted(drawn[:, 0]) == [3, 4, 7]
            assert len(set(rows)) == 6

    def test_every_image_of_an_identity_is_drawn_before_one_is_repeated(self):
        groups = Groups.of(self.IDENTITIES, 4)
        rows = np.array(groups.draw(12, generator())).reshape(3, 4)
        for four in rows:
            there = int((self.IDENTITIES[four[0]] == self.IDENTITIES).sum())
            assert len(set(four.tolist())) == min(4, there)

    def test_identities_come_equally_often(self):
        groups = Groups.of(self.IDENTITIES, 2)
        drawn = np.concatenate([self.IDENTITIES[groups.draw(4, generator(seed))] for seed in range(600)])
        assert [(drawn == name).mean() for name in (3, 4, 7)] == pytest.approx([1 / 3] * 3, abs=0.05)
        assert 9 not in drawn

    def test_more_places_than_identities_are_filled_anyway(self):
        assert len(Groups.of(self.IDENTITIES, 2).draw(14, generator())) == 14

    def test_pairs_of_one_identity_alone_teach_nothing(self):
        with pytest.raises(UserError, match="1 of 3 identities have two images or more"):
            Groups.of(np.array([1, 1, 2, 3]), 2)
