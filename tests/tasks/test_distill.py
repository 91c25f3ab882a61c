import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Distill, Distilled
from tests.fakes import COLOURS, pictures, shaken, tiny

TASK = Classify(COLOURS, smoothing=0.2)


@pytest.fixture
def batch() -> Batch:
    return Batch(pictures(6, 16), torch.eye(3).repeat(2, 1), torch.tensor([True, False] * 3))


@pytest.fixture
def logits() -> Distilled:
    generator = torch.Generator().manual_seed(0)
    return Distilled(*(2 * torch.randn(6, 3, generator=generator) for _ in range(2)))


def loss_of(task: Distill, out: Distilled, batch: Batch) -> torch.Tensor:
    losses = task.loss(out, batch)
    assert list(losses) == ["distilled"]
    return losses["distilled"]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_cross_entropy_to_the_softened_teacher_times_the_temperature_squared(logits, batch, temperature):
    found = loss_of(Distill(TASK, nn.Identity(), temperature), logits, batch)
    soft = (logits.teacher / temperature).softmax(1)
    torch.testing.assert_close(found, functional.cross_entropy(logits.student / temperature, soft) * temperature**2)


def test_labels_are_not_looked_at(logits, batch):
    task = Distill(TASK, nn.Identity())
    other = Batch(batch.images, batch.targets.flip(1), ~batch.labelled)
    assert torch.equal(loss_of(task, logits, batch), loss_of(task, logits, other))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_no_gradient_where_the_student_answers_as_the_teacher(logits, batch, temperature):
    student = logits.teacher.clone().requires_grad_(True)
    loss_of(Distill(TASK, nn.Identity(), temperature), Distilled(student, logits.teacher), batch).backward()
    assert student.grad.abs().max() < 1e-6


def test_the_gradient_keeps_its_size_at_high_temperatures(batch):
    """Hinton et al. 2015, section 2.1: in the limit it is (student - teacher) / classes, for logits of mean 0."""
    teacher = torch.tensor([[2.0, -1.0, -1.0], [0.0, 1.0, -1.0]])
    student = torch.zeros(2, 3, requires_grad=True)
    loss_of(Distill(TASK, nn.Identity(), 1000.0), Distilled(student, teacher), batch).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3 / 2, rtol=0.01, atol=1e-3)


def test_the_teacher_answers_without_noise_and_is_left_as_it_was(batch):
    teacher = shaken(tiny(seed=1)).train()
    teacher.dropout.p = 0.5
    before = copy.deepcopy(teacher.state_dict())
    student = tiny(seed=2).train()
    out = Distill(TASK, teacher, 2.0).forward(student, batch)
    loss_of(Distill(TASK, teacher, 2.0), out, batch).backward()
    with torch.no_grad():
        assert torch.equal(out.teacher, teacher.eval()(batch.images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert student.training


def test_the_rest_is_the_wrapped_task(logits):
    task = Distill(TASK, nn.Identity(), 4.0)
    assert task.head(5).weight.shape == (3, 5)
    assert torch.equal(task.decode(logits), logits.student.softmax(1))  # the temperature is for learning only
    answers, truth = logits.student.softmax(1), torch.eye(3).repeat(2, 1)
    assert task.metrics(answers, truth) == TASK.metrics(answers, truth)


def test_both_answers_are_those_of_the_wrapped_task(batch):
    teacher, student = shaken(tiny(seed=1)), shaken(tiny(seed=2))
    out = Distill(TASK, teacher).forward(student, batch)
    assert torch.equal(out.student, TASK.forward(student, batch))
    assert torch.equal(out.teacher, TASK.forward(teacher, batch))


def test_a_teacher_of_another_size_is_shown_the_images_at_its_own(batch):
    shown = []

    class Teacher(nn.Module):
        def forward(self, images):
            shown.append(images)
            return torch.zeros(len(images), 3)

    out = Distill(TASK, Teacher(), side=24).forward(tiny(), batch)
    assert shown[0].shape == (6, 24, 24, 3) and shown[0].dtype == torch.uint8
    assert abs(shown[0].float().mean() - batch.images.float().mean()) < 2
    assert out.student.shape == (6, 3)
    Distill(TASK, Teacher(), side=16).forward(tiny(), batch)
    assert torch.equal(shown[1], batch.images)
