from dataclasses import replace

import pytest
import torch

from eyas.data.batches import Batch
from eyas.tasks.classify import Classify
from eyas.tasks.small_loss import SmallLoss
from eyas.tasks.task import Task

TASK = Classify(("a", "b", "c"), smoothing=0.1)


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


def batch_of(labelled: list[bool]) -> Batch:
    targets = torch.eye(3)[torch.arange(len(labelled)) % 3]
    return Batch(torch.zeros(len(labelled), 2, 2, 3, dtype=torch.uint8), targets, torch.tensor(labelled))


def test_is_a_task():
    assert isinstance(SmallLoss(TASK, 0.4), Task)


@pytest.mark.parametrize(("share", "kept"), [(0.4, 6), (0.04, 10), (0.99, 1)])
def test_the_mean_of_the_smallest_losses(logits, share, kept):
    batch = batch_of([True] * 10)
    each = TASK.each(logits, batch).sort().values
    found = SmallLoss(TASK, share).loss(logits, batch)
    torch.testing.assert_close(found["labelled"], each[:kept].mean())


def test_what_is_dropped_gives_no_gradient(logits):
    logits.requires_grad_(True)
    batch = batch_of([True] * 10)
    SmallLoss(TASK, 0.4).loss(logits, batch)["labelled"].backward()
    silent = (logits.grad == 0).all(1)
    assert silent.sum() == 4
    each = TASK.each(logits, batch)
    assert each[silent].min() > each[~silent].max()


def test_a_scarce_class_is_not_dropped_for_its_weight(logits):
    batch = batch_of([True] * 10)
    kept = TASK.each(logits, batch).argsort()[:6]
    weighted = replace(TASK, weights=(0.1, 0.5, 10.0))
    found = SmallLoss(weighted, 0.4).loss(logits, batch)
    torch.testing.assert_close(found["labelled"], weighted.each(logits, batch)[kept].mean())


def test_what_a_teacher_labelled_stays(logits):
    batch = batch_of([True, False] * 5)
    found = SmallLoss(TASK, 0.4).loss(logits, batch)
    each = TASK.each(logits, batch)
    kept = each[::2].sort().values[:3]
    torch.testing.assert_close(found["labelled"], kept.sum() / 8)
    torch.testing.assert_close(found["pseudo"], each[1::2].sum() / 8)


def test_more_is_dropped_as_it_grows(logits):
    batch, now = batch_of([True] * 10), 0.0
    task = SmallLoss(TASK, 0.4, lambda: now)
    assert torch.equal(task.loss(logits, batch)["labelled"], TASK.loss(logits, batch)["labelled"])
    now = 0.5
    each = TASK.each(logits, batch).sort().values
    torch.testing.assert_close(task.loss(logits, batch)["labelled"], each[:8].mean())


def test_the_rest_is_the_tasks(logits):
    task, truth = SmallLoss(TASK, 0.4), torch.eye(3)[torch.arange(10) % 3]
    assert torch.equal(task.decode(logits), TASK.decode(logits))
    assert task.metrics(logits.softmax(1), truth) == TASK.metrics(logits.softmax(1), truth)
    assert task.head(5).weight.shape == (3, 5)
