from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyas.data.manifest import COLUMNS, Manifest
from eyas.data.splits import apportion, draw_test, draw_validation, fix_splits
from eyas.errors import UserError
from eyas.recipe import Splits

HELD_OUT = ("validation", "test")


def rows(labels, groups=None, splits=None):
    ids = [f"{i:03d}" for i in range(len(labels))]
    return Manifest.of(
        {"id": ids, "source": ids, "label": labels, "group": groups or [None] * len(ids), "split": splits or [None] * len(ids)}
    )


@st.composite
def manifests(draw, grouped=False):
    labels = draw(st.lists(st.sampled_from("abcd"), max_size=60))
    size = len(labels)
    splits = None
    if not grouped:
        kinds = draw(st.sampled_from([[None], [None, "train"], [None, "test"], ["train", "validation"], ["train", "test"]]))
        splits = draw(st.lists(st.sampled_from(kinds), min_size=size, max_size=size))
    groups = draw(st.lists(st.sampled_from([None, *"uvwxyz"]), min_size=size, max_size=size)) if grouped else None
    return rows(labels, groups, splits)


shares = st.builds(Splits, validation=st.sampled_from([0.1, 0.25, 0.5]), test=st.sampled_from([0.02, 0.2, 0.4]))
seeds = st.integers(0, 2**32)


@given(manifests(), shares, seeds)
def test_every_row_has_one_split_and_what_the_data_fixes_stays(manifest, splits, seed):
    fixed = fix_splits(manifest, splits, seed)
    assert fixed.column("id") == manifest.column("id")
    given_splits = set(manifest.column("split"))
    for before, after in zip(manifest.column("split"), fixed.column("split"), strict=True):
        assert after in ("train", *HELD_OUT)
        if before in HELD_OUT:
            assert after == before
        elif after != "train":  # drawn: the data had no such split
            assert after not in given_splits


@given(st.one_of(manifests(), manifests(grouped=True)), shares, seeds)
def test_the_same_seed_gives_the_same_splits_whatever_the_order(manifest, splits, seed):
    first = fix_splits(manifest, splits, seed)
    assert first == fix_splits(manifest, splits, seed)
    turned = Manifest.of({name: manifest.column(name)[::-1] for name in COLUMNS})
    assert fix_splits(turned, splits, seed).column("split") == first.column("split")[::-1]


@given(manifests(grouped=True), shares, seeds)
def test_no_group_is_in_two_splits(manifest, splits, seed):
    fixed = fix_splits(manifest, splits, seed)
    where = defaultdict(set)
    for group, split in zip(fixed.column("group"), fixed.column("split"), strict=True):
        where[group].add(split)
    where.pop(None, None)
    assert all(len(found) == 1 for found in where.values())


@given(manifests(grouped=True), shares, seeds)
def test_every_class_can_be_trained_on(manifest, splits, seed):
    fixed = fix_splits(manifest, splits, seed)
    assert set(fixed.where(split="train").column("label")) == set(manifest.column("label"))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=80), shares, seeds)
def test_every_class_is_held_out_in_proportion(labels, splits, seed):
    fixed = fix_splits(rows(labels), splits, seed)
    table = Counter(zip(fixed.column("label"), fixed.column("split"), strict=True))
    for label, count in Counter(labels).items():
        assert table[label, "train"] >= 1  # train first, then validation, then test
        assert table[label, "validation"] >= (count >= 2)
        assert table[label, "test"] >= (count >= 3)
    if len(labels) >= 40:
        assert abs(len(fixed.where(split="test")) - splits.test * len(labels)) <= 4


def test_shares_are_of_all_and_of_the_rest():
    fixed = fix_splits(rows(["a"] * 300 + ["b"] * 100), Splits(validation=0.25, test=0.2), seed=1)
    table = Counter(zip(fixed.column("label"), fixed.column("split"), strict=True))
    assert table == {
        ("a", "test"): 60,
        ("a", "validation"): 60,
        ("a", "train"): 180,
        ("b", "test"): 20,
        ("b", "validation"): 20,
        ("b", "train"): 60,
    }


def test_seeds_differ():
    manifest = rows(["a", "b"] * 50)
    assert fix_splits(manifest, Splits(), 1).column("split") != fix_splits(manifest, Splits(), 2).column("split")


def test_a_missing_split_is_drawn_from_the_training_images():
    manifest = rows(["a", "b"] * 50, splits=["train"] * 80 + ["validation"] * 20)
    fixed = fix_splits(manifest, Splits(test=0.2), 0)
    assert Counter(fixed.column("split")) == {"train": 60, "validation": 20, "test": 20}


def test_groups_are_held_out_in_proportion_too():
    groups = [f"g{i // 5}" for i in range(400)]
    fixed = fix_splits(rows(["a", "b", "a", "a", "b"] * 80, groups), Splits(validation=0.25, test=0.2), 3)
    counts = Counter(fixed.column("split"))
    assert abs(counts["test"] - 80) <= 10
    assert abs(counts["validation"] - 80) <= 10


def test_a_group_far_larger_than_a_split_stays_in_training():
    labels = ["a", "b"] * 100
    groups = [None] * 80 + ["film"] * 120
    for seed in range(10):
        fixed = fix_splits(rows(labels, groups), Splits(validation=0.25, test=0.2), seed)
        assert set(fixed.column("split")[80:]) == {"train"}


def test_a_class_that_only_large_groups_hold_is_still_validated():
    labels = ["a"] * 40 + ["b"] * 20
    groups = [None] * 40 + ["left"] * 8 + ["right"] * 12
    fixed = draw_validation(rows(labels, groups), Splits(validation=0.1), 0)
    assert Counter(fixed.where(split="validation").column("label"))["b"] == 8


def test_rows_follow_the_split_of_their_group():
    manifest = rows(["a"] * 6, ["g", "g", None, None, None, None], ["test", None, None, None, None, None])
    assert fix_splits(manifest, Splits(), 0).column("split")[:2] == ["test", "test"]
    assert draw_test(manifest, Splits(), 0).column("split") == ["test", "test", None, None, None, None]


def test_a_group_that_the_data_tears_apart_is_named():
    with pytest.raises(UserError, match="group 'g' is in the train split and in the test split"):
        fix_splits(rows(["a", "a"], ["g", "g"], ["train", "test"]), Splits(), 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=8), st.integers(0, 200))
def test_apportioned_within_bounds_and_within_one_of_the_ideal(strata, total):
    counts = [count for count, _ in strata]
    least = [min(count, low) for count, low in strata]
    total = min(total, sum(counts))
    given_out = apportion(counts, total, least, counts)
    assert all(low <= n <= count for low, n, count in zip(least, given_out, counts, strict=True))
    assert sum(given_out) == max(total, sum(least))
    if not any(least) and sum(counts):
        assert all(abs(n - count * total / sum(counts)) < 1 for n, count in zip(given_out, counts, strict=True))
