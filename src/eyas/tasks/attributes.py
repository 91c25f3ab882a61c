"""Any number of attributes an image, each there or not: a sigmoid for each (MobileNets, section 4.5)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.scores import average_precision


@dataclass(frozen=True)
class Attributes:
    """Which of `names` an image has.

    Targets are 1, 0, or a share of it; nan is unknown, and neither learned from nor judged.

    Attributes:
        names: of the attributes, in the order of the answer.
        smoothing: label smoothing, on labelled images only: known targets are drawn towards a half by it.
    """

    names: tuple[str, ...]
    smoothing: float = 0.0

    def head(self, channels: int) -> nn.Module:
        """A linear layer, [n, channels] to logits [n, k]."""
        return nn.Linear(channels, len(self.names))

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, "n k"]:
        """Logits of the batch."""
        return model(batch.images)

    def loss(self, out: Float[Tensor, "n k"], batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy, averaged over all attributes that are known of the batch's images."""
        smooth = self.smoothing * batch.labelled[:, None]
        targets = batch.targets * (1 - smooth) + smooth / 2
        known = ~targets.isnan()
        each = functional.binary_cross_entropy_with_logits(out.float(), targets.nan_to_num(), reduction="none")
        return {"attributes": (each * known).sum() / known.sum().clamp_min(1)}

    def compare(self, student: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, ""]:
        """Binary cross-entropy to the softened teacher, averaged over images and attributes."""
        soft = (teacher / temperature).sigmoid()
        return functional.binary_cross_entropy_with_logits(student / temperature, soft) * temperature**2

    def decode(self, out: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Logits to the probability of each attribute."""
        return out.float().sigmoid()

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """Mean average precision over the attributes that differ among the images, and the share of right answers.

        An attribute that all of the images have, or none, cannot be ranked. Where none can, the mean is 0.
        """
        found = precisions(answers.numpy(), targets.numpy())
        known = ~targets.isnan()
        right = ((answers >= 0.5) == (targets >= 0.5)) & known
        mean = float(np.nanmean(found)) if not np.isnan(found).all() else 0.0
        return {"map": mean, "accuracy": float(right.sum() / known.sum().clamp_min(1))}


def precisions(answers: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Average precision of each attribute over the images that it is known of; nan where it does not differ among them.

    A target of a half or more counts as there.
    """
    found = []
    for scores, wanted in zip(answers.T, targets.T, strict=True):
        known = ~np.isnan(wanted)
        found.append(average_precision(scores[known], wanted[known] >= 0.5)[0] if known.any() else np.nan)
    return np.array(found)
