import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.attributes import Attributes, precisions
from eyas.tasks.distill import Distill, Distilled
from eyas.tasks.task import Task

NAMES = ("young", "smiling", "hat")
TASK = Attributes(NAMES)
NAN = math.nan


def batch_of(targets: list[list[float]], labelled: bool = True) -> Batch:
    rows = len(targets)
    return Batch(
        torch.zeros(rows, 2, 2, 3, dtype=torch.uint8), torch.tensor(targets, dtype=torch.float32), torch.full((rows,), labelled)
    )


@pytest.fixture
def logits() -> torch.Tensor:
    return 2 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0))


def test_is_a_task():
    assert isinstance(TASK, Task)
    assert TASK.head(5).weight.shape == (3, 5)


def test_binary_cross_entropy_of_every_attribute(logits):
    batch = batch_of([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    expected = functional.binary_cross_entropy(logits.sigmoid(), batch.targets)
    torch.testing.assert_close(TASK.loss(logits, batch)["attributes"], expected)


def test_what_is_unknown_is_not_learned(logits):
    logits.requires_grad_(True)
    known = batch_of([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    batch = batch_of([[1, NAN, 0], [NAN, 1, 0], [0, 0, 0]])
    loss = TASK.loss(logits, batch)["attributes"]
    each = functional.binary_cross_entropy_with_logits(logits, known.targets, reduction="none")
    torch.testing.assert_close(loss, (each.sum() - each[0, 1] - each[1, 0]) / 7)
    loss.backward()
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0
    assert logits.grad.isfinite().all() and logits.grad[0, 0] != 0


def test_a_batch_of_which_nothing_is_known_teaches_nothing(logits):
    logits.requires_grad_(True)
    loss = TASK.loss(logits, batch_of([[NAN] * 3] * 3))["attributes"]
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_smoothing_draws_labels_towards_a_half_and_leaves_a_teachers(logits):
    targets = [[1.0, 0.0, NAN]] * 3
    smooth = Attributes(NAMES, smoothing=0.2)
    expected = TASK.loss(logits, batch_of([[0.9, 0.1, NAN]] * 3))["attributes"]
    torch.testing.assert_close(smooth.loss(logits, batch_of(targets))["attributes"], expected)
    soft = batch_of(targets, labelled=False)
    torch.testing.assert_close(smooth.loss(logits, soft)["attributes"], TASK.loss(logits, soft)["attributes"])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distilled_from_the_teachers_softened_probabilities(logits, temperature):
    teacher, batch = logits.flip(0), batch_of([[NAN] * 3] * 3, labelled=False)
    out = Distilled(logits.clone().requires_grad_(True), teacher)
    found = Distill(TASK, torch.nn.Identity(), temperature).loss(out, batch)["distilled"]
    soft = (teacher / temperature).sigmoid()
    expected = functional.binary_cross_entropy((logits / temperature).sigmoid(), soft) * temperature**2
    torch.testing.assert_close(found, expected)
    same = Distilled(teacher.clone().requires_grad_(True), teacher)
    Distill(TASK, torch.nn.Identity(), temperature).loss(same, batch)["distilled"].backward()
    assert same.student.grad.abs().max() < 1e-6


def test_precision_of_each_attribute_over_the_images_that_it_is_known_of():
    rng = np.random.default_rng(0)
    answers = rng.random((50, 4)).astype(np.float32)
    targets = (rng.random((50, 4)) < 0.4).astype(np.float32)
    targets[:10, 0] = np.nan
    targets[:, 1] = 0  # constant
    targets[:, 3] = np.nan  # never known
    found = precisions(answers, targets)
    assert found[0] == pytest.approx(average_precision_score(targets[10:, 0], answers[10:, 0]))
    assert found[2] == pytest.approx(average_precision_score(targets[:, 2], answers[:, 2]))
    assert np.isnan(found[[1, 3]]).all()
    metrics = Attributes(("a", "b", "c", "d")).metrics(torch.from_numpy(answers), torch.from_numpy(targets))
    assert next(iter(metrics)) == "map"
    assert metrics["map"] == pytest.approx((found[0] + found[2]) / 2)
    right = ((answers >= 0.5) == (targets >= 0.5)) & ~np.isnan(targets)
    assert metrics["accuracy"] == pytest.approx(right.sum() / 140)


def test_where_all_attributes_are_constant_there_is_a_figure_still():
    targets = torch.ones(4, 3)
    assert TASK.metrics(torch.rand(4, 3), targets)["map"] == 0
