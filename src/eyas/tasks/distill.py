"""Learning to answer as a teacher does (MobileNets, section 4.5; Hinton et al. 2015)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.tasks.task import Task


@dataclass(frozen=True)
class Distilled:
    """The student's and the teacher's answer to the same images."""

    student: Float[Tensor, "n k"]
    teacher: Float[Tensor, "n k"]


@dataclass(frozen=True)
class Distill:
    """`task` learned from the answers of `teacher` on the very images that the student sees; labels are not looked at.

    Attributes:
        task: what the teacher knows.
        teacher: a network that answers as `task` does; it is not changed.
        temperature: both answers are softened by it; the loss is scaled by its square, which keeps the gradient's size.
    """

    task: Task
    teacher: nn.Module
    temperature: float = 1.0

    def head(self, channels: int) -> nn.Module:
        """The task's head."""
        return self.task.head(channels)

    def forward(self, model: nn.Module, batch: Batch) -> Distilled:
        """Both answers; the teacher's without noise in its layers and without gradient."""
        with torch.no_grad():
            teacher = self.task.forward(self.teacher.eval(), batch)
        return Distilled(self.task.forward(model, batch), teacher)

    def loss(self, out: Distilled, batch: Batch) -> dict[str, Tensor]:  # noqa: ARG002 (the protocol's form)
        """Cross-entropy to the softened teacher, averaged over the batch."""
        soft = (out.teacher.float() / self.temperature).softmax(1)
        log = functional.log_softmax(out.student.float() / self.temperature, dim=1)
        return {"distilled": -(soft * log).sum(1).mean() * self.temperature**2}

    def decode(self, out: Distilled) -> Float[Tensor, "n k"]:
        """The student's probabilities."""
        return self.task.decode(out.student)

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """The task's figures."""
        return self.task.metrics(answers, targets)
