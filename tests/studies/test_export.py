"""Files that ship: the run's own are kept, others are made beside them, and promises are held."""

import json
from pathlib import Path

import pytest

import eyas
from eyas.cli import main
from eyas.deploy.target import Artifact
from eyas.run import ATTIC
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

    def test_holds_the_file_against_the_run_s_budget(self, reference, copy_of, capsys):
        run = copy_of(reference)
        assert main(["export", str(run), "--to", "onnx"]) == 1
        shown = capsys.readouterr()
        told = shown.err.splitlines()[-1]
        assert told.startswith(f"eyas export: exported to {run / 'artifacts'}, but not fit to ship: onnx: size ")
        assert told.endswith(" is over 350KB")
        assert shown.out == ""


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            (("--to", "onnx", "tflite"), "no export target 'tflite'; there are onnx, onnx-int8"),
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
