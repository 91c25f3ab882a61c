"""SSD (Liu et al. 2015, 1512.02325): every place of every map says what stands in a few boxes around it.

As the MobileNets paper has it (Table 13, after Huang et al., 1611.10012): maps of stride 16 and 32, then four that extra
layers make, each half the side; 1x1 predictors, and three boxes a place on the first map, six on the others. SSDLite
(MobileNetV2, 1801.04381, section 6.2) makes extra layers and predictors depthwise separable.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from eyas.arch.layer import Layer
from eyas.arch.spec import Arch, round_channels
from eyas.nn.blocks import ConvNorm
from eyas.nn.detector import COORDINATES, Detector, Form, Found, Truth, coarsest, suppressed
from eyas.nn.foreign import torchvision_detection

EXTRAS = (512, 256, 256, 128)  # channels of the extra layers' maps
SCALES = (0.2, 0.95)  # side of the boxes on the first map and on the last, as shares of the image's
MATCHED = 0.5  # overlap from which on a default box stands for a thing
NEGATIVES = 3  # boxes of background that are learned from for each that stands for a thing
FEWEST = 3  # of those in an image, so that images without things are learned from as well


class Ssd(Detector):
    """SSD or SSDLite on any network; raw answers are [n, boxes, 4 + 1 + classes]: offsets, then scores as logits."""

    def __init__(
        self, arch: Arch, form: Form, classes: int, drop_path: float = 0.0, norm_momentum: float | None = None
    ) -> None:
        super().__init__(arch, form, classes, drop_path, norm_momentum)
        self.taps = coarsest(arch)
        self.extras, channels, self.sides = _extras(arch, form == "ssdlite", norm_momentum or arch.norm_momentum)
        shapes = box_shapes(len(self.sides))
        counts = [len(each) for each in shapes]
        self.offsets = _predictors(channels, counts, 4, form)
        self.scores = _predictors(channels, counts, classes + 1, form)
        # Centre x and y, width and height.
        self.anchors = nn.Buffer(torch.tensor(default_boxes(self.sides, shapes)), persistent=False)

    def tops(self) -> list[nn.Module]:
        """Extra layers and predictors."""
        return [self.extras, self.offsets, self.scores]

    def classify(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n boxes k"]:
        """Normalised images to raw answers."""
        maps = self.features(x)
        read = [maps[f"stage{tap.stage}"] for tap in self.taps]
        for extra in self.extras:
            read.append(extra(read[-1]))
        return torch.cat([self.offsets(read), self.scores(read)], 2)

    def loss(self, raw: Float[Tensor, "n boxes k"], truth: list[Truth]) -> dict[str, Tensor]:
        """Both terms over the number of matched boxes, the hardest background only (SSD, section 2.2)."""
        detection, _ = torchvision_detection()
        coder = detection._utils.BoxCoder(COORDINATES)
        offsets, scores = raw[..., :4].float(), raw[..., 4:].float()
        corners = _corners(self.anchors)
        targets, places = [], raw.new_zeros((), dtype=torch.float32)
        for row, each in enumerate(truth):
            matched = _match(corners, each)
            things = matched >= 0
            target = torch.zeros_like(matched)
            target[things] = each.classes[matched[things]] + 1
            targets.append(target)
            wanted = coder.encode_single(each.boxes[matched[things]], corners[things])
            places = places + functional.smooth_l1_loss(offsets[row, things], wanted, reduction="sum")
        target = torch.stack(targets)
        named = functional.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
        count = max(1, int((target > 0).sum()))
        return {"classes": (named * _learned(named, target)).sum() / count, "places": places / count}

    def decode(self, raw: Float[Tensor, "n boxes k"]) -> list[Found]:
        """Offsets to boxes within the image, logits to scores, overlaps suppressed."""
        detection, _ = torchvision_detection()
        coder = detection._utils.BoxCoder(COORDINATES)
        scores = raw[..., 4:].float().softmax(2)[..., 1:]
        corners = _corners(self.anchors)
        boxes = [coder.decode_single(each.float(), corners).clamp(0, 1) for each in raw[..., :4]]
        return [suppressed(box, score) for box, score in zip(boxes, scores, strict=True)]

    def whole(self, x: Float[Tensor, "1 3 h w"]) -> Tensor:
        """Its raw answer: nothing in it depends on what is in the image."""
        return self.classify(x)


def layout(detector: Ssd) -> dict[str, Any]:
    """What `eyas.deploy.boxes.decode` has to know of a detector besides its answer, as JSON.

    For each map its side, and width and height of the boxes around each place; and what offsets were multiplied with.
    """
    shapes = box_shapes(len(detector.sides))
    maps = [{"side": side, "shapes": list(map(list, each))} for side, each in zip(detector.sides, shapes, strict=True)]
    return {"maps": maps, "coordinates": list(COORDINATES)}


def box_shapes(maps: int) -> list[list[tuple[float, float]]]:
    """Width and height of the default boxes around each place of each map, as shares of the image's sides.

    Scales rise evenly; ratios are 1, 2, 1/2, 3 and 1/3, and one more square lies between a scale and the next. The first map,
    which has most places, has three, one of them small (the code of Huang et al.: `reduce_boxes_in_lowest_layer`).
    """
    low, high = SCALES
    scales = [low + (high - low) * index / max(1, maps - 1) for index in range(maps)] + [1.0]
    found = [[(0.1, 0.1), _shape(low, 2.0), _shape(low, 0.5)]]
    for scale, following in pairwise(scales[1:]):
        between = math.sqrt(scale * following)
        found.append([*(_shape(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)), (between, between)])
    return found


def default_boxes(sides: list[int], shapes: list[list[tuple[float, float]]]) -> list[tuple[float, float, float, float]]:
    """Centre x and y, width and height of every default box, in the order of the raw answers: map, row, column, shape."""
    return [
        ((column + 0.5) / side, (row + 0.5) / side, width, height)
        for side, of in zip(sides, shapes, strict=True)
        for row in range(side)
        for column in range(side)
        for width, height in of
    ]


def _shape(scale: float, ratio: float) -> tuple[float, float]:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)


def _extras(arch: Arch, lite: bool, momentum: float) -> tuple[nn.ModuleList, list[int], list[int]]:
    """The layers behind the network, and channels and sides of all maps that are read; they end at a map of one place."""
    first, last = coarsest(arch)
    found, channels, sides = nn.ModuleList(), [first.channels, last.channels], [first.side, last.side]
    for full in EXTRAS:
        if sides[-1] == 1:
            break
        wide = round_channels(full * min(1.0, arch.width))
        layers = _extra(channels[-1], wide, sides[-1], lite)
        found.append(nn.Sequential(*(ConvNorm(layer, arch.padding, arch.norm_eps, momentum) for layer in layers)))
        channels.append(wide)
        sides.append(layers[-1].output_size)
    return found, channels, sides


def _extra(channels: int, wide: int, side: int, lite: bool) -> tuple[Layer, ...]:
    narrow = round_channels(wide / 2)
    reduce = Layer("conv", 1, 1, channels, narrow, side, "relu6")
    if not lite:
        return reduce, Layer("conv", 3, 2, narrow, wide, side, "relu6")
    middle = Layer("depthwise", 3, 2, narrow, narrow, side, "relu6")
    return reduce, middle, Layer("conv", 1, 1, narrow, wide, middle.output_size, "relu6")


def _predictors(channels: list[int], counts: list[int], numbers: int, form: Form) -> nn.Module:
    """For each map a predictor of `numbers` for each box, as torchvision arranges them: [n, boxes, numbers]."""
    detection, _ = torchvision_detection()
    made = [_predictor(wide, count * numbers, form) for wide, count in zip(channels, counts, strict=True)]
    return detection.ssd.SSDScoringHead(nn.ModuleList(made), numbers)


def _predictor(channels: int, outputs: int, form: Form) -> nn.Module:
    if form == "ssd":
        return nn.Conv2d(channels, outputs, 1)
    detection, _ = torchvision_detection()
    return detection.ssdlite._prediction_block(channels, outputs, 3, nn.BatchNorm2d)


def _corners(anchors: Float[Tensor, "boxes 4"]) -> Float[Tensor, "boxes 4"]:
    """Left, top, right, bottom."""
    return torch.cat([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], 1)


def _match(corners: Float[Tensor, "boxes 4"], truth: Truth) -> Int64[Tensor, " boxes"]:
    """For each default box the thing that it stands for, or a number below 0; each thing has its best box at least."""
    if not len(truth.boxes):
        return torch.full((len(corners),), -1, device=corners.device)
    detection, ops = torchvision_detection()
    return detection._utils.SSDMatcher(MATCHED)(ops.box_iou(truth.boxes, corners))


def _learned(loss: Float[Tensor, "n boxes"], target: Int64[Tensor, "n boxes"]) -> Tensor:
    """Which boxes are learned from: those that stand for things, and the background that is most mistaken for some."""
    things = target > 0
    background = loss.detach().masked_fill(things, -math.inf)
    rank = background.argsort(1, descending=True).argsort(1)
    return things | (rank < (NEGATIVES * things.sum(1, keepdim=True)).clamp_min(FEWEST)) & ~things
