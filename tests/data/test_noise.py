import numpy as np
import pytest

from eyas.data.noise import CODE, PAPER, Noise, draw
from eyas.recipe import Augment


def drawn(choice: Augment, flips: str = "both", count: int = 600, seed: int = 0) -> Noise:
    return draw(choice, flips, count, np.random.default_rng(seed))


def test_an_image_has_its_noise_however_many_follow_it():
    few, many = drawn(Augment(erase=0.5), count=3), drawn(Augment(erase=0.5), count=30)
    for name in Noise.__slots__:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:3])
    np.testing.assert_array_equal(many.rows(4, 6).crop, many.crop[4:6])
    assert len(many.rows(4, 6)) == 2


@pytest.mark.parametrize(("chosen", "names"), [("paper", PAPER), ("code", CODE)])
def test_so_many_operations_are_drawn_from_all(chosen, names):
    noise = drawn(Augment(operations=3, operation_set=chosen), count=2000)
    counts = np.bincount(noise.operations.ravel(), minlength=len(names))
    assert noise.operations.shape == (2000, 3)
    assert counts / 6000 == pytest.approx(np.full(len(names), 1 / len(names)), abs=0.015)
    assert set(noise.signs.ravel()) == {-1.0, 1.0}
    assert noise.signs.mean() == pytest.approx(0, abs=0.05)


def test_what_is_turned_off_does_nothing():
    noise = drawn(Augment(operations=0, crop=1.0), "none")
    assert noise.operations.shape == (600, 0)
    np.testing.assert_allclose(noise.crop, np.tile([0.0, 0.0, 1.0, 1.0], (600, 1)))
    assert not noise.mirrored.any()
    assert not noise.erased.any()
    assert not noise.pasted.any()
    assert (noise.kept == 1).all()


def test_boxes_are_inside():
    noise = drawn(Augment(crop=0.05, erase=1.0, cutmix=1.0))
    for boxes in (noise.crop, noise.erased, noise.pasted):
        assert boxes.min() >= 0
        assert boxes.max() <= 1 + 1e-12
        assert (boxes[:, 2:] >= boxes[:, :2]).all()


def test_where_both_mixtures_are_on_each_image_has_one():
    noise = drawn(Augment(mixup=0.8, cutmix=1.0))
    cut = noise.pasted.any(1)
    assert cut.mean() == pytest.approx(0.5, abs=0.08)
    assert (noise.kept[cut] == 1).all()
    assert (noise.kept[~cut] < 1).all()


def test_shares_of_mixup_are_of_the_beta_distribution():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1))."""
    kept = drawn(Augment(mixup=0.4), count=4000).kept
    assert kept.mean() == pytest.approx(0.5, abs=0.02)
    assert kept.var() == pytest.approx(1 / (4 * 1.8), rel=0.08)
