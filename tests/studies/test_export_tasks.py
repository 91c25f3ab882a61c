"""Attributes, embeddings and detectors onto the device by the commands of classification: exported, compared, predicted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyas.cli import main
from eyas.deploy import predict as page
from eyas.nn.detectors import load_detector
from eyas.run import read_json
from eyas.studies.detection import Boxed, found_in, read_boxed
from eyas.studies.predict import Attributes, Boxes, Vector, predict
from eyas.studies.prepare import load
from tests.boxed import write_boxed
from tests.studies.test_train_attributes import write as write_table
from tests.studies.test_train_embed import write as write_people

BRIEF = ["--weights", "none", "--training.epochs", "0.1", "--training.min_steps", "60", "--cache-dir", "none"]
BRIEF += ["--training.rate", "0.01", "--training.augment.operations", "0"]
SMALL = [*BRIEF, "--arch", "mobilenet_v1x0.25@32/8"]


@pytest.fixture(scope="module")
def attributes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    assert main(["train", str(write_table(folder / "pictures", 48, 0)), "--out", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    options = ["--task", "embed", "--embedding.width", "8", "--training.batch", "8"]
    people = write_people(folder / "faces", 16, 5, 0)
    assert main(["train", str(people), "--out", str(folder / "run"), *options, *SMALL]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("boxes")
    data = write_boxed(folder / "data", 24)
    options = ["--training.batch", "4", "--arch", "mobilenet_v1x0.1@48"]
    assert main(["train", str(data), "--out", str(folder / "run"), *BRIEF, *options]) == 0
    return folder / "run"


@pytest.fixture(scope="module", params=["attributes", "vectors", "boxes"])
def run(request) -> Path:
    return request.getfixturevalue(request.param)


def exported(run: Path, *words: str) -> int:
    return main(["export", str(run), "--threads", "1", *words])


def test_a_float_file_answers_as_the_network_and_tells_the_figures_of_its_test(run, capsys):
    assert exported(run, "--to", "onnx") == 0
    assert "mean average precision on them" in capsys.readouterr().out
    made = read_json(run / "artifacts" / "onnx" / "stage.json")["result"]
    assert made["parity"]["agreement"] == 1
    assert made["parity"]["largest_gap"] < 1e-4
    assert abs(made["change"]["points"]) < 4  # what is ranked alike but for the last digit may change places
    assert made["parity"]["reference"] == pytest.approx(made["change"]["before"])
    tested = read_json(run / "test" / "stage.json")["result"]
    assert same(made["test"], tested)
    facts = page.about(run / "artifacts" / "onnx")
    assert (facts["task"], facts["status"]) == (made["task"], "accepted")
    assert (facts["boxes"] is not None) == (made["task"] == "detect")


def same(one: object, other: object) -> bool:
    """Whether two results hold the same figures, but for what changes places in the last digit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == pytest.approx(other, abs=0.05) if isinstance(one, float) else one == other


def test_int8_and_half_the_precision_keep_what_is_promised_or_say_why(run):
    exported(run, "--to", "onnx-fp16", "onnx-int8", "--max_drop", "20pt")
    for name in ("onnx-fp16", "onnx-int8"):
        made = read_json(run / "artifacts" / name / "stage.json")["result"]
        facts = read_json(run / "artifacts" / name / "artifact.json")
        assert (facts["status"] == "rejected") == bool(made["reasons"])
        assert made["parity"]["agreement"] > 0.6
        assert made["parity"]["measure"] == "mean average precision"
    ladder = read_json(run / "artifacts" / "onnx-int8" / "ladder.json")
    assert ladder["steps"][0]["rung"] == "plain"
    assert made["bytes"] < read_json(run / "artifacts" / "onnx-fp16" / "stage.json")["result"]["bytes"]


def test_attributes_are_told_each_with_its_probability(attributes):
    assert exported(attributes, "--to", "onnx") == 0
    picture = str(attributes.parent / "pictures" / "0-1.png")
    (of_file,) = predict(attributes / "artifacts" / "onnx", [picture])
    (of_network,) = predict(attributes, [picture])
    assert isinstance(of_file, Attributes)
    assert {*of_file.attributes} == {"red", "bright"}
    assert of_file.attributes == pytest.approx(of_network.attributes, abs=1e-4)


def test_vectors_have_length_one(vectors, capsys):
    assert exported(vectors, "--to", "onnx") == 0
    picture = str(vectors.parent / "faces" / "p0_03" / "p0_03_0002.jpg")
    (of_file,) = predict(vectors / "artifacts" / "onnx", [picture])
    (of_network,) = predict(vectors, [picture])
    assert isinstance(of_file, Vector)
    assert np.linalg.norm(of_file.vector) == pytest.approx(1, abs=1e-5)
    assert of_file.vector == pytest.approx(of_network.vector, abs=1e-4)
    capsys.readouterr()
    assert main(["predict", str(vectors), picture]) == 0
    assert "8 numbers: " in capsys.readouterr().out


def test_boxes_are_in_pixels_and_are_drawn(boxes, tmp_path, capsys):
    assert exported(boxes, "--to", "onnx") == 0
    data = load(boxes)
    (boxed, names) = Boxed.of(data), ("bar", "square")
    rows = found_in(load_detector(boxes / "model" / "model.safetensors")[0], boxed.examples("test"))
    sources = data.rows("test").column("source")
    for model in (boxes / "artifacts" / "onnx", boxes):
        for source, wanted in zip(sources, rows, strict=True):
            (answer,) = predict(model, [source])
            assert isinstance(answer, Boxes)
            assert [box.label for box in answer.boxes] == [names[int(row[4])] for row in wanted]
            np.testing.assert_allclose([box.box for box in answer.boxes], wanted[:, :4] * 48, atol=0.2)
    capsys.readouterr()
    words = ["predict", str(boxes / "artifacts" / "onnx"), sources[0], "missing.png", "--draw", str(tmp_path / "drawn")]
    assert main([*words, "--json"]) == 2
    first, missing = map(json.loads, capsys.readouterr().out.splitlines())
    assert (missing["boxes"], missing["error"][:12]) == ([], "no such file")
    assert first["error"] is None
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [f"{Path(sources[0]).stem}-boxes.png"]
    assert main(words) == 2
    assert len([*(tmp_path / "drawn").iterdir()]) == 2  # nothing is written over


@pytest.mark.parametrize(("words", "sentence"), [(["--top", "2"], "--top is the number of"), (["--draw", "d"], "--draw draws")])
def test_what_a_model_has_not_is_refused(attributes, words, sentence, capsys):
    assert main(["predict", str(attributes), str(attributes.parent / "pictures" / "0-1.png"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_that_cannot_be_drawn_into_is_said(boxes, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    picture = next(boxes.parent.rglob("*.png"))
    assert main(["predict", str(boxes), str(picture), "--draw", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_faster_rcnn_stays_where_torch_is(tmp_path, capsys):
    data = write_boxed(tmp_path / "data", 16)
    options = ["--training.batch", "4", "--arch", "mobilenet_v1x0.1@48", "--detection.form", "faster_rcnn"]
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *BRIEF, "--training.min_steps", "2", *options]) == 0
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "Faster R-CNN cannot be exported" in capsys.readouterr().err
    picture = next((tmp_path / "data").glob("*.png"))
    (answer,) = predict(tmp_path / "run", [str(picture)])
    assert isinstance(answer, Boxes)
    assert read_boxed(str(data)).column("source")


def test_frames_are_cropped_and_resized_by_the_file(run):
    assert exported(run, "--to", "onnx", "--frame", "40x60") == 0
    made = read_json(run / "artifacts" / "onnx-40x60" / "stage.json")["result"]
    assert made["frame"] == [40, 60]
    assert made["parity"]["agreement"] > 0.9


def test_the_page_alone_answers(run, tmp_path):
    assert exported(run, "--to", "onnx") == 0
    folder = shutil.copytree(run / "artifacts" / "onnx", tmp_path / "device")
    facts = page.about(folder)
    assert {"predict.py", "artifact.json"} <= {path.name for path in folder.iterdir()}
    assert (folder / "boxes.py").exists() == (facts["task"] == "detect")
