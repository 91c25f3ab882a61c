from dataclasses import replace

import numpy as np

from eyas.data.augment import prepare
from eyas.recipe import Augment
from eyas.studies.report_augment import gallery, of_classes
from tests.fakes import examples_of
from tests.images import picture

IMAGES = [picture(seed, 30, 30, 1 if seed % 2 else 3) for seed in range(9)]
NAMES = of_classes(tuple("abcdefghi"))


def test_each_row_is_one_picture_as_it_is_and_as_training_sees_it():
    found = gallery(examples_of(IMAGES), NAMES, Augment(), "both", 24, seed=1)
    assert len(found.images) == 4 * 8
    for row, number in enumerate((0, 3, 5, 8)):
        whole, *views = found.images[8 * row : 8 * row + 8]
        np.testing.assert_array_equal(whole[0], prepare(IMAGES[number], 24))
        assert whole[1] == f"{'abcdefghi'[number]}, as it is"
        assert {caption for _, caption in views} == {"abcdefghi"[number]}
        assert {view.shape for view, _ in views} == {(24, 24, 3)}
        assert len({view.tobytes() for view, _ in views}) == 7


def test_without_noise_all_views_of_a_row_are_alike():
    found = gallery(examples_of(IMAGES), NAMES, Augment(operations=0, crop=1.0), "none", 30, seed=0)
    for row in range(4):
        assert len({view.tobytes() for view, _ in found.images[8 * row + 1 : 8 * row + 8]}) == 1


def test_fewer_pictures_than_rows():
    one = examples_of(IMAGES)
    one = replace(one, positions=one.positions[:1], targets=one.targets[:1])
    assert len(gallery(one, NAMES, Augment(mixup=1.0), "none", 24, seed=0).images) == 8
