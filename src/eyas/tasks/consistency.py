"""Learning to answer a strongly noised image as one is sure to answer it with little noise (FixMatch, 2001.07685)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.classify import Classify


@dataclass(frozen=True)
class Answers:
    """The answers to the images of a batch as they are, and to its weakly noised ones."""

    given: Float[Tensor, "n k"]
    weak: Float[Tensor, "u k"]


@dataclass(frozen=True)
class Consistency:
    """`task` from labelled images, and from unlabelled ones the answer to their weak view, where it is confident.

    There is no teacher: the network that learns labels for itself, anew in every step.

    Attributes:
        task: what is learned.
        threshold: smallest probability of the answer to the weak view that is learned from (FixMatch: 0.95).
        weight: of the unlabelled images' loss (FixMatch: 1).
    """

    task: Classify
    threshold: float = 0.95
    weight: float = 1.0

    def head(self, channels: int) -> nn.Module:
        """The task's head."""
        return self.task.head(channels)

    def forward(self, model: nn.Module, batch: Batch) -> Answers:
        """Both answers from one pass, so that batch norm sees all images together, as FixMatch's code does."""
        views = [batch.images] if batch.weak is None else [batch.images, batch.weak]  # none: there are labelled images only
        logits = model(torch.cat(views))
        return Answers(logits[: len(batch)], logits[len(batch) :])

    def loss(self, out: Answers, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the labelled images, and of the unlabelled ones to what their weak views were called.

        Both are means over all images of their source (FixMatch, equations 3 and 4); those that are not confident count 0.
        """
        labelled = Batch(batch.images[batch.labelled], batch.targets[batch.labelled], batch.labelled[batch.labelled])
        found = self.task.loss(out.given[batch.labelled], labelled) if len(labelled) else {}
        if batch.labelled.all():
            return found
        confidence, called = out.weak.detach().float().softmax(1).max(1)
        each = functional.cross_entropy(out.given[~batch.labelled].float(), called, reduction="none")
        return found | {"consistency": self.weight * (each * (confidence >= self.threshold)).mean()}

    def decode(self, out: Answers) -> Float[Tensor, "n k"]:
        """Probabilities of the images as they are."""
        return self.task.decode(out.given)

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """The task's figures."""
        return self.task.metrics(answers, targets)
