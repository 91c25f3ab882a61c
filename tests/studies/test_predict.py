"""Answers to image files, as people and programs read them."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import eyas
from eyas.arch.parse import parse
from eyas.cli import main
from eyas.deploy import predict as page
from eyas.deploy.parity import reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import Artifact, export
from eyas.nn.build import build
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
        assert re.fullmatch(rf"{bar}: bar \d+\.\d%( \(not sure\))?", first)
        assert re.fullmatch(rf"{dot}: dot \d+\.\d%( \(not sure\))?", second)

    def test_are_those_that_evaluation_counts(self, reference, fresh):
        found = eyas.evaluate(reference, fresh)  # of the trained network
        truth = {str(file): file.parent.name for file in sorted(fresh.rglob("*.png"))}
        answers = eyas.predict(reference / "student", list(truth))
        matrix = np.zeros((2, 2), int)
        for answer in answers:
            matrix[found.classes.index(truth[answer.image]), found.classes.index(answer.label)] += 1
        assert matrix.tolist() == found.confusion
        assert found.accuracy.value == np.trace(matrix) / 20

    def test_hold_the_likeliest_classes(self, reference, fresh, capsys):
        image = str(fresh / "bar" / "bar7-b001.png")
        (answer,) = eyas.predict(str(reference), [image], top=2)
        assert [guess.label for guess in answer.top] == ["bar", "dot"]
        assert sum(guess.confidence for guess in answer.top) == pytest.approx(1, abs=1e-5)
        assert (answer.label, answer.confidence) == (answer.top[0].label, answer.top[0].confidence)
        assert main(["predict", str(reference), image, "--top", "2"]) == 0
        first, second = answer.top
        assert capsys.readouterr().out == f"{image}: bar {first.confidence:.1%}, dot {second.confidence:.1%}\n"

    def test_come_from_the_file_that_ships(self, reference, fresh):
        ships = json.loads((reference / "result.json").read_text())["ships"]
        images = [str(fresh)]
        of_run = list(eyas.predict(reference, images))
        assert of_run == list(eyas.predict(reference / "artifacts" / ships, images))
        assert len(of_run) == 20
        network = list(eyas.predict(reference / "student", images, batch=7))
        assert [answer.label for answer in of_run] == [answer.label for answer in network]
        assert [answer.confidence for answer in of_run] == pytest.approx([answer.confidence for answer in network], abs=0.1)

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


class TestArtifact:
    @pytest.fixture
    def artifact(self, reference, tmp_path):
        """An exported file that a test may spoil."""
        ships = json.loads((reference / "result.json").read_text())["ships"]
        return Path(shutil.copytree(reference / "artifacts" / ships, tmp_path / "artifact"))

    def command(self, *words, **options):
        """The command in a process of its own, which fails where it imports what takes seconds."""
        code = (
            "import sys; from eyas.cli import main; code = main(sys.argv[1:])\n"
            "late = {'torch', 'pyarrow', 'simplejpeg', 'pandas', 'timm'} & sys.modules.keys()\n"
            "sys.exit(f'imported {late}' if late else code)"
        )
        command = [sys.executable, "-c", code, "predict", *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def test_answers_as_its_page_does_to_the_last_digit_and_without_torch(self, artifact, fresh):
        (fresh / "bar" / "cut.png").write_bytes(b"no picture")
        words = [str(fresh), "--top", "2"]
        of_eyas = self.command(artifact, *words, "--json")
        lines, told = of_eyas.communicate(timeout=60)
        of_page = subprocess.run([sys.executable, artifact / "predict.py", *words], capture_output=True, text=True, timeout=60)
        assert len(lines.splitlines()) == 21
        assert lines == of_page.stdout
        assert of_eyas.returncode == of_page.returncode == 2
        assert told == "eyas predict: 1 of 21 could not be read; their lines say why\n"

    def test_answers_each_name_of_standard_input_as_it_comes(self, artifact, fresh):
        process = self.command(artifact, "-", stdin=subprocess.PIPE)
        for name in ("bar/bar7-b000.png", "dot/dot7-d000.png"):
            process.stdin.write(f"{fresh / name}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f"{fresh / name}: {name[:3]} ")
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (0, "")

    def test_is_also_meant_by_its_file(self, artifact, fresh):
        assert list(eyas.predict(artifact / "model.onnx", [str(fresh)])) == list(eyas.predict(artifact, [str(fresh)]))

    def test_that_was_rejected_answers_and_says_so(self, artifact, fresh, capsys):
        replace(Artifact.load(artifact), status="rejected").save()
        assert main(["predict", str(artifact), str(fresh / "bar" / "bar7-b000.png")]) == 0
        shown = capsys.readouterr()
        assert "bar7-b000.png: bar " in shown.out
        assert shown.err.startswith(f"{artifact} was rejected when it was checked")

    def test_with_a_threshold_says_where_it_is_not_sure(self, artifact, fresh, capsys):
        replace(Artifact.load(artifact), threshold=1.1).save()
        assert main(["predict", str(artifact), str(fresh / "bar" / "bar7-b000.png")]) == 0
        assert capsys.readouterr().out.endswith("% (not sure)\n")

    def test_that_is_spoilt_is_refused_in_a_sentence(self, artifact, fresh, capsys):
        (artifact / "model.onnx").write_bytes((artifact / "model.onnx").read_bytes()[:-9])
        assert main(["predict", str(artifact), str(fresh)]) == 2
        shown = capsys.readouterr()
        assert (shown.out, len(shown.err.splitlines())) == ("", 1)
        assert "model.onnx was changed or cut short after its export" in shown.err

    def test_that_breaks_on_the_first_picture_is_refused_in_a_sentence(self, artifact, fresh, capsys):
        replace(Artifact.load(artifact), resolution=50).save()
        assert main(["predict", str(artifact), str(fresh)]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert "model.onnx does not take the images that artifact.json tells of" in sentence

    def test_in_timm_s_layout_answers_by_timm(self, fresh, tmp_path):
        arch = parse("mobilenet_v2x0.35@32")
        network = build(arch, nn.Linear(arch.features, 2))
        export(Shipment(network, str(arch), ("bar", "dot"), 32), tmp_path / "timm", "timm")
        (answer,) = eyas.predict(tmp_path / "timm", [str(fresh / "bar" / "bar7-b000.png")])
        facts = page.about(tmp_path / "timm")
        (given,) = reference_of(network)(page.pixels(fresh / "bar" / "bar7-b000.png", facts)[None])
        assert answer.label == ("bar", "dot")[given.argmax()]
        assert answer.confidence == pytest.approx(given.max(), abs=1e-4)

    @pytest.mark.parametrize(("option", "least"), [("top", 1), ("threads", 0), ("batch", 1)])
    def test_numbers_out_of_range_are_refused(self, artifact, capsys, option, least):
        assert main(["predict", str(artifact), "a.png", f"--{option}", str(least - 1)]) == 2
        assert capsys.readouterr().err == f"eyas predict: --{option} is {least - 1}; it must be {least} or above\n"


class TestModel:
    def told(self, run: Path, capsys: pytest.CaptureFixture[str]) -> str:
        """The one sentence that the command says instead of answering."""
        assert main(["predict", str(run), "image.png"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (sentence,) = shown.err.splitlines()
        return sentence.removeprefix("eyas predict: ")

    def test_missing(self, tmp_path, capsys):
        expected = f"nothing at {tmp_path / 'run'}; give an artifact's folder, or the --out of eyas fit or eyas train"
        assert self.told(tmp_path / "run", capsys) == expected
        assert self.told(tmp_path, capsys).startswith(f"no trained model in {tmp_path}; give a finished run")

    def test_cut_short(self, reference, copy_of, capsys):
        model = copy_of(reference) / "student" / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-100])
        told = self.told(model.parent, capsys)
        assert told.startswith(f"{model} is not a model of Eyas, or is damaged: ")

    def test_of_another_program(self, tmp_path, capsys):
        (tmp_path / "model.safetensors").write_bytes(b"PK\x03\x04 a zip, or a pickle")
        assert "is not a model of Eyas, or is damaged" in self.told(tmp_path, capsys)

    def test_not_trained_to_the_end(self, reference, copy_of, capsys):
        run = copy_of(reference)
        (run / "student" / "stage.json").unlink()
        (run / "result.json").unlink()  # of a run that is not finished either
        told = self.told(run, capsys)
        assert told == f"the training in {run / 'student'} is not finished; give the command that began it again"
