"""Accuracy on labelled images, and only on those that the run has never seen."""

import json
import shutil
from pathlib import Path

import pytest

import eyas
from eyas.arch.parse import parse
from eyas.cli import main
from eyas.nn.weights import save_network
from eyas.recipe import Splits, Training
from eyas.run import Run, read_json
from eyas.studies.learning import start
from eyas.studies.prepare import prepare
from tests.images import encoded, image, put
from tests.scenes import write_scenes

pytestmark = pytest.mark.xdist_group("fit")


class TestSeen:
    def test_images_of_the_run_are_left_out(self, reference, photos):
        found = eyas.evaluate(str(reference), str(photos.labelled))
        assert (found.accuracy.images, found.seen, found.unreadable) == (16, 64, 1)
        fitted = read_json(reference / "test" / "stage.json")["result"]["fitted"]
        assert found.accuracy.value == fitted["accuracy"]["value"]
        assert found.confusion == fitted["confusion"]

    def test_whatever_their_files_are_called(self, reference, photos, tmp_path, capsys):
        store = read_json(reference / "data" / "audit.json")
        assert store["splits"]["train"] == 48
        for number, file in enumerate(sorted(photos.pile.glob("*.png"))[:6]):
            put(tmp_path / "copies" / ("bar" if "-b" in file.name else "dot") / f"{number}.png", file.read_bytes())
        put(tmp_path / "copies" / "dot" / "new.png", encoded(image(99, 40, 40), "PNG"))
        assert main(["evaluate", str(reference), str(tmp_path / "copies"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["seen"], found["accuracy"]["images"]) == (6, 1)

    def test_copies_of_test_images_in_the_pile_were_not_seen(self, tmp_path):
        """The leak firewall had dropped them before anything was learned."""
        data, pile, out = tmp_path / "data", tmp_path / "pile", tmp_path / "run"
        write_scenes(data, 10, seed=3)
        shutil.copytree(data, pile)
        with Run.open(out) as run:
            ready = prepare(run, str(data), str(pile), 0, Splits(), 32, 0)
            assert ready.findings["pile"]["equal_to_test"] == 4
            (out / "model").mkdir()
            network = start(parse("mobilenet_v1x0.25@32")).network(ready.classes, Training(), 0)
            save_network(network, out / "model" / "model.safetensors", ready.classes)
        found = eyas.evaluate(out, data)
        assert (found.accuracy.images, found.seen) == (4, 16)

    def test_nothing_else_is_there(self, reference, photos, tmp_path, capsys):
        for file in sorted(photos.pile.glob("*.png")):
            put(tmp_path / "copies" / ("bar" if "-b" in file.name else "dot") / file.name, file.read_bytes())
        assert main(["evaluate", str(reference), str(tmp_path / "copies")]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.endswith(f"no image of {tmp_path / 'copies'} can be used: 0 unreadable, 60 seen in training")


class TestData:
    def test_a_split_of_its_own_is_taken(self, reference, tmp_path):
        write_scenes(tmp_path / "data" / "train", 2, seed=11)
        write_scenes(tmp_path / "data" / "test", 3, seed=12)
        assert eyas.evaluate(reference, tmp_path / "data").accuracy.images == 6
        assert eyas.evaluate(reference, tmp_path / "data", split="train").accuracy.images == 4
        assert eyas.evaluate(reference, tmp_path / "data", split="all").accuracy.images == 10

    def test_reads_well(self, reference, tmp_path, capsys):
        data = write_scenes(tmp_path / "data", 4, seed=13)
        put(data / "bar" / "broken.png", b"")
        assert main(["evaluate", str(reference), str(data)]) == 0
        first, second, *recalls = capsys.readouterr().out.splitlines()
        assert first.startswith("accuracy ")
        assert first.endswith(" on 8 images")
        assert second == "left out: 0 that the run had seen, 1 that cannot be read"
        assert [line.split(":")[0] for line in recalls] == ["  bar", "  dot"]

    @pytest.mark.parametrize(
        ("classes", "more", "sentence"),
        [
            (("bar", "cat"), (), "has the class 'cat', which"),
            (("bar", "dot"), ("--split", "test"), "the data has no test split; choose another with --split, or all"),
            (("bar", "dot"), ("--split", "tset"), "--split is 'tset'; it must be one of 'auto', 'all', "),
        ],
    )
    def test_that_cannot_be_evaluated(self, classes, more, sentence, reference, tmp_path, capsys):
        for seed, name in enumerate(classes):
            put(tmp_path / "data" / name / "image.png", encoded(image(seed), "PNG"))
        assert main(["evaluate", str(reference), str(tmp_path / "data"), *more]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (told,) = shown.err.splitlines()
        assert sentence in told

    def test_leaves_nothing_behind(self, reference, photos):
        before = sorted(reference.rglob("*"))
        eyas.evaluate(reference, photos.labelled)
        assert sorted(reference.rglob("*")) == before


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"eyas evaluate: no run at {tmp_path / 'run'}")
