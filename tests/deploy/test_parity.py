import numpy as np
import pytest

from eyas.deploy.parity import CONTRACTS, Classes, Contract, Parity, breaches, check
from eyas.errors import ContractError, UserError


def pictures(count):
    """One-pixel images that carry their own number."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(3, axis=3)


def says(answers, sure=0.9):
    """A predictor of two classes that answers image i with answers[i]."""

    def predict(images):
        right = np.asarray(answers)[images[:, 0, 0, 0]]
        return np.where(np.arange(2) == right[:, None], sure, 1 - sure).astype(np.float32)

    return predict


def parity_of(images, lost, won=0):
    """The parity of two predictors that differ in so many answers; the first is right on all but the won ones."""
    differing = lost + won
    return Parity(images, 1 - differing / images, 0.5, 0.1, 1 - won / images, 1 - lost / images, lost, won)


def test_figures_are_what_they_say():
    labels = np.array([0, 0, 1, 1, 1])
    parity = check(says([0, 0, 1, 1, 0], sure=0.9), says([0, 1, 1, 1, 1], sure=0.8), pictures(5), Classes(labels), batch=2)
    assert parity.images == 5
    assert parity.agreement == pytest.approx(3 / 5)
    assert parity.largest_gap == pytest.approx(0.7)
    assert parity.mean_gap == pytest.approx((3 * 0.1 + 2 * 0.7) / 5)
    assert (parity.reference, parity.artifact) == (4 / 5, 4 / 5)
    assert (parity.lost, parity.won) == (1, 1)


def test_without_labels_agreement_and_gap_are_judged_alone():
    parity = check(says([0] * 40), says([1] * 40), pictures(40))
    assert parity.reference is None
    assert len(breaches(parity, CONTRACTS["float32"])) == 2


def test_the_same_answers_break_nothing():
    parity = check(says([0, 1]), says([0, 1]), pictures(2), Classes(np.array([0, 1])))
    assert parity.agreement == 1.0
    assert breaches(parity, CONTRACTS["float32"]) == []


def test_swapped_channels_are_caught(float32, int8, validation):
    def swapped(artifact):
        return lambda images: artifact.predictor()(np.ascontiguousarray(images[..., ::-1]))

    for artifact in (float32, int8):
        parity = check(artifact.predictor(), swapped(artifact), *validation)
        agreement, *_, accuracy = breaches(parity, CONTRACTS[artifact.precision])
        assert "least" in agreement
        assert "accuracy falls from" in accuracy


def test_answers_that_are_not_numbers_are_caught():
    def broken(images):
        return np.full((len(images), 2), np.nan, np.float32)

    parity = check(says([0] * 30), broken, pictures(30), Classes(np.zeros(30, np.int64)))
    assert (parity.agreement, parity.largest_gap, parity.artifact) == (0.0, 1.0, 0.0)
    assert len(breaches(parity, CONTRACTS["int8"])) == 2


@pytest.mark.parametrize(("lost", "won", "fails"), [(1, 0, False), (4, 0, False), (5, 0, True), (7, 1, True), (8, 6, False)])
def test_of_80_images_only_a_drop_beyond_chance_fails(lost, won, fails):
    accuracy_only = Contract(min_agreement=0.01, max_gap=1.0, max_drop=0.02)
    assert bool(breaches(parity_of(80, lost, won), accuracy_only)) is fails


def test_a_certain_but_small_drop_is_allowed():
    parity = parity_of(10_000, lost=150)
    assert breaches(parity, CONTRACTS["int8"]) == []
    (sentence,) = breaches(parity_of(10_000, lost=250), CONTRACTS["int8"])
    assert sentence == "accuracy falls from 100.0% to 97.5% (250 answers lost, 0 won), and 2 points are the most it may lose"


@pytest.mark.parametrize(
    ("images", "differing", "fails"), [(5, 1, False), (80, 13, False), (80, 14, True), (10_000, 1100, True)]
)
def test_agreement_is_judged_as_a_sample(images, differing, fails):
    parity = Parity(images, 1 - differing / images, largest_gap=0.5, mean_gap=0.1)
    assert bool(breaches(parity, CONTRACTS["int8"])) is fails


def test_parity_needs_images_and_the_same_classes():
    with pytest.raises(UserError, match="without images"):
        check(says([0]), says([0]), pictures(0))
    with pytest.raises(ContractError, match="in 2 numbers and the exported file in 3"):
        check(says([0]), lambda images: np.zeros((len(images), 3), np.float32), pictures(1))
