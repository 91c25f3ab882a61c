"""Attributes and identities of manifests: what is learned, and how splits are drawn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eyas.data.attributes import attribute_names, attribute_targets, by_attributes, say_constant
from eyas.data.builtin import elpv_attributes
from eyas.data.identities import by_identity, identity_targets
from eyas.data.manifest import Manifest
from eyas.data.readers import read_attributes, task_of
from eyas.data.splits import fix_splits
from eyas.errors import UserError
from eyas.progress import listening
from eyas.recipe import Splits
from tests.images import picture


def rows(count: int, **columns: list) -> Manifest:
    ids = [f"i{number}" for number in range(count)]
    return Manifest.of({"id": ids, "source": ids, **columns})


class Said:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def say(self, text: str) -> None:
        self.text.append(text)

    def begin(self, *_: object) -> None: ...

    advance = end = begin


@pytest.fixture
def said():
    """What is said in a test."""
    listener = Said()
    with listening(listener):
        yield listener.text


class TestTargets:
    MANIFEST = rows(3, labels=[["hat", "young"], [], ["young"]], unknown=[[], ["hat"], ["beard"]])

    def test_names_are_all_that_occur_known_or_not(self):
        assert attribute_names(self.MANIFEST) == ("beard", "hat", "young")

    def test_there_or_not_or_unknown(self):
        targets = attribute_targets(self.MANIFEST, ("beard", "hat", "young"))
        np.testing.assert_array_equal(targets, np.array([[0, 1, 1], [0, np.nan, 0], [np.nan, 0, 1]], np.float32))

    def test_in_the_order_that_is_asked_for_without_others(self):
        np.testing.assert_array_equal(attribute_targets(self.MANIFEST, ("young",))[:, 0], [1, 0, 1])

    def test_from_columns_of_any_form(self):
        manifest = rows(4, cracked=[True, False, None, True], share=[0.25, 1.0, 0.0, None], old=["1", "-1", "", "yes"])
        names = attribute_names(manifest, ("old", "cracked", "share"))
        assert names == ("old", "cracked", "share")
        nan = np.nan
        expected = np.array([[1, 1, 0.25], [0, 0, 1], [nan, nan, 0], [1, 1, nan]], np.float32)
        np.testing.assert_array_equal(attribute_targets(manifest, names, names), expected)

    def test_mistakes(self):
        with pytest.raises(UserError, match=r"no column 'hat' to take as an attribute; it has labels, unknown"):
            attribute_names(self.MANIFEST, ("hat",))
        with pytest.raises(UserError, match=r"i1: size is 'large'; an attribute is 1 or 0"):
            attribute_targets(rows(2, size=["1", "large"]), ("size",), ("size",))
        with pytest.raises(UserError, match="i0: size is 3"):
            attribute_targets(rows(1, size=[3]), ("size",), ("size",))
        with pytest.raises(UserError, match="no image of the data has an attribute"):
            attribute_names(rows(2, labels=[[], []]))

    def test_constant_ones_are_said(self, said):
        targets = np.array([[1, 0, 1], [1, np.nan, 0]], np.float32)
        assert say_constant(("a", "b", "c"), targets, "2 images") == ("a", "b")
        assert said == ["2 of 3 attributes are the same for all 2 images (a, b): they are left out of the mean"]


class TestKinds:
    def test_rows_are_labelled_by_their_attributes_together_rare_kinds_as_one(self):
        labels = [["hat"]] * 9 + [["hat", "young"]] * 8 + [[]] * 8 + [["young"]] * 3
        manifest = by_attributes(rows(28, labels=labels))
        assert Counter(manifest.column("label")) == {"hat": 9, "hat young": 8, "none": 8, "other": 3}
        assert manifest.column("labels") == labels


class TestReading:
    def test_celebas_table_with_gaps(self, tmp_path, said):
        for name in ("a.png", "b.png", "c.png"):
            Image.fromarray(picture()).save(tmp_path / name)
        table = tmp_path / "list_attr.csv"
        table.write_text("image_id,Bald,Smiling,Young\na.png,,1,-1\nb.png,-1,-1,1\nc.png,-1,,1\n")
        manifest = read_attributes(str(table))
        assert "no image has Bald" in said[0]
        assert attribute_names(manifest) == ("Bald", "Smiling", "Young")
        nan = np.nan
        expected = np.array([[nan, 1, 0], [0, 0, 1], [0, nan, 1]], np.float32)
        np.testing.assert_array_equal(attribute_targets(manifest, ("Bald", "Smiling", "Young")), expected)
        assert task_of(str(table)) == "attributes"  # though no image has two

    def test_the_task_that_data_is_made_for(self, tmp_path):
        for name in ("a.png", "b.png"):
            Image.fromarray(picture()).save(tmp_path / name)
        table = tmp_path / "list.csv"
        table.write_text("path,labels\na.png,hat|young\nb.png,\n")
        assert task_of(str(table)) == "attributes"
        table.write_text("path,labels\na.png,hat\nb.png,young\n")
        assert task_of(str(table)) == "classify"
        table.write_text("path,label\na.png,hat\nb.png,none\n")
        assert task_of(str(table)) == "classify"

    def test_solar_cells_have_three(self):
        pytest.importorskip("elpv_dataset")
        manifest = elpv_attributes()
        targets = attribute_targets(manifest, ("defective", "mono", "uncertain"))
        # Deitsch et al. 2019, table 1: 1,074 mono cells; of all 2,624, 715 + 106 are from a half on.
        assert targets.sum(0).tolist() == [821, 1074, 401]
        assert read_attributes("elpv").column("labels") == manifest.column("labels")


class TestIdentities:
    def test_each_is_in_one_split(self):
        people = [f"p{number % 20}" for number in range(100)]
        found = by_identity(rows(100, label=people), Splits(validation=0.25, test=0.2), 0)
        splits = {}
        for person, split in zip(people, found.column("split"), strict=True):
            assert splits.setdefault(person, split) == split
        assert Counter(splits.values()) == {"test": 4, "validation": 4, "train": 12}
        again = by_identity(rows(100, label=people), Splits(validation=0.25, test=0.2), 1)
        assert again.column("split") != found.column("split")

    def test_splits_of_the_data_stay_and_parted_ones_are_said(self, said):
        people = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f"]
        given = ["train", "test", *["test"] * 2, *[None] * 7]
        found = by_identity(rows(11, label=people, split=given), Splits(validation=0.5, test=0.2), 0)
        assert said == ["1 identities are in the train and in the test split, 'a' for one: the test is of known ones too"]
        assert found.column("split")[:4] == ["train", "test", "test", "test"]
        assert "validation" in found.column("split")
        assert not {person for person, split in zip(people, found.column("split"), strict=True) if split == "validation"} & {
            *"ab"
        }

    def test_too_few_are_refused(self):
        with pytest.raises(UserError, match="3 identities are too few to keep 20% of them for the test split"):
            by_identity(rows(6, label=[*"aabbcc"]), Splits(), 0)
        tied = rows(12, label=[*"abcdefghijkl"], group=["one"] * 12)
        with pytest.raises(UserError, match="12 identities, which groups tie into 1, are too few"):
            by_identity(tied, Splits(), 0)

    def test_rows_without_a_split_follow_their_identity(self):
        people = [*"aabbccddeeffgghh"]
        given = ["test", None] * 2 + ["validation", None] * 2 + [None] * 8
        found = by_identity(rows(16, label=people, split=given), Splits(), 0).column("split")
        assert found == ["test"] * 4 + ["validation"] * 4 + ["train"] * 8

    @given(st.data(), st.integers(10, 24), st.integers(0, 99))
    def test_no_group_and_no_identity_is_in_two_splits(self, data, people, seed):
        whom = [f"p{number % people}" for number in range(3 * people)]
        names = st.one_of(st.none(), st.none(), st.sampled_from("uvwxyz"))
        groups = data.draw(st.lists(names, min_size=len(whom), max_size=len(whom)))
        manifest = rows(len(whom), label=whom, group=groups)
        try:
            found = by_identity(manifest, Splits(validation=0.3, test=0.3), seed)
        except UserError as error:
            assert "which groups tie into" in str(error)
            return
        for column in ("label", "group"):
            splits: dict[str, set] = {}
            for name, split in zip(found.column(column), found.column("split"), strict=True):
                splits.setdefault(name, set()).add(split)
            splits.pop(None, None)
            assert all(len(of) == 1 for of in splits.values())
        of = {split: {*found.where(split=split).column("label")} for split in ("train", "validation", "test")}
        assert min(map(len, of.values())) >= 2
        assert fix_splits(found, Splits(), seed) == found

    def test_without_groups_the_draw_is_by_the_identities_names_alone(self):
        people = [f"p{number % 20}" for number in range(60)]
        alone = by_identity(rows(60, label=people), Splits(), 3)
        assert alone.column("split") == by_identity(rows(60, label=people, group=people), Splits(), 3).column("split")

    def test_groups_tie_identities_through_each_other(self):
        people = [f"p{number // 2}" for number in range(40)]
        groups = [None] * 40
        groups[1] = groups[2] = "first"  # p0 and p1
        groups[3] = groups[4] = "second"  # p1 and p2
        for seed in range(8):
            found = by_identity(rows(40, label=people, group=groups), Splits(validation=0.2, test=0.2), seed)
            assert len({*found.column("split")[:6]}) == 1

    def test_a_group_that_the_data_parts_is_refused(self):
        manifest = rows(4, label=[*"aabb"], group=["g"] * 4, split=["train", "test", None, None])
        with pytest.raises(UserError, match="group 'g' is in the train split and in the test split"):
            by_identity(manifest, Splits(), 0)

    def test_numbers_are_one_column(self):
        assert identity_targets(["b", "a", "b"]).tolist() == [[1], [0], [1]]
