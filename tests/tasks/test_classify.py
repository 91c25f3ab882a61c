import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.classify import Classify

CLASSES = ("a", "b", "c", "d")


def batch_of(targets: torch.Tensor, labelled: list[bool]) -> Batch:
    return Batch(torch.zeros(len(targets), 2, 2, 3, dtype=torch.uint8), targets, torch.tensor(labelled))


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hard() -> torch.Tensor:
    return torch.tensor([0, 3, 1, 1, 2, 0])


@pytest.fixture
def soft() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).softmax(1)


class TestLoss:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
    def test_hard_labels(self, logits, hard, smoothing):
        losses = Classify(CLASSES, smoothing).loss(logits, batch_of(functional.one_hot(hard, 4).float(), [True] * 6))
        assert list(losses) == ["labelled"]
        torch.testing.assert_close(losses["labelled"], functional.cross_entropy(logits, hard, label_smoothing=smoothing))

    def test_a_teachers_labels_are_never_smoothed(self, logits, soft):
        losses = Classify(CLASSES, 0.3).loss(logits, batch_of(soft, [False] * 6))
        assert list(losses) == ["pseudo"]
        torch.testing.assert_close(losses["pseudo"], functional.cross_entropy(logits, soft))

    def test_both_in_one_batch_are_averaged_over_the_concatenation(self, logits, hard, soft):
        """Noisy Student, section 2: each source weighs as many images as it brings, smoothing only where people labelled."""
        labelled = [True, False, False, True, False, False]
        rows = torch.tensor(labelled)
        targets = torch.where(rows[:, None], functional.one_hot(hard, 4).float(), soft)
        losses = Classify(CLASSES, 0.1).loss(logits, batch_of(targets, labelled))
        people = functional.cross_entropy(logits[rows], hard[rows], label_smoothing=0.1)
        teacher = functional.cross_entropy(logits[~rows], soft[~rows])
        torch.testing.assert_close(losses["labelled"], people * 2 / 6)
        torch.testing.assert_close(losses["pseudo"], teacher * 4 / 6)

    def test_class_weights_are_those_of_torch_on_labelled_images_and_none_on_a_teachers(self, logits, soft):
        weights = (0.5, 2.0, 1.0, 0.1)
        losses = Classify(CLASSES, weights=weights).loss(logits, batch_of(soft, [True] * 4 + [False] * 2))
        expected = functional.cross_entropy(logits[:4], soft[:4], torch.tensor(weights)) * 4 / 6
        torch.testing.assert_close(losses["labelled"], expected)
        torch.testing.assert_close(losses["pseudo"], functional.cross_entropy(logits[4:], soft[4:]) * 2 / 6)

    def test_the_gradient_is_the_difference_of_probabilities(self, logits, soft):
        logits.requires_grad_(True)
        sum(Classify(CLASSES).loss(logits, batch_of(soft, [True, False] * 3)).values()).backward()
        torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - soft) / 6)

    def test_bfloat16_answers_are_judged_in_float32(self, logits, soft):
        losses = Classify(CLASSES).loss(logits.bfloat16(), batch_of(soft, [True] * 6))
        assert losses["labelled"].dtype == torch.float32
        torch.testing.assert_close(losses["labelled"], functional.cross_entropy(logits.bfloat16().float(), soft))

    def test_an_answer_that_is_surely_wrong_costs_much_but_not_infinity(self):
        loss = Classify(CLASSES).loss(torch.tensor([[1e4, 0, 0, 0]]), batch_of(torch.tensor([[0.0, 1, 0, 0]]), [True]))
        assert loss["labelled"].item() == pytest.approx(1e4)


class TestAnswer:
    def test_the_head_is_linear_with_an_output_for_every_class(self):
        head = Classify(CLASSES).head(7)
        assert isinstance(head, nn.Linear)
        assert head.weight.shape == (4, 7)

    def test_probabilities_sum_to_one_in_float32(self, logits):
        answers = Classify(CLASSES).decode(logits.bfloat16())
        assert answers.dtype == torch.float32
        torch.testing.assert_close(answers.sum(1), torch.ones(6))
        assert torch.equal(answers.argmax(1), logits.argmax(1))

    def test_metrics_by_hand(self):
        answers = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 1.0]])
        targets = functional.one_hot(torch.tensor([0, 1, 2, 3]), 4).float()
        figures = Classify(CLASSES).metrics(answers, targets)
        assert list(figures) == ["accuracy", "nll"]  # the first chooses between checkpoints
        assert figures["accuracy"] == 0.75
        assert figures["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.5) + math.log(0.2)) / 4)

    def test_a_true_class_given_no_chance_at_all_keeps_the_metrics_finite(self):
        figures = Classify(CLASSES).metrics(torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.0, 1, 0, 0]]))
        assert figures["accuracy"] == 0
        assert 20 < figures["nll"] < 30
