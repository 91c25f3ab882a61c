"""The test crop: one value, from the setting to the file that ships."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from timm.data import create_transform

import eyas
from eyas.cli import main
from eyas.data import batches
from eyas.data.augment import prepare
from eyas.data.decode import decode
from eyas.data.resize import shrink
from eyas.deploy import predict as page
from eyas.deploy.target import Artifact
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.recipe import Augment, Training
from eyas.run import read_json
from eyas.studies.prepare import side_of
from tests.images import picture
from tests.scenes import write_scenes

CROP = 0.8
BRIEF = Training(epochs=1, min_steps=4, batch=8, test_crop=CROP, augment=Augment(operations=0))


@pytest.fixture(scope="module")
def cropped(tmp_path_factory):
    """A short run with a test crop, its exported files, and the views that images were prepared with on the way."""
    folder, views = tmp_path_factory.mktemp("crops"), []

    def noted(image, resolution, view=1.0):
        views.append(view)
        return prepare(image, resolution, view)

    def shown(image, facts, _shown=page.shown):
        views.append(facts["crop"])
        return _shown(image, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "prepare", noted)
        patch.setattr(page, "shown", shown)
        data = write_scenes(folder / "data", 12)
        eyas.train(data, folder / "run", arch="mobilenet_v2x0.35@32", training=BRIEF, cache_dir="none")
        eyas.export(folder / "run", to=["onnx", "onnx-int8", "timm"], budget="size<=9MB")
        fresh = write_scenes(folder / "fresh", 6, seed=3)
        found = eyas.evaluate(folder / "run", fresh)
        answers = list(eyas.predict(folder / "run", [str(file) for file in sorted(fresh.rglob("*.png"))]))
    return folder / "run", fresh, views, found, answers


def test_every_image_that_was_answered_was_cropped_alike(cropped):
    _, _, views, *_ = cropped
    assert set(views) == {CROP}
    assert len(views) > 60


def test_evaluation_and_prediction_agree(cropped):
    _, fresh, _, found, answers = cropped
    truth = [file.parent.name for file in sorted(fresh.rglob("*.png"))]
    right = sum(answer.label == label for answer, label in zip(answers, truth, strict=True))
    assert found.accuracy.value == right / len(truth)


@pytest.mark.parametrize("target", ["onnx", "onnx-int8", "timm"])
def test_every_file_that_ships_says_so(cropped, target):
    folder = cropped[0] / "artifacts" / target
    assert Artifact.load(folder).crop == CROP
    if target == "timm":
        assert read_json(folder / "config.json")["pretrained_cfg"]["crop_pct"] == CROP
    else:
        metadata = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
        assert metadata["crop"] == str(CROP)


def test_the_saved_network_says_so(cropped):
    network, _ = load_network(cropped[0] / "model" / "model.safetensors")
    assert network.arch.preprocessing.view == CROP
    assert network.arch.preprocessing.crop == 0.875, "what was published is still on record"


def test_the_card_s_example_does_what_eyas_does(cropped, tmp_path, monkeypatch, capsys):
    run, *_ = cropped
    main(["report", str(run)])
    capsys.readouterr()
    card = (run / "MODEL_CARD.md").read_text()
    assert "The middle of the image is resized, 0.8 of each side." in card
    ((python, script, name),) = (command.split() for command in re.findall(r"```\n(.*?)\n```", card))
    assert (python, name) == ("python", "photo.jpg")
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(5, 40, 60)).save(photo)
    monkeypatch.chdir(run)
    done = subprocess.run([sys.executable, script, str(photo)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    ours = prepare(np.asarray(Image.open(photo)), 32, CROP)
    (row,) = Artifact.load(Path(script).parent).predictor()(ours[None])
    assert answer["confidence"] == pytest.approx(row.max(), abs=1e-5)
    np.testing.assert_array_equal(page.pixels(photo, page.about(Path(script).parent)), ours)


def test_timm_shows_its_network_the_same(cropped):
    about = json.loads((cropped[0] / "artifacts" / "timm" / "config.json").read_text())["pretrained_cfg"]
    image = picture(8, 90, 130)
    keys = ("input_size", "interpolation", "crop_pct", "crop_mode")
    theirs = create_transform(**{name: about[name] for name in keys}, mean=(0, 0, 0), std=(1, 1, 1))(Image.fromarray(image))
    ours = prepare(image, 32, CROP).transpose(2, 0, 1) / 255
    assert np.abs(theirs.numpy() - ours).mean() < 3 / 255
    assert np.abs(theirs.numpy() - prepare(image, 32).transpose(2, 0, 1) / 255).mean() > 10 / 255


def test_two_crops_in_one_run_are_refused(tmp_path):
    data = write_scenes(tmp_path / "data", 4)
    with pytest.raises(UserError, match=r"distillation.test_crop is 0.9 and training.test_crop 0.8; give training.test_crop"):
        eyas.fit(data, tmp_path / "run", training=BRIEF, distillation=Training(test_crop=0.9))


def test_small_crops_are_prepared_large_enough(tmp_path):
    assert [side_of(100), side_of(100, 0.9), side_of(100, 0.5)] == [115, 115, 200]
    file = tmp_path / "large.png"
    Image.fromarray(picture(1, 400, 400)).save(file)
    kept = shrink(decode(str(file)), side_of(64, 0.5))
    assert min(kept.shape[:2]) * 0.5 == 64
