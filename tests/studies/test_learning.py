"""What the settings of training make of the images of a lesson."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from eyas.arch.parse import parse
from eyas.data.batches import Examples, Part
from eyas.data.manifest import Manifest, Split
from eyas.recipe import Augment, Training
from eyas.studies import learning
from eyas.studies.learning import Exam, Lesson, learn, start
from eyas.studies.log import read_log
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
from eyas.tasks.embed import Embed
from tests.fakes import COLOURS, colours, tiny


def uneven(seed: int) -> Examples:
    """Twelve images of the first colour for three of each other."""
    found = colours(36, seed)
    truth = found.targets.argmax(1)
    kept = np.concatenate([np.flatnonzero(truth == 0), *(np.flatnonzero(truth == k)[:3] for k in (1, 2))])
    return Examples(found.store, found.positions[kept], found.targets[kept], labelled=True)


class Uneven(Data):
    """Data without files."""

    def examples(self, split: Split) -> Examples:
        return uneven(("train", "validation", "test").index(split))


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """Trains for a step; what the loop was given."""

    def run(training: Training) -> SimpleNamespace:
        given = SimpleNamespace()
        original = learning.train

        def noted(state, task, batches, *rest):
            given.task, given.targets = task, []
            for batch in batches:
                given.targets.append(batch.targets)
                yield from original(state, task, [batch], *rest)

        monkeypatch.setattr(learning, "train", noted)
        images = uneven(0).store
        data = Uneven(Manifest.of({"id": images.ids, "source": images.ids}), None, COLOURS, {}, images, None, "")
        lesson = Lesson("test", Classify(COLOURS, 0.1), (Part(data.examples("train"), 18),), 4, training, 0)
        learn(tmp_path, tiny(training), lesson, data)
        monkeypatch.setattr(learning, "train", original)
        return given

    return run


PLAIN = Augment(operations=0, crop=1.0, flips="none")


def test_images_are_drawn_as_they_are_unless_asked(taught):
    given = taught(Training(augment=PLAIN))
    assert torch.stack([targets.sum(0) for targets in given.targets]).tolist() == [[12, 3, 3]] * 4
    assert given.task == Classify(COLOURS, 0.1)


def test_balanced_classes_come_equally_often(taught):
    given = taught(Training(augment=PLAIN, class_balance=1.0))
    counts = torch.stack([targets.sum(0) for targets in given.targets]).mean(0)
    assert counts.tolist() == pytest.approx([6, 6, 6], abs=1)


def test_balanced_weights_go_into_the_loss(taught):
    assert taught(Training(class_weights="balanced")).task.weights == pytest.approx((0.5, 2.0, 2.0))


def test_a_pile_is_left_as_it_was_chosen():
    pile = Part(colours(6, labelled=False), 2)
    assert learning._drawn(pile, Training(class_balance=1.0)) is pile


class Sign:
    """A task whose first figure says how often the middle colour is not what a network answers."""

    def __init__(self) -> None:
        self.inner = Classify(COLOURS)

    def head(self, channels: int) -> nn.Module:
        return nn.Linear(channels, 3)

    def forward(self, model, batch):
        return model(batch.images)

    def loss(self, out, batch):
        return self.inner.loss(out, batch)

    def decode(self, out):
        return out

    def metrics(self, answers, targets):
        return {"other": (answers.argmax(1) != 1).float().mean().item(), "seen": float(len(targets))}


def test_any_task_is_judged_by_the_first_of_its_figures(tmp_path):
    images, training = uneven(0).store, Training(evaluate_every=2, augment=PLAIN)
    data = Uneven(Manifest.of({"id": images.ids, "source": images.ids}), None, COLOURS, {}, images, None, "")
    exam = Exam(Sign(), uneven(2), ("x", "y", "z"), "attributes")
    lesson = Lesson("test", Classify(COLOURS), (Part(uneven(0), 6),), 4, training, 0, exam)
    found = learn(tmp_path, tiny(training), lesson, data)
    told = [line["validation"] for line in read_log(tmp_path / "log.jsonl") if "validation" in line]
    assert [each["seen"] for each in told] == [18.0, 18.0]
    assert found["validation"] == max(each["other"] for each in told)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["eyas"])
    assert (facts["classes"], facts["task"]) == (["x", "y", "z"], "attributes")


def test_a_network_is_built_under_any_head():
    begin = start(parse("mobilenet_v1x0.25@32"), "none")
    wide = begin.under(Embed(width=7).head(begin.arch.features), Training(), 3)
    assert wide.head.out_features == 7
    plain, same = begin.network(("a", "b"), Training(), 3), begin.under(nn.Linear(begin.arch.features, 2), Training(), 3)
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in plain.state_dict().items())
