"""Training below the resolution of evaluation, fine-tuned at it: what the loop is given, and exact after a kill."""

from dataclasses import replace

import pytest
import torch

from eyas.data.batches import Part
from eyas.data.manifest import Manifest, Split
from eyas.nn.weights import tensors_of
from eyas.recipe import Augment, Training
from eyas.studies import learning
from eyas.studies.learning import LOG, MODEL, Lesson, learn
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
from tests.fakes import COLOURS, colours, tiny

TRAINING = Training(
    batch=10,
    rate=0.01,
    train_resolution=0.75,
    fine_tune=1.0,
    evaluate_every=3,
    checkpoint_every=2,
    ema=0.5,
    augment=Augment(operations=1, crop=0.5, flips="horizontal"),
)


class Colours(Data):
    """Data without files."""

    def examples(self, split: Split):
        return colours(60, seed=("train", "validation", "test").index(split))


def taught(folder, training=TRAINING, steps=6):
    images = colours(60)
    data = Colours(Manifest.of({"id": images.store.ids, "source": images.store.ids}), None, COLOURS, {}, images.store, None, "")
    pile = Part(colours(30, seed=9, labelled=False), 10)
    lesson = Lesson("test", Classify(COLOURS, 0.1), (Part(data.examples("train"), 10), pile), steps, training, 0)
    folder.mkdir(exist_ok=True)
    return learn(folder, tiny(training), lesson, data)


@pytest.fixture
def noted(monkeypatch):
    """What the loop is given: side, labelled images and noise of every step, and the weights when a phase begins."""
    seen, begun, original = [], [], learning.train

    def train(state, task, batches, recipe, *rest):
        begun.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
        for step in original(state, task, batches, recipe, *rest):
            batch = step.batch
            seen.append((batch.images.shape[1], int(batch.labelled.sum()), len(batch), recipe.augment.operations))
            yield step

    monkeypatch.setattr(learning, "train", train)
    return seen, begun


def test_small_and_noisy_first_then_labelled_images_at_the_resolution_of_evaluation(tmp_path, noted):
    seen, _ = noted
    found = taught(tmp_path / "a")
    assert seen == [(12, 10, 20, 1)] * 6 + [(16, 10, 10, 0)] * 6
    assert found["steps"] == 12
    assert {file.name for file in (tmp_path / "a").iterdir() if file.name[0] != "."} == {MODEL, LOG}


def test_the_fine_tune_begins_with_the_best_weights_and_leaves_shallow_stages_alone(tmp_path, noted):
    _, begun = noted
    found = taught(tmp_path / "a", replace(TRAINING, fine_tune=4.0), steps=20)
    assert found["best_step"] > 20, "the fine-tune was to be kept here"
    kept = tensors_of(tmp_path / "a" / MODEL)
    # Two of the three stages work on larger maps than the last: the stem and one block.
    same = {name for name in kept if torch.equal(kept[name], begun[1][name])}
    assert {name for name in kept if name.startswith(("blocks.0.", "blocks.1."))} <= same
    assert not [name for name in kept if name.startswith(("blocks.4.", "head.")) and name in same and kept[name].ndim]


def test_killed_at_any_step_and_begun_again_gives_the_same_bytes(tmp_path, monkeypatch):
    whole = taught(tmp_path / "whole")
    original = learning.train
    for moment in (5, 8):
        count = 0

        def killed(*given, moment=moment):
            nonlocal count
            for step in original(*given):
                count += 1
                if count == moment:
                    raise KeyboardInterrupt
                yield step

        place = tmp_path / str(moment)
        monkeypatch.setattr(learning, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            taught(place)
        monkeypatch.setattr(learning, "train", original)
        assert taught(place) == whole
        for name in (MODEL, LOG):
            assert (place / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_evaluation_is_at_its_own_resolution_and_crop(tmp_path, monkeypatch):
    asked, original = [], learning.in_order

    def in_order(examples, resolution, *rest, view=1.0, **more):
        asked.append((resolution, view))
        return original(examples, resolution, *rest, view=view, **more)

    monkeypatch.setattr(learning, "in_order", in_order)
    taught(tmp_path / "a", replace(TRAINING, fine_tune=0.0))
    assert set(asked) == {(16, 1.0)}
