import numpy as np
import pytest
import torch
from torch.nn import functional

from eyas.data.batches import Batch, Part
from eyas.learn.device import choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.recipe import Augment, Training
from eyas.tasks.classify import Classify
from eyas.tasks.consistency import Answers, Consistency
from tests.fakes import COLOURS, colours, stream_of, tiny

TASK = Consistency(Classify(COLOURS, smoothing=0.1), threshold=0.8, weight=0.5)
NOISY = Augment(operations=2, magnitude=9, crop=0.5, erase=0.5)


def batch(labelled: list[bool]) -> Batch:
    rows = torch.tensor(labelled)
    images = torch.zeros(len(rows), 4, 4, 3, dtype=torch.uint8)
    targets = torch.eye(3)[torch.arange(len(rows)) % 3] * rows[:, None]
    return Batch(images, targets, rows, images[~rows])


def test_sure_answers_are_learned_and_others_are_not():
    given = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    weak = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]])  # sure of the first colour; not sure of anything
    losses = TASK.loss(Answers(given, weak), batch([True, True, False, False]))
    assert list(losses) == ["labelled", "consistency"]
    sure = functional.cross_entropy(given[2:3], torch.tensor([0]))
    torch.testing.assert_close(losses["consistency"], 0.5 * sure / 2)  # the mean over both
    people = functional.cross_entropy(given[:2], torch.tensor([0, 1]), label_smoothing=0.1)
    torch.testing.assert_close(losses["labelled"], people)


def test_nothing_is_learned_through_the_weak_view():
    given, weak = torch.randn(3, 3, requires_grad=True), (9 * torch.eye(3)[:2]).requires_grad_()
    TASK.loss(Answers(given, weak), batch([True, False, False]))["consistency"].backward()
    assert given.grad is not None and given.grad[1:].abs().sum() > 0
    assert weak.grad is None


class TestStream:
    def test_weak_views_are_the_same_images_cropped_and_mirrored_alike(self):
        """With noise of no operations the strong view is the weak one."""
        labelled, pile = Part(colours(9), 3), Part(colours(12, labelled=False), 6, weak=True)
        plain = stream_of(labelled, pile, choice=Augment(operations=0, crop=0.5)).at(0)
        assert plain.weak is not None and torch.equal(plain.weak, plain.images[3:])
        noisy = stream_of(labelled, pile, choice=NOISY).at(0)
        assert noisy.weak is not None and not torch.equal(noisy.weak, noisy.images[3:])

    def test_there_are_none_unless_asked_for(self):
        assert stream_of(Part(colours(9), 3), choice=NOISY).at(0).weak is None

    def test_parts_of_a_batch_keep_views_together(self):
        labelled, pile = Part(colours(9), 4), Part(colours(12, labelled=False), 6, weak=True)
        whole = stream_of(labelled, pile, choice=Augment(operations=0, crop=0.5)).at(0)
        for part in whole.parts(3):
            assert part.weak is not None and torch.equal(part.weak, part.images[~part.labelled])

    def test_a_source_may_have_noise_of_its_own(self):
        none = Augment(operations=0, crop=1.0)
        given, alone = colours(8), stream_of(Part(colours(8), 8), choice=none)
        mixed = stream_of(Part(given, 8, augment=none), Part(given, 8), choice=NOISY).at(0)
        assert torch.equal(mixed.images[:8], alone.at(0).images)


def test_a_network_learns_from_both():
    training = Training(rate=0.01, ema=0.8, dropout=0, drop_path=0)
    state = State.new(tiny(training), training, 0)
    pile = colours(48, seed=2, labelled=False)
    pile = type(pile)(pile.store, pile.positions, np.zeros_like(pile.targets), labelled=False)
    stream = stream_of(Part(colours(24), 8), Part(pile, 16, weak=True), choice=Augment(operations=1, magnitude=2, crop=0.8))
    task = Consistency(Classify(COLOURS), threshold=0.6)
    steps = list(train(state, task, stream.run(0, 30), training, 30, choose()))
    losses = [step.losses["labelled"].item() for step in steps]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert steps[0].losses["consistency"].item() == pytest.approx(0, abs=0.3)
    assert steps[-1].losses["consistency"].item() > 0
