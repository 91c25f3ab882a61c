import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from eyas.arch.ops import conv, separable
from eyas.arch.parse import parse
from eyas.arch.spec import Arch, Stage
from eyas.deploy.ladder import climb, lost, share
from eyas.deploy.parity import CONTRACTS, Classes, Parity, agreed, check, reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import TARGETS
from eyas.errors import UserError
from eyas.nn.build import build
from eyas.nn.detectors import build_detector
from eyas.nn.equalize import divide, joints
from eyas.nn.fold import folded
from eyas.progress import listening
from tests.fakes import lively, pictures
from tests.heard import Heard

CONTRACT = agreed("int8", 0.005)
CLASSES = ("a", "b", "c", "d")
RUNGS = ["plain", "equalized", "percentile", "mse", "floats", "tuned"]


@pytest.fixture(scope="module")
def small():
    """A small network of Eyas whose answers differ from image to image, ready to ship."""
    arch = Arch("small", (Stage(conv, 3, 2, 8), Stage(separable, 3, 1, 16), Stage(separable, 3, 2, 16)), 16)
    made = build(arch, nn.Linear(arch.features, len(CLASSES)))
    network = lively(made, made.classify)
    return Shipment(network, "small", CLASSES, 16, calibration=pictures(32, 16).numpy())


class Plain:
    """A format that is written at once; each layer in float takes 100 bytes more."""

    precision = "int8"
    file = "model.bin"
    runs_on_devices = False

    def build(self, shipment, quantization):
        weights = shipment.network.state_dict()
        head = weights.get("head.weight", next(iter(weights.values())))  # a detector has no head of a classifier
        made = (head.numpy().tobytes(), quantization.ranges.encode())
        return {self.file: b"".join(made).ljust(1000 + 100 * len(quantization.floats))}, {}

    def open(self, *_):
        return lambda images: np.zeros((len(images), len(CLASSES)), np.float32)

    def runtime(self):
        return "none"


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setitem(TARGETS, "plain-int8", Plain())


def parity(drop, agreement=0.99):
    return Parity(1000, agreement, 0.1, 0.01, 0.9, 0.9 - drop, lost=round(max(drop, 0) * 1000), won=0)


def deep():
    """The same with 34 layers."""
    arch = Arch("deep", (Stage(conv, 3, 2, 8), Stage(separable, 3, 1, 8, 16)), 16)
    made = build(arch, nn.Linear(arch.features, len(CLASSES)))
    return Shipment(lively(made, made.classify), "deep", CLASSES, 16, calibration=pictures(8, 16).numpy())


class Judge:
    """Says of each file in turn what it is told to say, and remembers the files."""

    def __init__(self, *told):
        self.told, self.seen, self.side = list(told), [], 16

    def __call__(self, artifact):
        self.seen.append(artifact)
        assert artifact.predictor()(np.zeros((1, self.side, self.side, 3), np.uint8)).shape[0] == 1
        return self.told[len(self.seen) - 1] if len(self.seen) <= len(self.told) else self.told[-1]


def never(*_):
    raise AssertionError("nothing was to be trained")


def test_a_file_that_loses_little_ends_the_ladder(small, tmp_path):
    climbed = climb(small, tmp_path, "plain-int8", Judge(parity(0.004)), never, CONTRACT)
    assert [step.rung for step in climbed.steps] == ["plain"]
    assert climbed.enough and climbed.taken == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact.json", "ladder.json", "model.bin"]
    assert climbed.artifact.path == tmp_path / "model.bin"


def test_each_rung_is_tried_only_when_the_one_before_lost_too_much(small, tmp_path):
    judge = Judge(parity(0.05), parity(0.02), parity(0.03), parity(0.001))
    climbed = climb(small, tmp_path, "plain-int8", judge, never, CONTRACT)
    assert [step.rung for step in climbed.steps] == RUNGS[:4]
    assert climbed.taken == 3 and climbed.parity == parity(0.001)
    assert [step.ranges for step in climbed.steps] == ["minmax", "minmax", "percentile", "mse"]
    facts = json.loads((tmp_path / "ladder.json").read_text())
    assert facts["max_drop"] == 0.005 and facts["taken"] == 3 and facts["enough"]
    assert [step["parity"]["artifact"] for step in facts["steps"]] == pytest.approx([0.85, 0.88, 0.87, 0.899])
    assert "loses 5.00pt and may lose 0.5pt" in facts["steps"][0]["why"]
    assert "no better" in facts["steps"][2]["why"] and "ends" in facts["steps"][3]["why"]
    assert all(step["bytes"] > 0 for step in facts["steps"])


def test_where_none_is_enough_the_best_is_taken_and_said_to_be_that(small, tmp_path):
    tuned = []

    def tune(shipment, floats):
        assert floats == ()
        tuned.append(shipment)
        return folded(shipment.network)

    told = [parity(drop) for drop in (0.05, 0.02, 0.03, 0.04, 0.03, 0.06)]
    climbed = climb(small, tmp_path, "plain-int8", Judge(*told), tune, CONTRACT)
    assert [step.rung for step in climbed.steps] == RUNGS
    assert not climbed.enough and climbed.taken == 1 and len(tuned) == 1
    assert tuned[0].network is not small.network  # the best so far is trained on, which is the equalized one
    assert json.loads((tmp_path / "ladder.json").read_text())["taken"] == 1


def test_an_answer_won_is_luck_and_a_file_that_breaks_its_contract_is_not_the_best(small, tmp_path):
    told = [replace(parity(-0.02, agreement=0.7), won=20), replace(parity(0.01), lost=30, won=20)]
    climbed = climb(small, tmp_path, "plain-int8", Judge(*told), lambda given, _: folded(given.network), CONTRACT)
    assert "gives the trained network's answer on 70.0%" in climbed.steps[0].why
    assert climbed.taken == 1


def test_more_layers_stay_in_float_as_long_as_that_helps(tmp_path):
    deeper = deep()
    judge = Judge(*map(parity, (0.08, 0.09, 0.09, 0.09, 0.06, 0.04, 0.05, 0.07)))
    kept = []

    def tune(given, floats):
        kept.append(floats)
        return folded(given.network)

    climbed = climb(deeper, tmp_path, "plain-int8", judge, tune, CONTRACT)
    floats = [step for step in climbed.steps if step.rung == "floats"]
    assert [len(step.floats) for step in floats] == [1, 2, 4]  # of four no gain came, so eight are not tried
    assert floats[2].floats[:2] == floats[1].floats and floats[1].floats[:1] == floats[0].floats
    assert set(floats[2].floats) <= {name for name, _ in deeper.network.named_modules()}
    assert climbed.steps[-1].rung == "tuned"
    assert kept == [climbed.steps[-1].floats] == [floats[1].floats]  # the best so far, changed in one respect
    assert climbed.steps[climbed.taken].floats == floats[1].floats
    assert climbed.artifact.bytes == climbed.steps[0].bytes + 200


def test_layers_are_not_kept_in_float_in_a_file_that_is_too_large(small, tmp_path):
    told = [parity(0.05), parity(0.05), parity(0.05), parity(0.05), parity(0.0), parity(0.05)]
    climbed = climb(small, tmp_path, "plain-int8", Judge(*told), lambda given, _: folded(given.network), CONTRACT, 1000)
    assert "larger than it may be" in next(step.why for step in climbed.steps if step.rung == "floats")
    assert climbed.steps[-1].rung == "tuned" and climbed.artifact.bytes == climbed.steps[0].bytes


def test_a_file_that_no_way_makes_small_enough_ends_the_ladder(small, tmp_path):
    """Nothing is trained for a file that may not ship."""
    with listening(heard := Heard()):
        climbed = climb(small, tmp_path / "over", "plain-int8", Judge(parity(0.05)), never, CONTRACT, largest=990)
    assert [step.rung for step in climbed.steps] == ["plain"] and not climbed.enough
    assert "no other way makes it smaller: the ladder ends" in climbed.steps[0].why
    assert heard.said == [f"plain-int8: {climbed.steps[0].why}"]
    nearly = Judge(parity(0.05), parity(0.001))  # by a few bytes: these differ from way to way
    assert len(climb(small, tmp_path / "nearly", "plain-int8", nearly, never, CONTRACT, largest=999).steps) == 2


class Foreign(nn.Module):
    """A network that is none of Eyas."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, len(CLASSES))

    def forward(self, images):
        return self.head(images.float().mean((1, 2)))


def test_of_a_network_of_others_only_the_ranges_are_chosen(small, tmp_path):
    foreign = replace(small, network=Foreign())
    climbed = climb(foreign, tmp_path, "plain-int8", Judge(parity(0.05)), never, CONTRACT)
    assert [step.tried for step in climbed.steps] == [True, False, True, True, False, False]
    assert all("no network of Eyas" in step.why for step in climbed.steps if not step.tried)


def test_a_network_that_cannot_be_equalized_is_told_why(small, tmp_path):
    arch = replace(small.network.arch, activation="silu")
    made = build(arch, nn.Linear(arch.features, len(CLASSES)))
    silu = replace(small, network=lively(made, made.classify))
    climbed = climb(silu, tmp_path, "plain-int8", Judge(parity(0.05), parity(0)), never, CONTRACT)
    assert [(step.rung, step.tried) for step in climbed.steps] == [("plain", True), ("equalized", False), ("percentile", True)]
    assert "not for SiLU or hard swish" in climbed.steps[1].why


def test_a_detector_is_neither_equalized_nor_taught_and_is_told_why(small, tmp_path):
    made = build_detector(parse("mobilenet_v1x0.1@32"), "ssd", len(CLASSES))
    images = pictures(8, 32).numpy()
    found = replace(small, network=made, resolution=32, calibration=images, kind="detect")
    judge = Judge(parity(0.05))
    judge.side = 32
    climbed = climb(found, tmp_path, "plain-int8", judge, None, CONTRACT)
    why = {step.rung: step.why for step in climbed.steps if not step.tried}
    assert "it is a detector, whose heads read maps between the layers" in why["equalized"]
    assert "cannot be taught by another one's" in why["tuned"]
    assert {step.rung for step in climbed.steps if step.tried} == {"plain", "percentile", "mse", "floats"}


def test_a_ladder_that_was_killed_ends_in_the_same_bytes(small, tmp_path):
    told = (parity(0.05), parity(0.0))
    whole = climb(small, tmp_path / "whole", "plain-int8", Judge(*told), never, CONTRACT)

    class Killed(Judge):
        def __call__(self, artifact):
            super().__call__(artifact)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        climb(small, tmp_path / "killed", "plain-int8", Killed(*told), never, CONTRACT)
    again = climb(small, tmp_path / "killed", "plain-int8", Judge(*told), never, CONTRACT)
    assert again.artifact.files == whole.artifact.files
    assert (tmp_path / "killed" / "ladder.json").read_bytes() == (tmp_path / "whole" / "ladder.json").read_bytes()


def test_equalization_repairs_a_file_that_plain_int8_breaks(small, tmp_path):
    worse = folded(small.network)
    _, depthwise, pointwise, *_ = joints(worse)
    divide(depthwise, 300.0 ** torch.linspace(0, 1, depthwise.source.layer.outputs))
    divide(pointwise, 300.0 ** torch.linspace(1, 0, pointwise.source.layer.outputs))
    asked = pictures(200, 16, seed=5).numpy()
    labels = reference_of(small.network)(asked).argmax(1)
    assert check(reference_of(small.network), reference_of(worse), asked, Classes(labels)).agreement == 1

    def judge(artifact):
        return check(reference_of(worse), artifact.predictor(), asked, Classes(labels))

    climbed = climb(replace(small, network=worse), tmp_path, "onnx-int8", judge, never, agreed("int8", 0.04))
    assert [step.rung for step in climbed.steps] == ["plain", "equalized"]
    assert lost(climbed.steps[0].parity) > 0.1
    assert climbed.enough


@pytest.mark.parametrize(("text", "found"), [("0.5pt", 0.005), ("0pt", 0.0), (" 2 pt ", 0.02)])
def test_points_are_read(text, found):
    assert share(text) == pytest.approx(found)


@pytest.mark.parametrize("text", ["0.5", "0.5%", "pt", "-1pt", "101pt", ""])
def test_what_are_no_points_is_refused(text):
    with pytest.raises(UserError, match=r"for example 0\.5pt"):
        share(text)


def test_only_int8_may_lose_what_is_asked_for():
    assert agreed("int8", 0.01) == replace(CONTRACTS["int8"], max_drop=0.01)
    assert agreed("float16", 0.01) == CONTRACTS["float16"]
