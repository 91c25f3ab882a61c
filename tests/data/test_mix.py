import numpy as np
import pytest
import torch

from eyas.data.mix import mix, mix_targets, shares
from eyas.data.noise import draw
from eyas.recipe import Augment

SIDE = 20


def numbered(count: int) -> torch.Tensor:
    """Images that are all one value, ten times their number."""
    return (10 * torch.arange(count, dtype=torch.uint8))[:, None, None, None].repeat(1, SIDE, SIDE, 3)


def noise_of(**choice: float):
    return draw(Augment(**choice), "none", 20, np.random.default_rng(0))


def test_mixup_blends_an_image_with_the_one_before_it():
    noise = noise_of(mixup=1.0)
    images = numbered(20)
    found = mix(images.clone(), noise).float()
    share = torch.tensor(shares(noise, SIDE))
    values = 10.0 * torch.arange(20)
    expected = share * values + (1 - share) * values.roll(1)
    assert (found - expected[:, None, None, None]).abs().max() <= 0.501
    np.testing.assert_array_equal(shares(noise, SIDE), noise.kept)


def test_cutmix_pastes_a_box_of_the_one_before_and_the_share_is_what_is_left():
    noise = noise_of(cutmix=1.0)
    images = numbered(20)
    found = mix(images.clone(), noise)
    own = (found == images).float().mean((1, 2, 3))
    other = (found == images.roll(1, 0)).float().mean((1, 2, 3))
    np.testing.assert_allclose(own + other, 1, atol=1e-6)
    np.testing.assert_allclose(shares(noise, SIDE), own, atol=1e-6)
    assert np.ptp(own.numpy()) > 0.5


def test_targets_are_mixed_in_the_same_shares_and_stay_probabilities():
    targets = np.random.default_rng(0).dirichlet(np.ones(4), 20).astype(np.float32)
    for choice in ({"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}):
        share = shares(noise_of(**choice), SIDE)
        found = mix_targets(targets, share)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
        assert found.dtype == np.float32
        expected = [share[row] * targets[row] + (1 - share[row]) * targets[row - 1] for row in range(20)]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_turned_off_nothing_is_mixed():
    noise = noise_of()
    images = numbered(20)
    assert torch.equal(mix(images.clone(), noise), images)
    targets = np.eye(20, dtype=np.float32)
    np.testing.assert_array_equal(mix_targets(targets, shares(noise, SIDE)), targets)


def test_an_unknown_target_stays_with_its_image_unless_that_is_mixed():
    targets = np.eye(20, dtype=np.float32)
    targets[3] = np.nan
    found = mix_targets(targets, shares(noise_of(), SIDE))
    np.testing.assert_array_equal(found, targets)
    mixed = mix_targets(targets, np.full(20, 0.7))
    assert np.flatnonzero(np.isnan(mixed).all(1)).tolist() == [3, 4]


@pytest.mark.parametrize("choice", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_an_image_alone_is_mixed_with_itself(choice):
    noise = noise_of(**choice).rows(0, 1)
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    assert torch.equal(mix(images.clone(), noise), images)
