"""Cross-validation: what is held out when."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eyas.data.folds import folds, with_fold
from eyas.data.manifest import Manifest
from eyas.recipe import Splits


def manifest(labels, groups=None, splits=None):
    ids = [f"image {number}" for number in range(len(labels))]
    columns = {"id": ids, "source": ids, "label": labels}
    return Manifest.of(columns | ({"group": groups} if groups else {}) | ({"split": splits} if splits else {}))


@given(st.lists(st.sampled_from("abc"), min_size=6, max_size=60), st.integers(2, 6), st.integers(0, 9))
def test_every_class_is_spread_evenly(labels, count, seed):
    found = folds(manifest(labels), count, seed)
    assert ((found >= 0) & (found < count)).all()
    for name, images in Counter(labels).items():
        held = [int(((found == fold) & (np.array(labels) == name)).sum()) for fold in range(count)]
        assert sum(held) == images
        assert max(held) - min(held) <= 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=8, max_size=60))
def test_groups_are_held_out_whole(rows):
    groups = [f"g{group}" if group else None for _, group in rows]
    found = folds(manifest([label for label, _ in rows], groups), 3, 0)
    for name in set(groups) - {None}:
        assert len({int(fold) for fold, group in zip(found, groups, strict=True) if group == name}) == 1


def test_only_names_and_seed_decide():
    labels = ["a", "b"] * 20
    given = manifest(labels, splits=["train", "test"] * 20)
    np.testing.assert_array_equal(folds(given, 4, 1), folds(manifest(labels), 4, 1))
    assert (folds(given, 4, 1) != folds(given, 4, 2)).any()


def test_a_fold_is_tested_on_and_the_rest_parted():
    data = manifest(["a", "b"] * 30, groups=[f"g{number // 4}" for number in range(60)])
    out = folds(data, 3, 0) == 1
    found = with_fold(data, out, Splits(validation=0.25), 0)
    splits = np.array(found.column("split"))
    np.testing.assert_array_equal(splits == "test", out)
    assert 0 < (splits == "validation").sum() < (splits == "train").sum()
    for group in set(found.column("group")):
        assert len({split for split, of in zip(splits, found.column("group"), strict=True) if of == group}) == 1
