"""The main job from end to end: what a user finds after it, and after asking again, otherwise, or for too much."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import eyas
from eyas.cli import main
from eyas.deploy import ladder
from eyas.deploy.target import Artifact
from eyas.recipe import Training, from_dict
from eyas.run import ATTIC, read_json
from eyas.studies import ship
from tests.studies.conftest import contents

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fit")]

STAGES = (
    *("data", "plan", "teacher", "round-1/labels", "round-1/selection", "round-1/student", "round-1/control"),
    *("round-1/verdict", "student", "artifacts/onnx", "artifacts/onnx-int8", "test"),
)


def superseded(run: Path) -> set[str]:
    """Stages whose earlier result was moved aside."""
    attic = run / ATTIC
    return {entry.name.split("-", 1)[1] for entry in attic.iterdir()} if attic.exists() else set()


class TestRun:
    def test_every_stage_is_done(self, reference):
        assert all((reference / stage / "stage.json").exists() for stage in STAGES)
        assert {"recipe.json", "result.json", "report.html", "MODEL_CARD.md"} <= {file.name for file in reference.iterdir()}

    def test_leaves_no_scratch(self, reference):
        assert [file.name for file in reference.rglob(".*")] == [".eyas-run"]

    def test_learns(self, reference):
        test = read_json(reference / "test" / "stage.json")["result"]
        assert all(test[name]["accuracy"]["value"] >= 0.8 for name in ("teacher", "control", "student", "fitted"))

    def test_the_file_that_ships_keeps_the_budget(self, reference):
        artifact = Artifact.load(reference / "artifacts" / "onnx-int8")
        assert artifact.status == "accepted"
        assert artifact.path.stat().st_size == artifact.bytes <= 350_000
        assert Artifact.load(reference / "artifacts" / "onnx").status == "rejected"

    def test_the_recipe_holds_defaults_too(self, reference, photos):
        recipe = read_json(reference / "recipe.json")
        assert recipe["data"] == str(photos.labelled)
        assert (recipe["budget"], recipe["training"]["rate"]) == ("size<=350KB", 0.01)
        assert (recipe["self_training"]["threshold"], recipe["splits"]["test"], recipe["seed"]) == (0.6, 0.2, 0)

    def test_odd_files_are_used_or_listed_with_the_reason(self, reference, photos):
        with (reference / "data" / "quarantine.csv").open() as file:
            listed = {row["id"]: row["reason"] for row in csv.DictReader(file)}
        refused = {f"odd/{name}": reason for name, reason in photos.odd.items() if reason and name != "folder.jpg"}
        assert listed.keys() == {"bar/cut.png", *refused}
        assert all(listed[id].startswith(reason) for id, reason in refused.items())
        used = set(pq.read_table(reference / "data" / "pile.parquet")["id"].to_pylist())
        assert used >= {f"odd/{name}" for name, reason in photos.odd.items() if reason is None}
        assert len(used) == 60 + 9

    def test_no_file_of_the_user_is_touched(self, reference, photos):
        assert reference.exists()
        assert contents(photos.labelled.parent) == photos.before


class TestAgain:
    def test_keeps_every_stage_and_changes_no_file(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        assert main(photos.fit(run)) == 0  # the recipe names another directory now
        before = contents(run)
        capsys.readouterr()
        assert main(photos.fit(run)) == 0
        told = capsys.readouterr().err
        assert all(f"{stage}: done before, kept" in told for stage in STAGES)
        assert {name: content for name, (_, content) in contents(run).items()} == {
            name: content for name, (_, content) in before.items()
        }
        stages = [name for name in before if "/" in name]
        assert [contents(run)[name][0] for name in stages] == [before[name][0] for name in stages]

    def test_another_budget_does_again_what_depends_on_it(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        assert main(photos.fit(run, "--budget", "size<=700KB")) == 0
        files = {"artifacts-onnx", "artifacts-onnx-int8", "artifacts-openvino-int8"}
        assert superseded(run) == {"plan", "student", *files, "timing", "test"}
        assert read_json(run / "plan" / "stage.json")["result"]["chosen"]["arch"] == "mobilenet_v1x0.35@32/16"
        assert "artifacts/onnx-int8" in capsys.readouterr().out
        # The teacher itself fits now, so nothing is distilled.
        teacher, student = (run / name / "model.safetensors" for name in ("teacher", "student"))
        assert student.read_bytes() == teacher.read_bytes()
        kept = (reference / "student" / "model.safetensors").read_bytes()
        assert [file.read_bytes() for file in (run / ATTIC).glob("*-student/model.safetensors")] == [kept]

    def test_a_budget_that_nothing_fits_costs_no_result(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        assert main(photos.fit(run, "--budget", "size<=9KB")) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("eyas fit: nothing fits the budget size<=9KB: the smallest of")
        assert "mobilenet_v1x0.25@32/16 as onnx-int8" in told
        assert read_json(run / "recipe.json") == read_json(reference / "recipe.json")
        assert superseded(run) == {"plan"}
        assert main(photos.fit(run)) == 0
        assert superseded(run) == {"plan"}

    def test_without_pseudo_labels(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        assert main(photos.fit(run, "--self_training.ratio", "0")) == 0
        assert "Nothing was learned from the pile until the last distillation, as asked" in capsys.readouterr().out
        # A teacher sees as many images a step as its student will: without one, fewer.
        assert {"teacher", "student", "test"} <= superseded(run)


class TestBrokenPromise:
    def parity(self, patch: pytest.MonkeyPatch) -> str:
        patch.setattr(ship, "breaches", lambda *_: ["the exported file lies"])
        return "the exported file lies"

    def size(self, patch: pytest.MonkeyPatch) -> str:
        export = ship.export
        for room in (ship, ladder):
            patch.setattr(room, "export", lambda *given, **named: replace(export(*given, **named), bytes=350_001))
        return "size 350.001KB is over 350KB"

    @pytest.mark.parametrize("broken", [parity, size])
    def test_no_file_ships_and_the_report_says_why(self, broken, reference, photos, copy_of, monkeypatch, capsys):
        run = copy_of(reference)
        for name in ("report.html", "artifacts/onnx/stage.json", "artifacts/onnx-int8/stage.json"):
            (run / name).unlink()
        reason = broken(self, monkeypatch)
        assert main(photos.fit(run)) == 1
        told = capsys.readouterr()
        assert told.err.splitlines()[-1].startswith("eyas fit: no exported file keeps what was promised")
        assert reason in told.err
        assert told.out == ""
        assert reason in (run / "report.html").read_text()
        assert Artifact.load(run / "artifacts" / "onnx-int8").status == "rejected"


class TestRefused:
    """One sentence and exit 2, whatever is wrong with what was asked."""

    @pytest.fixture
    def refused(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def told(*words: object) -> str:
            assert main(["fit", *map(str, words)]) == 2
            shown = capsys.readouterr()
            assert shown.out == ""
            *before, sentence = shown.err.splitlines()
            news = ("✓", "the images are small: ")
            assert all(line.startswith(news) or line.endswith(": done before, kept") for line in before)
            assert sentence.startswith("eyas fit: ")
            return sentence.removeprefix("eyas fit: ")

        return told

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            (("--budget", "size<2MB"), "budget part 'size<2MB' is not WHAT<=NUMBER[UNIT]; for example"),
            (("--budget", "size<=2TB"), "budget part 'size<=2TB' has the unit 'TB'; size takes B, KB, MB, GB"),
            (("--budget", "weight<=2MB"), "budget cannot limit 'weight'; it limits size, madds, params, latency"),
            (("--budget", "size<=0"), "budget part 'size<=0' has no unit"),
            (("--arch", "mobilnet_v1"), "no architecture is named 'mobilnet_v1'; did you mean mobilenet_v1"),
            (("--arch", "mobilenet_v1@16"), "resolution 16 of mobilenet_v1: it must be at least the total stride, 32 pixels"),
            (("--training.rate", "-1"), "recipe Training.rate is -1.0; it must be above 0"),
            (("--self_training.threshold", "60"), "recipe SelfTraining.threshold is 60.0; it must be from 0 to 1"),
            (("--training.rat", "1"), "unexpected '--training.rat'; did you mean --training.rate?"),
            (("--training.batch", "many"), "--training.batch is 'many'; it must be a whole number"),
            (("--training.optimizer", "adam"), "--training.optimizer is 'adam'; it must be one of 'adamw', 'sgd', 'rmsprop'"),
            (("--labels", "66"), "66 labels asked for, 65 are there outside the test split"),
            (("--labels", "3"), "3 labels are too few for 2 classes; ask for 4 at least"),
            (("--seed", "-1"), "seed is -1; it must be 0 or above"),
            (("--threads", "-1"), "threads is -1; it must be 1 or above"),
            (("--unlabeled", "pille"), "no data at pille"),
            (("--config", "no.yaml"), "--config: File does not exist: "),
        ],
    )
    def test_settings(self, more, sentence, refused, photos, tmp_path):
        words = ("--config", Path(__file__).parents[1] / "fast.yaml", "--out", tmp_path / "run", *more)
        assert refused(photos.labelled, *words).startswith(sentence)

    def test_nothing_given(self, refused):
        assert refused() == "DATA and --out must be given; see eyas fit --help"

    def test_no_data(self, refused, tmp_path):
        assert refused(tmp_path / "photos", "--out", tmp_path / "run").startswith(f"no data at {tmp_path / 'photos'}")

    def test_an_empty_folder(self, refused, tmp_path):
        (tmp_path / "photos").mkdir()
        assert "holds no images; expected a folder for each class" in refused(tmp_path / "photos", "--out", tmp_path / "run")

    def test_one_class(self, refused, photos, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "bar").symlink_to(photos.labelled / "bar")
        assert "has one class only, 'bar'" in refused(tmp_path / "photos", "--out", tmp_path / "run")

    def test_a_class_with_one_image(self, refused, photos, tmp_path):
        (tmp_path / "photos" / "dot").mkdir(parents=True)
        (tmp_path / "photos" / "bar").symlink_to(photos.labelled / "bar")
        (tmp_path / "photos" / "dot" / "only.png").symlink_to(photos.labelled / "dot" / "dot0-d000.png")
        told = refused(tmp_path / "photos", "--out", tmp_path / "run", "--arch", "mobilenet_v1@32")
        assert told == "the class 'dot' has one usable image; add another, or take the class out"

    def test_a_file_in_the_way(self, refused, photos, tmp_path):
        (tmp_path / "run").write_text("mine")
        told = refused(photos.labelled, "--out", tmp_path / "run")
        assert told == f"cannot write a run to {tmp_path / 'run'}: File exists; give --out a directory you may write"
        assert (tmp_path / "run").read_text() == "mine"

    def test_a_directory_of_something_else(self, refused, photos, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        assert "is not empty and not a run of Eyas" in refused(photos.labelled, "--out", tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]

    def test_a_full_disk(self, refused, photos, tmp_path, monkeypatch):
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        told = refused(photos.labelled, "--out", tmp_path / "run", "--arch", "mobilenet_v1@32")
        assert "No space left on device" in told or "the disk is full" in told

    def test_a_damaged_checkpoint_is_told_and_the_training_done_again(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        (run / "teacher" / "stage.json").unlink()
        checkpoint = run / "teacher" / ".checkpoint-000000020-0123456789abcdef.safetensors"
        checkpoint.write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
        assert main(photos.fit(run)) == 0
        told = " ".join(capsys.readouterr().err.split())
        assert f"checkpoint {checkpoint} is damaged (its bytes are not those that were written)" in told
        assert "going on from the beginning" in told
        weights = (run / "teacher" / "model.safetensors").read_bytes()
        assert weights == (reference / "teacher" / "model.safetensors").read_bytes()
        assert not checkpoint.exists()


class TestResult:
    def test_json_holds_the_numbers(self, reference, photos, copy_of, capsys):
        run = copy_of(reference)
        assert main(photos.fit(run, "--json")) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["run"] == str(run)
        assert found["size"] == (run / "artifacts" / "onnx-int8" / "model.onnx").stat().st_size
        assert found["test"]["fitted"]["images"] == 16
        assert found["test"]["fitted"]["low"] < found["test"]["fitted"]["value"] <= 1
        assert found["latency_ms"] > 0

    def test_from_python_with_paths_as_text(self, reference, photos, copy_of):
        run = copy_of(reference)
        asked = read_json(reference / "recipe.json")
        lessons = {name: from_dict(Training, asked[name]) for name in ("training", "distillation")}
        found = eyas.fit(
            str(photos.labelled),
            unlabeled=str(photos.pile),
            budget="size<=350KB",
            out=str(run),
            arch="mobilenet_v1x0.35@32/16",
            **lessons,
        )
        assert superseded(run) == set()
        assert found.artifact == run / "artifacts" / "onnx-int8"
        assert found.report == run / "report.html"
        assert found.test["fitted"].images == 16
