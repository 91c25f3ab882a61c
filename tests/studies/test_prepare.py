"""The data of a run: fixed once, without leaks, without the labels that were to be hidden."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.recipe import Splits
from eyas.run import ATTIC, Run
from eyas.studies.prepare import Data, choose_resolution, load, prepare
from tests.boxed import write_boxed
from tests.images import class_folders, encoded, hostile, image, put
from tests.scenes import write_scenes
from tests.studies.conftest import contents


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pictures a class; eight are drawn to test with."""
    return write_scenes(tmp_path / "data", 20)


def prepared(out: Path, data: Path, pile: Path | None = None, labels: int = 0, seed: int = 0) -> Data:
    with Run.open(out) as run:
        return prepare(run, str(data), str(pile) if pile else None, labels, Splits(), 32, seed)


class TestSplits:
    def test_are_fixed_by_the_seed(self, data, tmp_path):
        first, again, other = (prepared(tmp_path / str(n), data, seed=seed) for n, seed in enumerate((0, 0, 1)))
        assert first.manifest.column("split") == again.manifest.column("split") != other.manifest.column("split")
        assert first.digest == again.digest != other.digest
        assert [len(first.examples(split)) for split in ("train", "validation", "test")] == [24, 8, 8]

    def test_hold_every_class_as_one_hot_rows(self, data, tmp_path):
        examples = prepared(tmp_path / "run", data).examples("test")
        assert examples.targets.sum(0).tolist() == [4, 4]
        assert examples.targets.sum(1).tolist() == [1] * 8

    def test_are_the_same_when_read_back(self, data, tmp_path):
        ready = prepared(tmp_path / "run", data, write_scenes(tmp_path / "pile", 3, seed=1, labelled=False))
        again = load(tmp_path / "run", ready.digest)
        assert again.manifest.table.equals(ready.manifest.table)
        assert (again.classes, again.digest) == (ready.classes, ready.digest)
        np.testing.assert_array_equal(again.unlabelled().positions, ready.unlabelled().positions)


class TestPile:
    def test_copies_of_labelled_images_are_dropped_and_counted(self, data, tmp_path):
        pile = write_scenes(tmp_path / "pile", 3, seed=1, labelled=False)
        for number, file in enumerate(sorted(data.rglob("*.png"))):
            shutil.copy(file, pile / f"copy-{number}.png")
        ready = prepared(tmp_path / "run", data, pile)
        found = ready.findings["pile"]
        assert (found["read"], found["images"]) == (46, 6)
        assert (found["equal_to_test"], found["equal_to_validation"], found["equal_to_train"]) == (8, 8, 24)
        test = {ready.store.hashes[row] for row in ready.examples("test").positions}
        assert test.isdisjoint(ready.pile_store.hashes[row] for row in ready.unlabelled().positions)

    def test_hidden_labels_are_nowhere_in_the_run(self, data, tmp_path):
        named = tmp_path / "named"  # of which only the CSV tells the classes
        rows = ["path,label"]
        for number, file in enumerate(sorted(data.rglob("*.png"))):
            put(named / f"{number}.png", file.read_bytes())
            rows.append(f"{number}.png,{file.parent.name}")
        (named / "images.csv").write_text("\n".join(rows))
        ready = prepared(tmp_path / "run", named / "images.csv", labels=12)
        pile = Manifest.load(tmp_path / "run" / "data" / "pile.parquet")
        assert len(pile) == 40 - 8 - 12 == len(ready.pile)
        assert set(pile.column("label")) == set(pile.column("split")) == {None}
        assert pile.extra == ()
        assert not ready.unlabelled().targets.any()
        assert len(ready.examples("train")) + len(ready.examples("validation")) == 12
        assert len(ready.examples("test")) == 8

    def test_hidden_images_join_a_pile_that_is_there(self, data, tmp_path):
        pile = write_scenes(tmp_path / "pile", 3, seed=1, labelled=False)
        assert len(prepared(tmp_path / "run", data, pile, labels=12).pile) == 20 + 6

    def test_there_is_none_when_all_labels_are_kept(self, data, tmp_path):
        assert prepared(tmp_path / "run", data, labels=32).pile is None

    def test_nothing_in_it_can_be_used(self, data, tmp_path):
        put(tmp_path / "pile" / "broken.jpg", b"")
        ready = prepared(tmp_path / "run", data, tmp_path / "pile")
        assert (len(ready.pile), len(ready.unlabelled())) == (0, 0)
        assert ready.findings["pile"]["unreadable"] == 1

    def test_odd_files_are_listed_and_left_as_they_are(self, data, tmp_path):
        reasons = hostile(tmp_path / "pile")
        before = contents(tmp_path / "pile")
        ready = prepared(tmp_path / "run", data, tmp_path / "pile")
        with (tmp_path / "run" / "data" / "quarantine.csv").open() as file:
            listed = {row["id"]: row["reason"] for row in csv.DictReader(file)}
        del reasons["folder.jpg"]  # a folder is looked into, whatever its name
        assert listed.keys() == {name for name, reason in reasons.items() if reason}
        assert all(reason.startswith(reasons[name]) for name, reason in listed.items())
        assert set(ready.pile.column("id")) == {name for name, reason in reasons.items() if reason is None}
        assert contents(tmp_path / "pile") == before


class TestAgain:
    def test_is_kept(self, data, tmp_path):
        first = prepared(tmp_path / "run", data)
        before = contents(tmp_path / "run" / "data")
        assert prepared(tmp_path / "run", data).digest == first.digest
        assert contents(tmp_path / "run" / "data") == before

    def test_a_new_image_is_seen(self, data, tmp_path):
        first = prepared(tmp_path / "run", data)
        put(data / "bar" / "new.png", encoded(image(5), "PNG"))
        second = prepared(tmp_path / "run", data)
        assert (len(first.manifest), len(second.manifest)) == (40, 41)
        assert [entry.name for entry in (tmp_path / "run" / ATTIC).iterdir()] == ["1-data"]

    def test_a_changed_image_is_seen(self, data, tmp_path):
        first = prepared(tmp_path / "run", data)
        put(data / "bar" / "bar0-b000.png", encoded(image(5), "PNG"))
        assert prepared(tmp_path / "run", data).digest != first.digest


class TestRefused:
    def test_classes_that_cannot_be_learned(self, tmp_path):
        class_folders(tmp_path / "data", {"cat": 5, "dog": 1})
        with pytest.raises(UserError, match="the class 'dog' has one usable image; add another, or take the class out"):
            prepared(tmp_path / "run", tmp_path / "data")

    def test_a_class_whose_images_are_all_broken(self, tmp_path):
        class_folders(tmp_path / "data", {"cat": 5})
        put(tmp_path / "data" / "dog" / "broken.png", b"")
        with pytest.raises(UserError, match="images of 'cat' only can be used"):
            prepared(tmp_path / "run", tmp_path / "data")
        assert "dog/broken.png" in (tmp_path / "run" / "data" / "quarantine.csv").read_text()


class TestResolution:
    @pytest.mark.parametrize(
        ("side", "accelerated", "expected"), [(20, False, 32), (70, False, 64), (300, False, 128), (300, True, 224)]
    )
    def test_follows_the_images_and_the_machine(self, side, accelerated, expected, tmp_path):
        class_folders(tmp_path / "data", {"cat": 3, "dog": 3}, side)
        put(tmp_path / "data" / "cat" / "broken.png", b"")
        assert choose_resolution(str(tmp_path / "data"), accelerated) == expected

    def test_of_boxes_and_of_attributes(self, tmp_path):
        assert choose_resolution(str(write_boxed(tmp_path / "boxes", 4, side=70)), False) == 64
        put(tmp_path / "a.png", encoded(image(0, 70, 70), "PNG"))
        (tmp_path / "table.csv").write_text("path,hat,young\na.png,1,1\n")
        assert choose_resolution(str(tmp_path / "table.csv"), False) == 64
