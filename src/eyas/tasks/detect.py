"""Things in images: boxes around them, and what each of them is (MobileNets, section 4.6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.data.batches import Batch
from eyas.data.boxes import WIDE, Rows, pack, unpack
from eyas.nn.detector import FOUND, Detector, Found, Truth
from eyas.tasks.box_scores import box_precision


@dataclass(frozen=True)
class Seen:
    """A detector and its raw answer to a batch."""

    model: Detector
    raw: Tensor


@dataclass(frozen=True)
class Detect:
    """Detection of `classes`; targets and answers are boxes as `eyas.data.boxes` lays them out.

    In answers the sixth number of a box is its score, and there are `eyas.nn.detector.FOUND` rows for each image.

    Attributes:
        classes: their names, in the order of the answer.
    """

    classes: tuple[str, ...]

    def head(self, channels: int) -> nn.Module:  # noqa: ARG002 (the protocol's form)
        """Nothing stands on pooled features: what finds boxes is the `Detector` itself."""
        return nn.Identity()

    def forward(self, model: nn.Module, batch: Batch) -> Seen:
        """The detector's raw answer."""
        assert isinstance(model, Detector)
        return Seen(model, model(batch.images))

    def loss(self, out: Seen, batch: Batch) -> dict[str, Tensor]:
        """The detector's terms; nothing is learned from crowds."""
        return out.model.loss(out.raw, truth_of(batch.targets))

    def decode(self, out: Seen) -> Float[Tensor, "n k"]:
        """What was found, as padded rows."""
        return torch.from_numpy(pack([_rows(found) for found in out.model.decode(out.raw)], FOUND))

    def metrics(self, answers: Float[Tensor, "n k"], targets: Float[Tensor, "n m"]) -> dict[str, float]:
        """COCO's mean average precision, and that at an overlap of 0.5 and 0.75."""
        found = box_precision(rows_of(answers), rows_of(targets), len(self.classes))
        return {"map": found.mean, "map_50": found.at_50, "map_75": found.at_75}


def truth_of(targets: Float[Tensor, "n k"]) -> list[Truth]:
    """What is to be learned from padded rows: boxes around single things."""
    rows = targets.view(len(targets), -1, WIDE)
    learned = [boxes[(boxes[:, 4] >= 0) & (boxes[:, 5] == 0)] for boxes in rows]
    return [Truth(boxes[:, :4], boxes[:, 4].long()) for boxes in learned]


def rows_of(padded: Float[Tensor, "n k"]) -> Sequence[Rows]:
    """The boxes of each image, without empty rows."""
    return [unpack(row) for row in padded.numpy()]


def _rows(found: Found) -> Rows:
    columns = (found.boxes, found.classes[:, None], found.scores[:, None])
    return np.concatenate([column.float().cpu().numpy() for column in columns], 1).astype(np.float32)
