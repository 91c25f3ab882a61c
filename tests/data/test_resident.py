"""Images on a device, cropped there: the crops of the processor within a level. The processor is the device here."""

import numpy as np
import pytest
import torch

from eyas.data import resident
from eyas.data.augment import crops
from eyas.data.noise import draw
from eyas.data.resident import Resident, hold
from eyas.recipe import Augment
from tests.fakes import store_of
from tests.images import picture

SIZES = [(20, 24, 3), (31, 17, 1), (8, 40, 3), (64, 64, 3), (1, 1, 1), (5, 90, 3)]


@pytest.fixture(autouse=True)
def roomy(monkeypatch):
    monkeypatch.setattr(resident, "_memory", lambda _: 2**30)


def held_of(pictures: list[np.ndarray], rows: list[int]) -> Resident:
    found = hold(store_of(pictures), np.array(rows), "cpu")
    assert found is not None
    return found


@pytest.mark.parametrize("side", [7, 16, 50])
@pytest.mark.parametrize("share", [0.08, 0.6, 1.0])
def test_crops_are_the_processors_within_a_level(side, share):
    pictures = [picture(seed, *size) for seed, size in enumerate(SIZES)]
    rows = np.arange(80) % len(pictures)
    noise = draw(Augment(crop=share), "none", len(rows), np.random.default_rng(0))
    ours = held_of(pictures, list(range(len(pictures)))).crops(rows, noise.crop, side)
    theirs = crops([pictures[row] for row in rows], noise, side)
    assert ours.shape == theirs.shape
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= 2  # the processor rounds between the two axes
    assert apart.float().mean() < 0.3


def test_grey_images_alone_have_one_channel():
    held = held_of([picture(1, 20, 24, 1), picture(2, 20, 24, 3)], [0, 1])
    box = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert held.crops(np.array([0]), box, 8).shape == (1, 8, 8, 1)
    both = held.crops(np.array([0, 1]), np.repeat(box, 2, axis=0), 8)
    assert both.shape == (2, 8, 8, 3)
    assert torch.equal(both[0, :, :, 0], both[0, :, :, 2])


def test_the_rows_are_those_of_the_examples_however_they_were_sent(monkeypatch):
    monkeypatch.setattr(resident, "SENT", 700)
    pictures = [picture(seed, 9 + seed, 11, 3) for seed in range(5)]
    held = held_of(pictures, [4, 0, 2])
    assert len(held.pixels) == sum(pictures[row].size for row in (4, 0, 2))
    for row, position in enumerate((4, 0, 2)):
        offset, *shape = held.places[row]
        pixels = held.pixels[offset : offset + np.prod(shape)].numpy().reshape(shape)
        assert (pixels == pictures[position]).all()


def test_what_is_too_large_stays_where_it_is(monkeypatch):
    pictures = [picture(1, 20, 24, 3)]
    monkeypatch.setattr(resident, "_memory", lambda _: 4 * pictures[0].size)
    assert hold(store_of(pictures), np.array([0]), "cpu") is not None
    monkeypatch.setattr(resident, "_memory", lambda _: 4 * pictures[0].size - 1)
    assert hold(store_of(pictures), np.array([0]), "cpu") is None
