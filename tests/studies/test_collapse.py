"""When a selection is alarming: onto few classes, no image of a class, less than the round before."""

import numpy as np
import pytest

from eyas.studies.collapse import alarms, effective


def found(*confident: int, images: int = 1000) -> dict:
    return {
        "images": images,
        "confident": sum(confident),
        "classes": {f"c{n}": {"confident": k} for n, k in enumerate(confident)},
    }


EVEN = np.full(4, 50)


@pytest.mark.parametrize(("counts", "expected"), [([5, 5, 5, 5], 4), ([7, 0, 0], 1), ([0, 0], 0), ([9, 9, 0, 0], 2)])
def test_effective_classes(counts, expected):
    assert effective(np.array(counts)) == pytest.approx(expected)


def test_effective_classes_of_uneven_ones_are_fewer():
    assert 1 < effective(np.array([90, 5, 5])) < 2


def test_an_even_yield_is_no_alarm():
    assert alarms(found(100, 90, 110, 100), EVEN) == []


def test_nearly_all_in_one_class():
    (sentence,) = alarms(found(970, 10, 10, 10), EVEN)
    assert sentence.startswith("what is confident in the pile spreads over 1.2 classes' worth, the labelled images over 4.0")


def test_as_uneven_as_the_labelled_images_is_no_alarm():
    assert alarms(found(970, 10, 10, 10), np.array([97, 1, 1, 1])) == []


def test_classes_that_give_nothing_are_named():
    (sentence,) = alarms(found(100, 0, 110, 90, 0, 80), np.full(6, 50))
    assert sentence == "no image of the pile is confident enough for the class c1, c4"


def test_a_falling_share():
    before = found(200, 200, 200, 200)
    assert alarms(found(170, 170, 170, 170), EVEN, before) == []
    (sentence,) = alarms(found(100, 100, 100, 100), EVEN, before)
    assert sentence.startswith("40.0% of the pile is usable and 80.0% was in the round before")


def test_nothing_at_all_is_told_elsewhere():
    assert alarms(found(0, 0, 0, 0), EVEN) == []
