"""Attributes from labels and from a teacher, from data to figures; tiny networks on pictures with a red and a bright half."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.arch.parse import parse
from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.nn.weights import kind_of, load_network
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run
from eyas.studies.attributes import Attributed, Told, measured_attributes, reader_of, tell
from eyas.studies.evaluate_tasks import evaluate_attributes
from eyas.studies.learning import start
from eyas.studies.log import read_log
from eyas.studies.prepare import Data, prepare
from eyas.studies.teaching import in_proportion, unregularised
from eyas.studies.train_attributes import distil_attributes, train_attributes
from eyas.studies.train_task import Asked, prepare_task, train_task
from eyas.tasks.attributes import Attributes
from tests.fakes import colours

LESSON = Training(min_steps=40, epochs=0.1, batch=16, rate=0.01, norm_momentum=0.3, augment=Augment(operations=0, crop=1.0))
SMALL = start(parse("mobilenet_v1x0.25@32/8"), "none")


def write(folder: Path, count: int, seed: int) -> Path:
    """Pictures of noise, red or not, bright or not, and a table of both and of what no picture has."""
    rng, lines = np.random.default_rng(seed), ["image_id,red,bright,absent"]
    folder.mkdir(parents=True)
    for number in range(count):
        red, bright = number % 2, number // 2 % 2
        pixels = rng.integers(0, 80, (32, 32, 3), np.uint8) + np.uint8(90 * bright)
        pixels[..., 0] += np.uint8(80 * red)
        Image.fromarray(pixels).save(folder / f"{seed}-{number}.png")
        known = "" if number % 7 == 3 else str(2 * bright - 1)
        lines.append(f"{seed}-{number}.png,{2 * red - 1},{known},-1")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attributes")


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    return write(folder / "labelled", 80, 0)


@pytest.fixture(scope="module")
def trained(folder: Path, table: Path) -> Path:
    """A run with a teacher, a student that saw unlabelled images only, and the figures of both."""
    pile = write(folder / "pile", 40, 1).parent
    with Run.open(folder / "run") as run:
        data = opened(run, table, str(pile))
        teacher = train_attributes(run, SMALL, data, LESSON, 0)
        model, longer = teacher.folder / "model.safetensors", replace(LESSON, min_steps=80)
        student = distil_attributes(run, SMALL, model, data, longer, 1, unlabelled_only=True, name="student")
        for name, done in {"test": teacher, "student-test": student}.items():
            measured_attributes(run, name, done, Attributed.of(data))
    return folder / "run"


def opened(run: Run, table: Path, pile: str | None = None) -> Data:
    return prepare(run, str(table), pile, 0, Splits(), 32, 0, cache=None, to_train=False, reader=reader_of())


def figures(run: Path, stage: str) -> dict:
    return json.loads((run / stage / "stage.json").read_text())["result"]


def test_learns_what_is_there_and_leaves_out_what_is_the_same_for_all(trained):
    found = figures(trained, "test")
    assert found["constant"] == []  # that no picture has `absent` was said when the table was read: nothing names it
    assert set(found["each"]) == {"red", "bright"}
    assert found["mean"]["there"] == 2
    assert found["mean"]["value"] > 0.9
    assert found["each"]["bright"]["images"] < found["each"]["red"]["images"] == found["mean"]["images"]


def test_the_student_learned_from_unlabelled_images_without_decay_and_to_the_end(trained):
    log = read_log(trained / "student" / "log.jsonl")
    assert {"distilled"} <= set(log[0]) and "attributes" not in log[0]
    assert len(log) == 80
    asked = unregularised(Training(weight_decay=0.1, patience=3, plateau=2))
    assert (asked.weight_decay, asked.patience, asked.plateau) == (0, 0, 0)
    assert figures(trained, "student-test")["mean"]["value"] > 0.8


def test_the_model_says_what_it_tells(trained):
    model = trained / "model" / "model.safetensors"
    assert kind_of(model) == "attributes"
    network, names = load_network(model)
    assert names == ("bright", "red")
    assert network.head.out_features == 2


def test_the_same_again_is_not_done_again(trained, table, folder):
    with Run.open(trained) as run:
        data = opened(run, table, str(folder / "pile"))
        before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
        train_attributes(run, SMALL, data, LESSON, 0)
        assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_is_evaluated_on_images_that_it_has_not_seen(trained, table, folder):
    found = evaluate_attributes(trained / "model", write(folder / "fresh", 24, 2))
    assert (found.seen, found.unreadable) == (0, 0)
    assert found.told.mean.value > 0.9
    again = evaluate_attributes(trained / "model", table)
    assert again.seen == 80 - again.told.mean.images > 30


def test_refusals(trained, table, tmp_path):
    other = tmp_path / "other.csv"
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    other.write_text("image_id,tall,wide\na.png,1,1\n")
    with pytest.raises(UserError, match="it tells bright, red"):
        evaluate_attributes(trained, other)
    with Run.open(tmp_path / "run") as run:
        data = opened(run, table)
        model = trained / "model" / "model.safetensors"
        with pytest.raises(UserError, match="only unlabelled images are to be learned from, and there are none"):
            distil_attributes(run, SMALL, model, data, LESSON, 0, unlabelled_only=True)
        with pytest.raises(UserError, match="class_balance and class_weights are for one class an image"):
            train_attributes(run, SMALL, data, Training(class_balance=1.0), 0)
        with pytest.raises(UserError, match="no model at "):
            distil_attributes(run, SMALL, tmp_path / "lost", data, LESSON, 0)


def test_one_call_prepares_teaches_and_measures(trained, table, tmp_path):
    brief = replace(LESSON, min_steps=2)
    with Run.open(tmp_path / "run") as run:
        asked = Asked("attributes", str(table), brief, labels=40, teacher=str(trained / "model"), unlabeled_only=True)
        model, test = train_task(run, asked, SMALL, prepare_task(run, asked, SMALL))
    assert model.result["steps"] == 2
    assert {*test.result["each"]} == {"bright", "red"}
    assert "distilled" in read_log(model.folder / "log.jsonl")[0]


class TestTell:
    RNG = np.random.default_rng(0)
    TARGETS = (RNG.random((60, 3)) < 0.4).astype(np.float32)
    GIVEN = (TARGETS + RNG.normal(size=(60, 3))).astype(np.float32)

    def test_intervals_hold_the_mean_and_narrow_with_images(self):
        few = tell(self.GIVEN, self.TARGETS, ("a", "b", "c")).mean
        more = tell(np.tile(self.GIVEN, (4, 1)), np.tile(self.TARGETS, (4, 1)), ("a", "b", "c")).mean
        assert few.low < few.value < few.high
        assert more.high - more.low < 0.7 * (few.high - few.low)

    def test_an_attribute_that_only_one_image_has_is_left_out_of_resamples_without_it(self):
        targets = self.TARGETS.copy()
        targets[:, 1] = 0
        targets[5, 1] = 1
        found = tell(self.GIVEN, targets, ("a", "b", "c"))
        assert np.isfinite([found.mean.low, found.mean.high, found.each["b"].low]).all()

    def test_of_two_images_some_resamples_have_nothing_to_rank(self):
        found = tell(np.array([[0.9], [0.1]], np.float32), np.array([[1], [0]], np.float32), ("a",))
        assert (found.mean.low, found.mean.value, found.mean.high) == (1, 1, 1)

    def test_constant_attributes_are_no_part_of_the_mean(self):
        targets = self.TARGETS.copy()
        targets[:, 1] = 1
        found: Told = tell(self.GIVEN, targets, ("a", "b", "c"))
        assert (found.constant, set(found.each), found.mean.there) == (("b",), {"a", "c"}, 2)
        assert found.mean.value == pytest.approx((found.each["a"].value + found.each["c"].value) / 2)
        with pytest.raises(UserError, match="all 3 attributes are the same"):
            tell(self.GIVEN, np.ones((60, 3), np.float32), ("a", "b", "c"))


def test_the_teacher_sees_its_own_resolution_though_the_student_trains_at_another(trained, table, tmp_path, monkeypatch):
    sides, original = set(), Attributes.forward

    def noted(task, model, batch):
        sides.add((model.training, batch.images.shape[1]))
        return original(task, model, batch)

    monkeypatch.setattr(Attributes, "forward", noted)
    smaller = replace(LESSON, min_steps=2, train_resolution=0.5)
    with Run.open(tmp_path / "run") as run:
        distil_attributes(run, SMALL, trained / "model" / "model.safetensors", opened(run, table), smaller, 0)
    assert sides == {(True, 16), (False, 32)}  # who learns, and the teacher and whoever is judged


@pytest.mark.parametrize(("sizes", "batch", "counts"), [((30, 90), 16, [4, 12]), ((1, 500), 8, [1, 7]), ((5,), 8, [8])])
def test_a_batch_holds_of_each_source_its_share(sizes, batch, counts):
    parts = in_proportion(batch, *(colours(size) for size in sizes), None)
    assert [part.count for part in parts] == counts
    assert all(isinstance(part, Part) for part in parts)
