"""One label an image, learned from hard labels, soft ones, or both in one batch."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch


@dataclass(frozen=True)
class Classify:
    """Softmax classification into `classes`.

    Attributes:
        classes: their names, in the order of the answer.
        smoothing: label smoothing, on labelled images only: a teacher's labels are soft already.
        weights: of each class in the loss of labelled images; none weighs all alike. A pile is balanced when it is chosen.
        weighting: of labelled and pseudo-labelled images in one batch: by their number (`images`), or one source as much as
            the other (`sources`).
    """

    classes: tuple[str, ...]
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    weighting: Literal["images", "sources"] = "images"

    def head(self, channels: int) -> nn.Module:
        """A linear layer, [n, channels] to logits [n, k]."""
        return nn.Linear(channels, len(self.classes))

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, "n k"]:
        """Logits of the batch."""
        return model(batch.images)

    def loss(self, out: Float[Tensor, "n k"], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy to the targets, averaged over the concatenated batch, or the sum of the sources' averages.

        The former is in the text and the code of Noisy Student, the latter is its Algorithm 1.
        """
        each = self.each(out, batch)
        rows = {"labelled": batch.labelled, "pseudo": ~batch.labelled}
        counts = {name: int(row.sum()) for name, row in rows.items()}
        whole = {name: len(out) if self.weighting == "images" else count for name, count in counts.items()}
        return {name: each[rows[name]].sum() / whole[name] for name, count in counts.items() if count}

    def each(self, out: Float[Tensor, "n k"], batch: Batch) -> Float[Tensor, " n"]:
        """Cross-entropy of every image."""
        smooth = self.smoothing * batch.labelled[:, None]
        targets = batch.targets * (1 - smooth) + smooth / len(self.classes)
        if self.weights:
            weights = torch.tensor(self.weights, device=targets.device)
            targets = torch.where(batch.labelled[:, None], targets * weights, targets)
        return -(targets * functional.log_softmax(out.float(), dim=1)).sum(1)

    def compare(self, student: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, ""]:
        """Cross-entropy to the softened teacher, averaged over the batch."""
        soft = (teacher / temperature).softmax(1)
        log = functional.log_softmax(student / temperature, dim=1)
        return -(soft * log).sum(1).mean() * temperature**2

    def decode(self, out: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Logits to probabilities."""
        return out.float().softmax(1)

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """Accuracy, and the mean negative log-likelihood of the true class in nats."""
        truth = targets.argmax(1)
        likelihood = answers.gather(1, truth[:, None]).clamp_min(1e-12)
        return {"accuracy": (answers.argmax(1) == truth).float().mean().item(), "nll": -torch.log(likelihood).mean().item()}
