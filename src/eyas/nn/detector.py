"""Detectors: a network whose maps say where things are. What SSD and Faster R-CNN have in common.

Boxes are left, top, right and bottom as shares of the image's sides everywhere. Class 0 of a detector's scores is the
background, so class i of the data has score i + 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from eyas.arch.cost import Cost
from eyas.arch.spec import Arch, blocks
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.count import count
from eyas.nn.foreign import torchvision_detection

Form = Literal["ssd", "ssdlite", "faster_rcnn"]
Boxes = Float[Tensor, "m 4"]

# What an answer is made of; torchvision and Liu et al. differ about them, and only the mean over scores is reported.
LOWEST = 0.01  # score of an answer
OVERLAP = 0.5  # above this, the less certain of two boxes of one class is taken for the same thing
CANDIDATES = 400  # of a class, before that
FOUND = 100  # in an image, as COCO counts them
COORDINATES = (10.0, 10.0, 5.0, 5.0)  # what offsets are multiplied with: places by 10, log sizes by 5 (SSD, Faster R-CNN)


@dataclass(frozen=True)
class Truth:
    """What there is to be found in an image."""

    boxes: Boxes
    classes: Int64[Tensor, " m"]


@dataclass(frozen=True)
class Found:
    """What was found in an image, the surest first."""

    boxes: Boxes
    classes: Int64[Tensor, " m"]
    scores: Float[Tensor, " m"]


@dataclass(frozen=True, slots=True)
class Tap:
    """A map that is read: the stage that ends with it, its channels and its side."""

    stage: int
    channels: int
    side: int


class Detector(Network, ABC):
    """A `Network` that answers with boxes: its blocks are learned, frozen, averaged and loaded as a classifier's are.

    Calling it gives what the image alone decides, as one tensor; `loss` and `decode` go on from there, so that training and
    answering run the same network. Dropout and a hidden layer belong to classifiers; here are none.

    Attributes:
        form: which detector.
        classes: how many, without the background.
    """

    def __init__(self, arch: Arch, form: Form, classes: int, drop_path: float, norm_momentum: float | None) -> None:
        super().__init__(arch, nn.Identity(), 0.0, drop_path, norm_momentum)
        self.hidden = nn.Sequential()
        self.form: Form = form
        self.classes = classes

    @abstractmethod
    def tops(self) -> list[nn.Module]:
        """What stands on the blocks: it is drawn otherwise than they are."""

    @abstractmethod
    def loss(self, raw: Tensor, truth: list[Truth]) -> dict[str, Tensor]:
        """Named scalar terms: of the classes and of the places."""

    @abstractmethod
    def decode(self, raw: Tensor) -> list[Found]:
        """What was found in each image, overlaps suppressed."""

    @abstractmethod
    def whole(self, x: Float[Tensor, "1 3 h w"]) -> Tensor:
        """All that one image takes, proposals included, for counting: shapes do not depend on what is in the image."""


def taps(arch: Arch) -> list[Tap]:
    """The last map of each side, the largest first: what may be read of a network by its stride."""
    found: dict[int, Tap] = {}
    for block in blocks(arch):
        found[block.output_size] = Tap(block.stage, block.outputs, block.output_size)
    return [found[side] for side in sorted(found, reverse=True)]


def coarsest(arch: Arch) -> tuple[Tap, Tap]:
    """The last map, and the last one of half its stride: what SSD and Faster R-CNN read (strides 32 and 16 of MobileNet).

    Raises:
        UserError: the network has one size of maps only.
    """
    found = taps(arch)
    if len(found) < 2:
        raise UserError(f"{arch} has maps of one size only; a detector reads two, so take an architecture that strides twice")
    return found[-2], found[-1]


def suppressed(boxes: Boxes, scores: Float[Tensor, "m c"]) -> Found:
    """The best boxes of each class, without those that overlap with a better one of it.

    Args:
        boxes: candidates.
        scores: of the classes, without the background's.
    """
    _, ops = torchvision_detection()
    candidates = min(CANDIDATES, len(scores))
    best, rows = scores.topk(candidates, dim=0)
    classes = torch.arange(scores.shape[1], device=scores.device).expand_as(rows)
    certain = best > LOWEST
    best, rows, classes = best[certain], rows[certain], classes[certain]
    kept = ops.batched_nms(boxes[rows], best, classes, OVERLAP)[:FOUND]
    return Found(boxes[rows[kept]], classes[kept], best[kept])


class _Whole(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Float[Tensor, "1 3 h w"]) -> Tensor:
        return self.detector.whole(x)


def detector_cost(detector: Detector) -> Cost:
    """MAdds and parameters of the whole detector for one image: blocks, extra layers and heads.

    Faster R-CNN is counted with as many proposals as it has at most, 300. What only moves or compares numbers (decoding,
    suppression, cutting regions out) is no multiply-add of a layer and is not counted, as in MobileNets, Table 13.
    """
    return count(_Whole(detector), detector.arch.resolution)
