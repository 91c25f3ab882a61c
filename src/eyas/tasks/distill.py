"""Learning to answer as a teacher does (MobileNets, section 4.5; Hinton et al. 2015)."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.task import Task


@runtime_checkable
class Teachable(Task, Protocol):
    """A task whose answers can be learned from another network's."""

    def compare(self, student: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, ""]:
        """How far the student's raw answers are from the teacher's: least where they are equal.

        Answers are softened by the temperature where that means something, and the loss is scaled by its square, which
        keeps the gradient's size (Hinton et al. 2015, section 2).
        """
        ...


@dataclass(frozen=True)
class Distilled:
    """The student's and the teacher's answer to the same images."""

    student: Float[Tensor, "n k"]
    teacher: Float[Tensor, "n k"]


@dataclass(frozen=True)
class Distill:
    """`task` learned from the answers of `teacher` on the very images that the student sees; labels are not looked at.

    Attributes:
        task: what the teacher knows; it says how the two answers are compared.
        teacher: a network that answers as `task` does; it is not changed.
        temperature: both answers are softened by it; the loss is scaled by its square, which keeps the gradient's size.
        side: of the images that the teacher is shown, in pixels: the student's are resized to it; 0 leaves them as they are.
    """

    task: Teachable
    teacher: nn.Module
    temperature: float = 1.0
    side: int = 0

    def head(self, channels: int) -> nn.Module:
        """The task's head."""
        return self.task.head(channels)

    def forward(self, model: nn.Module, batch: Batch) -> Distilled:
        """Both answers; the teacher's without noise in its layers and without gradient."""
        with torch.no_grad():
            shown = replace(batch, images=_resized(batch.images, self.side)) if self.side else batch
            teacher = self.task.forward(self.teacher.eval(), shown)
        return Distilled(self.task.forward(model, batch), teacher)

    def loss(self, out: Distilled, batch: Batch) -> dict[str, Tensor]:  # noqa: ARG002 (the protocol's form)
        """What the task says of the two answers."""
        return {"distilled": self.task.compare(out.student.float(), out.teacher.float(), self.temperature)}

    def decode(self, out: Distilled) -> Float[Tensor, "n k"]:
        """The student's answers."""
        return self.task.decode(out.student)

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """The task's figures."""
        return self.task.metrics(answers, targets)


def _resized(images: UInt8[Tensor, "n h w 3"], side: int) -> UInt8[Tensor, "n side side 3"]:
    if images.shape[1:3] == (side, side):
        return images
    pixels = functional.interpolate(images.permute(0, 3, 1, 2).float(), (side, side), mode="bilinear", antialias=True)
    return pixels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
