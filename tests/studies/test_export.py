"""Files that ship: the run's own are kept, others are made beside them, and promises are held."""

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import eyas
from eyas.cli import main
from eyas.deploy.target import Artifact
from eyas.errors import UserError
from eyas.nn.build import build
from eyas.nn.published import find, load
from eyas.nn.weights import load_network
from eyas.recipe import Training
from eyas.run import ATTIC
from tests.fakes import pictures
from tests.scenes import write_scenes
from tests.studies.conftest import contents

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fit")]


class TestExport:
    def test_keeps_what_the_run_has(self, reference, copy_of, capsys):
        run = copy_of(reference)
        before = contents(run)
        assert main(["export", str(run), "--int8"]) == 0
        shown = capsys.readouterr()
        assert contents(run) == before
        assert shown.out.startswith(f"{run / 'artifacts' / 'onnx-int8'}: ")
        assert "validation images" in shown.out
        assert " points (95 % interval " in shown.out
        assert "int8 by the way [" in shown.out

    def test_in_json_with_its_numbers(self, reference, copy_of, capsys):
        run = copy_of(reference)
        assert main(["export", str(run), "--int8", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        (target, facts), *others = found["artifacts"].items()
        assert (target, others) == ("onnx-int8", [])
        assert facts["bytes"] == (run / "artifacts" / "onnx-int8" / "model.onnx").stat().st_size
        assert facts["latency"]["median_ms"] > 0
        assert 0.9 <= facts["parity"]["agreement"] <= 1

    def test_writes_only_what_was_asked_for(self, reference, copy_of):
        run = copy_of(reference)
        before = contents(run)
        found = eyas.export(str(run), to=["onnx"], budget="size<=1MB")
        assert found.artifacts.keys() == {"onnx"}
        assert Artifact.load(run / "artifacts" / "onnx").status == "accepted"
        after = contents(run)
        moved = {name for name in before if before[name] != after.get(name)}
        assert all(name.startswith("artifacts/onnx/") for name in moved)
        assert {name.split("/")[0] for name in after.keys() - before.keys()} == {ATTIC}

    def test_says_what_becomes_of_each_class_and_what_to_rely_on(self, reference, copy_of):
        run = copy_of(reference)
        facts = eyas.export(run, to=["onnx-fp16"], budget="size<=1MB").artifacts["onnx-fp16"]
        artifact = Artifact.load(run / "artifacts" / "onnx-fp16")
        assert artifact.threshold == facts["threshold"]
        assert artifact.threshold is None or 0.5 <= artifact.threshold <= 1
        written = json.loads((artifact.folder / "parity.json").read_text())
        assert written["classes"].keys() == {"bar", "dot"}
        assert sum(each["images"] for each in written["classes"].values()) == written["images"]
        for each in (written["change"], *written["classes"].values()):
            assert each["points"] == pytest.approx(100 * (each["after"] - each["before"]))
            assert each["low"] <= each["points"] <= each["high"]

    def test_a_file_that_takes_frames(self, reference, copy_of):
        run = copy_of(reference)
        before = contents(run)
        facts = eyas.export(run, to=["onnx"], budget="size<=1MB", frame="40x56").artifacts["onnx-40x56"]
        assert contents(run) | before == contents(run)  # what ships is as it was
        artifact = Artifact.load(run / "artifacts" / "onnx-40x56")
        assert artifact.side == (40, 56)
        assert facts["parity"]["agreement"] > 0.98
        assert facts["reasons"] == []

    def test_holds_the_file_against_the_run_s_budget(self, reference, copy_of, capsys):
        run = copy_of(reference)
        assert main(["export", str(run), "--to", "onnx"]) == 1
        shown = capsys.readouterr()
        told = shown.err.splitlines()[-1]
        assert told.startswith(f"eyas export: exported to {run / 'artifacts'}, but not fit to ship: onnx: size ")
        assert told.endswith(" is over 350KB")
        assert shown.out == ""


class TestTimm:
    def test_writes_what_timm_opens_and_answers_alike(self, published_run, capsys):
        assert main(["export", str(published_run), "--to", "timm"]) == 0
        assert "agrees with the trained network on 100.0%" in capsys.readouterr().out
        folder = published_run / "artifacts" / "timm"
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        network, classes = load_network(published_run / "model" / "model.safetensors")
        images = pictures(3, 32)
        about = model.pretrained_cfg
        mean, std = (torch.tensor(about[name]).view(3, 1, 1) for name in ("mean", "std"))
        with torch.no_grad():
            theirs = model((images.permute(0, 3, 1, 2) / 255 - mean) / std)
            torch.testing.assert_close(theirs, network(images), rtol=1e-4, atol=1e-4)
        assert model.num_classes == len(classes)
        assert (about["interpolation"], about["crop_mode"], about["crop_pct"]) == ("bicubic", "squash", 1.0)

    def test_comes_back_as_weights(self, published_run):
        eyas.export(published_run, to=["timm"])
        found = find(str(published_run / "artifacts" / "timm"))
        network, classes = load_network(published_run / "model" / "model.safetensors")
        assert found is not None
        assert str(found.arch) == str(network.arch) == "mobilenet_v2x0.35@32"
        again = build(found.arch, nn.Linear(found.arch.features, len(classes)))
        load(again, found)
        ours, theirs = again.state_dict(), network.state_dict()
        assert [name for name in ours if not torch.allclose(ours[name], theirs[name])] == []

    def test_a_width_that_timm_has_not_is_refused(self, reference, copy_of):
        with pytest.raises(UserError, match=r"^timm has no mobilenet_v1x0\.\S+: it has each table at its published depth"):
            eyas.export(copy_of(reference), to=["timm"])

    def test_the_budget_is_not_about_it(self, published_run):
        eyas.export(published_run, to=["timm"], budget="size<=1KB")
        assert Artifact.load(published_run / "artifacts" / "timm").status == "accepted"


@pytest.fixture(scope="module")
def published_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a network whose width timm has, too."""
    folder = tmp_path_factory.mktemp("timm")
    data = write_scenes(folder / "data", 10)
    brief = Training(epochs=0.1, min_steps=3, batch=8)
    eyas.train(data, folder / "run", arch="mobilenet_v2x0.35@32", training=brief)
    return folder / "run"


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            (("--to", "onnx", "tflite"), "no export target 'tflite'; there are onnx, onnx-fp16"),
            (("--frame", "48"), "frame is '48'; give HEIGHTxWIDTH in pixels, for example 480x640"),
            (("--frame", "20000x20000"), "a frame of 20000x20000 has 400 megapixels; 100 are the most"),
            (("--budget", "small"), "budget part 'small' is not WHAT<=NUMBER[UNIT]"),
            (("--threads", "-2"), "threads is -2; it must be 1 or above"),
        ],
    )
    def test_settings(self, more, sentence, reference, copy_of, capsys):
        run = copy_of(reference)
        before = contents(run)
        assert main(["export", str(run), *more]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith(f"eyas export: {sentence}")
        assert contents(run) == before

    def test_what_is_no_run(self, reference, tmp_path, capsys):
        for place in (tmp_path, tmp_path / "run", reference / "teacher", reference / "student" / "model.safetensors"):
            assert main(["export", str(place)]) == 2
            (told,) = capsys.readouterr().err.splitlines()
            assert told == f"eyas export: {place} is not a run; give the --out of eyas fit or eyas train"
        assert not list(tmp_path.iterdir())


def test_a_supervised_run(photos, tmp_path: Path) -> None:
    out = tmp_path / "run"
    lesson = ["--training.epochs", "0.1", "--training.min_steps", "3", "--training.batch", "16"]
    assert main(["train", str(photos.labelled), "--out", str(out), "--arch", "mobilenet_v1x0.25@32", *lesson]) == 0
    found = eyas.export(out, threads=2)
    assert found.artifacts["onnx"]["latency"]["threads"] == 2
    assert found.folder == out / "artifacts"
