"""A detector from COCO's JSON to figures, in one run; a kill in the middle changes nothing."""

import json

import numpy as np
import pytest

from eyas.arch.parse import parse
from eyas.data.batches import in_order
from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.nn.detectors import load_detector
from eyas.progress import listening, recording
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run
from eyas.studies import detection
from eyas.studies.detection import Boxed, asking, check_training, found_in, listing, read_boxed
from eyas.studies.evaluate_tasks import evaluate_boxes
from eyas.studies.learning import MODEL, start
from eyas.studies.log import read_log
from eyas.studies.prepare import prepare
from eyas.studies.train_detect import PSEUDO, labelled_pile, train_detect
from tests.boxed import CLASSES, write_boxed
from tests.heard import Heard

ARCH = parse("mobilenet_v1x0.1@48")
BEGIN = start(ARCH, "none")
TRAINING = Training(
    epochs=0.1,
    min_steps=4,
    batch=4,
    drop_path=0.0,
    precision="float32",
    compile="off",
    evaluate_every=2,
    checkpoint_every=2,
    augment=Augment(operations=1, crop=0.5),
)


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return write_boxed(tmp_path_factory.mktemp("boxed"), 16)


@pytest.fixture(scope="module")
def pile_path(tmp_path_factory):
    return write_boxed(tmp_path_factory.mktemp("pile"), 6, seed=9).parent


def prepared(run, data, pile=None):
    return prepare(run, str(data), pile, 0, Splits(), ARCH.resolution, 0, False, to_train=False, reader=read_boxed)


@pytest.fixture(scope="module", params=["ssd", "faster_rcnn"])
def trained(request, tmp_path_factory, data_path, pile_path):
    with Run.open(tmp_path_factory.mktemp("run") / "run") as run:
        data = prepared(run, data_path, str(pile_path))
        done = train_detect(run, BEGIN, data, TRAINING, 0, request.param)
        yield run, data, done


def test_a_run_leaves_a_detector_a_log_and_what_it_costs(trained):
    _, _, done = trained
    detector, classes = load_detector(done.folder / MODEL)
    assert classes == CLASSES
    assert detector.form == done.result["form"]
    lines = read_log(done.folder / "log.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"classes", "places", "gradient"} <= set(lines[0])
    assert set(lines[1]["validation"]) == {"map", "map_50", "map_75"}
    assert done.result["madds"] > 1e5 and done.result["params"] > 1e4


def test_a_kill_in_the_middle_changes_nothing(trained, tmp_path, data_path, pile_path):
    _, _, done = trained

    def kill(_, line, __):
        if line["step"] == 3:
            raise KeyboardInterrupt

    with Run.open(tmp_path / "run") as run:
        data = prepared(run, data_path, str(pile_path))
        with pytest.raises(KeyboardInterrupt), recording(kill):
            train_detect(run, BEGIN, data, TRAINING, 0, done.result["form"])
        again = train_detect(run, BEGIN, data, TRAINING, 0, done.result["form"])
    assert (again.folder / MODEL).read_bytes() == (done.folder / MODEL).read_bytes()
    assert (again.folder / "log.jsonl").read_bytes() == (done.folder / "log.jsonl").read_bytes()


def test_the_test_split_is_judged_with_an_interval(trained):
    run, data, done = trained
    found = detection.tested_boxes(run, "test", done, Boxed.of(data)).result
    assert 0 <= found["mean"]["low"] <= found["mean"]["value"] <= found["mean"]["high"] <= 1
    assert found["mean"]["images"] == 4
    assert set(found["classes"]) == set(CLASSES)
    assert found["things"] == sum(len(boxes) for boxes in data.manifest.where(split="test").column("boxes"))


def test_other_data_can_be_evaluated(trained, tmp_path):
    _, _, done = trained
    other = write_boxed(tmp_path, 6, seed=5, splits=False)
    (tmp_path / "5-000.png").write_bytes(b"none")
    found = evaluate_boxes(done.folder / MODEL, other)
    assert (found.found.mean.images, found.seen, found.unreadable) == (5, 0, 1)
    with pytest.raises(UserError, match="the data has no test split; choose another with --split, or all"):
        evaluate_boxes(done.folder / MODEL, other, split="test")
    known = json.loads(other.read_text())
    known["categories"][0]["name"] = "cat"
    other.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"boxes of 'cat', which .* was not trained on; it knows bar, square"):
        evaluate_boxes(done.folder / MODEL, other)


def test_what_a_run_has_seen_is_left_out(trained, data_path):
    _, _, done = trained
    found = evaluate_boxes(done.folder, data_path, split="all")
    assert (found.found.mean.images, found.seen) == (4, 12)
    with pytest.raises(UserError, match="0 unreadable, 8 seen in training"):
        evaluate_boxes(done.folder, data_path, split="train")


def test_one_picture_is_answered_as_a_split_is(trained):
    _, data, done = trained
    detector, _ = load_detector(done.folder / MODEL)
    examples = Boxed.of(data).examples("test")
    rows = found_in(detector, examples)[0]
    pixels = next(iter(in_order(examples, ARCH.resolution))).images[0].numpy()
    found = listing(("bar", "square"))(asking(detector)(pixels[None])[0], (96, 48))["boxes"]
    np.testing.assert_allclose([box["confidence"] for box in found], rows[:, 5], atol=1e-5)
    # Of boxes that it is equally sure of, either may come first.
    alike = np.abs(np.array([box["confidence"] for box in found])[:, None] - rows[:, 5]) < 1e-5
    near = np.abs(np.array([box["box"] for box in found])[:, None] - rows[:, :4] * [96, 48, 96, 48]).max(2) < 0.06
    assert (alike & near).any(1).all()
    assert (alike & near).any(0).all()


def test_what_a_detector_is_sure_of_is_learned_from(trained):
    run, data, done = trained
    scores = np.concatenate([rows[:, 5] for rows in found_in(*_asked(done, data))])
    threshold = float(np.quantile(scores, 0.9))
    pseudo = labelled_pile(run, done, data, threshold)
    rows = Manifest.load(pseudo.folder / PSEUDO)
    assert len(rows) == pseudo.result["images"] > 0
    assert all(box["score"] >= threshold for boxes in rows.column("boxes") for box in boxes)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 48.001 for boxes in rows.column("boxes") for box in boxes)
    student = train_detect(run, BEGIN, data, TRAINING, 0, done.result["form"], pseudo, "student")
    assert student.digest != done.digest
    with pytest.raises(UserError, match="it is a score"):
        labelled_pile(run, done, data, 0.0, "refused")


def test_what_training_never_shows_is_said(tmp_path):
    path = write_boxed(tmp_path / "data", 16)
    known = json.loads(path.read_text())
    test = {image["id"] for image in known["images"] if image["split"] == "test"}
    known["annotations"] = [each for each in known["annotations"] if each["image_id"] in test or each["category_id"] == 1]
    known["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(known))
    heard = Heard()
    with Run.open(tmp_path / "run") as run, listening(heard):
        Boxed.of(prepared(run, path))
    assert any("training has no box of 'bar'" in text for text in heard.said)
    assert any("1 had no area within their picture" in text for text in heard.said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment": Augment(mixup=0.2)}, "mixup"),
        ({"test_crop": 0.875}, "test_crop"),
        ({"class_balance": 0.5}, "class_balance"),
        ({"fine_tune": 1.0}, "one resolution"),
    ],
)
def test_training_that_boxes_cannot_follow_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        check_training(Training(**changes))


def _asked(done, data):
    return load_detector(done.folder / MODEL)[0], Boxed.of(data).examples("train")
