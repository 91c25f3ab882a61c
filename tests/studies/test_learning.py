"""What the settings of training make of the images of a lesson."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eyas.data.batches import Examples, Part
from eyas.data.manifest import Manifest, Split
from eyas.recipe import Augment, Training
from eyas.studies import learning
from eyas.studies.learning import Lesson, learn
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
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
