"""Not learning from the labels of a batch that fit worst: with many wrong ones, most of those are (1804.06872)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import Batch
from eyas.tasks.classify import Classify


@dataclass(frozen=True)
class SmallLoss:
    """`task` without the share of a batch's labelled images whose losses, without weights of classes, are the largest.

    A network learns what many labels agree on before it learns single ones by heart, so early on a wrong label costs more
    than a right one (co-teaching, Han et al. 2018, section 3; here one network chooses for itself). What a teacher labelled
    is not dropped.

    Attributes:
        task: what is learned.
        share: of the labelled images of a batch that is dropped in the end.
        grown: how much of that share is dropped by now, from 0 to 1: at first nothing is known of any label.
    """

    task: Classify
    share: float
    grown: Callable[[], float] = lambda: 1.0

    def head(self, channels: int) -> nn.Module:
        """The task's head."""
        return self.task.head(channels)

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, "n k"]:
        """Logits of the whole batch."""
        return self.task.forward(model, batch)

    def loss(self, out: Float[Tensor, "n k"], batch: Batch) -> dict[str, Tensor]:
        """The task's loss on the images that are kept; at least one labelled image is."""
        labelled = torch.nonzero(batch.labelled).flatten()
        dropped = min(round(self.share * self.grown() * len(labelled)), len(labelled) - 1)
        if dropped <= 0:
            return self.task.loss(out, batch)
        unweighted = replace(self.task, weights=())  # or the labels of scarce classes would be the first to go
        with torch.no_grad():
            costs = unweighted.each(out, batch)[labelled]
        kept = torch.ones_like(batch.labelled)
        kept[labelled[costs.argsort(descending=True, stable=True)[:dropped]]] = False
        return self.task.loss(out[kept], Batch(batch.images[kept], batch.targets[kept], batch.labelled[kept]))

    def decode(self, out: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """The task's probabilities."""
        return self.task.decode(out)

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """The task's figures."""
        return self.task.metrics(answers, targets)
