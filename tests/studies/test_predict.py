"""Answers to image files, as people and programs read them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import eyas
from eyas.cli import main
from eyas.run import plain
from tests.scenes import write_scenes

pytestmark = pytest.mark.xdist_group("fit")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Ten pictures a class that no run has seen."""
    return write_scenes(tmp_path / "fresh", 10, seed=7)


class TestAnswers:
    def test_are_right(self, reference, fresh, capsys):
        bar, dot = (str(fresh / name / f"{name}7-{name[0]}000.png") for name in ("bar", "dot"))
        assert main(["predict", str(reference), bar, dot]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{bar}: bar ")
        assert second.startswith(f"{dot}: dot ")
        assert first.endswith("%")

    def test_are_those_that_evaluation_counts(self, reference, fresh):
        found = eyas.evaluate(reference, fresh)
        truth = {str(file): file.parent.name for file in sorted(fresh.rglob("*.png"))}
        answers = eyas.predict(reference, list(truth))
        matrix = np.zeros((2, 2), int)
        for answer in answers:
            matrix[found.classes.index(truth[answer.image]), found.classes.index(answer.label)] += 1
        assert matrix.tolist() == found.confusion
        assert found.accuracy.value == np.trace(matrix) / 20

    def test_hold_the_probability_of_every_class(self, reference, fresh):
        (answer,) = eyas.predict(str(reference), [str(fresh / "bar" / "bar7-b001.png")])
        assert answer.probabilities.keys() == {"bar", "dot"}
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answer.confidence == max(answer.probabilities.values()) == answer.probabilities[answer.label]

    def test_come_from_any_stage_and_from_a_file(self, reference, fresh, capsys):
        image = str(fresh / "bar" / "bar7-b002.png")
        for model in ("teacher", "round-1/student", "student/model.safetensors"):
            assert main(["predict", str(reference / model), image]) == 0
            assert capsys.readouterr().out.startswith(f"{image}: bar")

    def test_are_a_line_of_json_each(self, reference, fresh, capsys):
        images = [str(fresh / "dot" / f"dot7-d00{number}.png") for number in range(3)]
        assert main(["predict", str(reference), *images, "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [answer["image"] for answer in found] == images
        assert all(0.5 < answer["confidence"] <= 1 and not answer["error"] for answer in found)
        assert found == [json.loads(json.dumps(plain(asdict(answer)))) for answer in eyas.predict(reference, images)]


class TestUnreadable:
    def test_files_are_named_and_the_others_are_answered(self, reference, fresh, tmp_path, capsys):
        text = tmp_path / "notes.jpg"
        text.write_text("no picture")
        image = str(fresh / "bar" / "bar7-b000.png")
        assert main(["predict", str(reference), str(tmp_path / "gone.png"), image, str(text)]) == 2
        gone, answer, notes = capsys.readouterr().out.splitlines()
        assert gone.startswith(f"{tmp_path / 'gone.png'}: cannot be read: no such file")
        assert answer.startswith(f"{image}: bar")
        assert notes == f"{text}: cannot be read: not an image"

    def test_odd_files_are_answered_or_named(self, reference, photos):
        files = {str(photos.pile / "odd" / name): reason for name, reason in photos.odd.items()}
        for answer in eyas.predict(reference, list(files)):
            reason = files[answer.image]
            assert answer.error.startswith(reason) if reason else answer.label in ("bar", "dot")

    def test_in_json_too(self, reference, tmp_path, capsys):
        assert main(["predict", str(reference), str(tmp_path / "gone.png"), "--json"]) == 2
        (answer,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert answer["error"].startswith("no such file")
        assert answer["label"] is None


class TestModel:
    def told(self, run: Path, capsys: pytest.CaptureFixture[str]) -> str:
        assert main(["predict", str(run), "image.png"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (sentence,) = shown.err.splitlines()
        return sentence.removeprefix("eyas predict: ")

    def test_missing(self, tmp_path, capsys):
        assert self.told(tmp_path / "run", capsys) == f"no run at {tmp_path / 'run'}; give the --out of eyas fit or eyas train"
        assert self.told(tmp_path, capsys).startswith(f"no trained model in {tmp_path}; give a finished run")

    def test_cut_short(self, reference, copy_of, capsys):
        model = copy_of(reference) / "student" / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-100])
        told = self.told(model.parents[1], capsys)
        assert told.startswith(f"{model} is not a model of Eyas, or is damaged: ")

    def test_of_another_program(self, tmp_path, capsys):
        (tmp_path / "model.safetensors").write_bytes(b"PK\x03\x04 a zip, or a pickle")
        assert "is not a model of Eyas, or is damaged" in self.told(tmp_path, capsys)

    def test_not_trained_to_the_end(self, reference, copy_of, capsys):
        run = copy_of(reference)
        (run / "student" / "stage.json").unlink()
        told = self.told(run, capsys)
        assert told == f"the training in {run / 'student'} is not finished; give the command that began it again"
