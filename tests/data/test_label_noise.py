from collections import Counter

import numpy as np
import pytest

from eyas.data.label_noise import with_wrong_labels
from eyas.data.manifest import Manifest
from eyas.errors import UserError


def rows(count: int) -> Manifest:
    ids = [f"i{number}" for number in range(count)]
    labels = [f"c{number % 4}" for number in range(count)]
    return Manifest.of(
        {"id": ids, "source": ids, "label": labels, "split": ["test", None, "train", "validation"] * (count // 4)}
    )


def test_the_share_of_labels_outside_the_test_split_is_wrong():
    found = with_wrong_labels(rows(400), 0.4, 0)
    wrong = np.array([a != b for a, b in zip(found.column("label"), found.column("clean_label"), strict=True)])
    tested = np.array([split == "test" for split in found.column("split")])
    assert wrong.sum() == 120  # of 300
    assert not wrong[tested].any()
    assert found.column("clean_label") == rows(400).column("label")
    assert found.classes == ("c0", "c1", "c2", "c3")


def test_every_other_class_is_as_likely():
    found = with_wrong_labels(rows(4000), 1.0, 0)
    pairs = Counter(zip(found.column("clean_label"), found.column("label"), strict=True))
    taught = {pair: count for pair, count in pairs.items() if pair[0] == "c1"}
    assert set(taught) == {("c1", other) for other in ("c0", "c2", "c3")}
    assert min(taught.values()) > 270


def test_is_the_same_for_a_seed_and_hardly_moves_when_rows_are_added():
    before = dict(zip(rows(400).column("id"), with_wrong_labels(rows(400), 0.4, 0).column("label"), strict=True))
    assert with_wrong_labels(rows(400), 0.4, 0).column("label") == list(before.values())
    assert with_wrong_labels(rows(400), 0.4, 1).column("label") != list(before.values())
    after = with_wrong_labels(rows(404), 0.4, 0)
    moved = sum(before.get(id, label) != label for id, label in zip(after.column("id"), after.column("label"), strict=True))
    assert moved <= 3


def test_refusals():
    with pytest.raises(UserError, match=r"label_noise is 1\.5"):
        with_wrong_labels(rows(8), 1.5, 0)
    one = Manifest.of({"id": ["a"], "source": ["a"], "label": ["x"]})
    with pytest.raises(UserError, match="two classes at least"):
        with_wrong_labels(one, 0.4, 0)
