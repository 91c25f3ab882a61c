"""What is learned: the one protocol that the loop knows."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import Batch


@runtime_checkable
class Task(Protocol):
    """A task says what a network learns; how it learns is the loop's business.

    Tasks vary by wrapping, not by overriding: `Distill(Classify(classes), teacher, temperature=4)`.
    """

    def head(self, channels: int) -> nn.Module:
        """What stands on the pooled features, [n, channels] to the task's answer."""
        ...

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """The model's raw answer to a batch, whatever `loss` and `decode` need of it."""
        ...

    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms; what is minimised is their sum."""
        ...

    def decode(self, out: Any) -> Float[Tensor, "n k"]:
        """The answer in the user's terms: probabilities."""
        ...

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> dict[str, float]:
        """Figures of a whole split; the first is the one that chooses between checkpoints, larger is better."""
        ...
