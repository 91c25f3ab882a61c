"""Vectors that lie close for images of one identity and far apart for others (FaceNet, 1503.03832; MobileNets, section 4.7)."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from eyas.data.batches import Batch
from eyas.errors import UserError
from eyas.tasks.retrieval import retrieval

EXTRA = "pip install 'eyas[embed]'"


@dataclass(frozen=True)
class Embed:
    """Unit vectors learned from triplets: an image nearer to another of its identity than to one of another, by a margin.

    Targets are one column: the number of the image's identity. Batches hold several images of each of some identities
    (`eyas.data.sampling.Groups`).

    Attributes:
        width: length of the vector (FaceNet: 128).
        margin: by how much the squared distances are to differ (FaceNet, section 3.2: 0.2).
    """

    width: int = 128
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 2 or not 0 < self.margin < 4:
            raise UserError(
                f"an embedding of width {self.width} with margin {self.margin}: the width is 2 or more, and the margin between "
                "0 and 4, the largest squared distance of two unit vectors"
            )

    def head(self, channels: int) -> nn.Module:
        """A linear layer, [n, channels] to [n, width]; what is behind it divides by the length."""
        return nn.Linear(channels, self.width)

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, "n d"]:
        """Vectors of the batch, before they get length 1."""
        return model(batch.images)

    def loss(self, out: Float[Tensor, "n d"], batch: Batch) -> dict[str, Tensor]:
        """Mean loss of the semi-hard triplets: another identity's image is further than one of the same, but within the margin.

        0 where the batch has none (FaceNet, section 3.2).
        """
        return {"triplet": triplet(self.decode(out), batch.targets[:, 0].long(), self.margin)}

    def compare(self, student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"], temperature: float) -> Float[Tensor, ""]:  # noqa: ARG002 (the protocol's form: there is nothing to soften)
        """Mean squared distance of the student's vectors to the teacher's (MobileNets, section 4.7)."""
        return (self.decode(student) - self.decode(teacher)).square().sum(1).mean()

    def decode(self, out: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Vectors of length 1."""
        return functional.normalize(out.float(), dim=1)

    def metrics(self, answers: Float[Tensor, "n d"], targets: Float[Tensor, "n 1"]) -> dict[str, float]:
        """Retrieval among the images: mean average precision, and how often the nearest is of the same identity."""
        found = retrieval(answers.numpy(), targets[:, 0].long().numpy())
        return {"map": found.mean("average_precision"), "recall@1": found.mean("recall@1")}


def triplet(vectors: Float[Tensor, "n d"], identities: Int64[Tensor, " n"], margin: float) -> Float[Tensor, ""]:
    """Triplet loss on squared distances of unit vectors, over the semi-hard triplets.

    Raises:
        UserError: pytorch-metric-learning is not installed.
    """
    try:
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import TripletMarginMiner
    except ImportError:
        raise UserError(f"learning embeddings needs pytorch-metric-learning; {EXTRA}") from None
    distance = LpDistance(power=2)
    mined = TripletMarginMiner(margin, "semihard", distance=distance)(vectors, identities)
    return TripletMarginLoss(margin, distance=distance)(vectors, identities, mined)
