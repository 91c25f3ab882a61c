"""What is published on the accuracy of the tables and of scaled networks, and what that says of the ones in between.

ImageNet top-1 in percent, from years of different training recipes: good for ranking networks before anything is trained,
and no promise for anybody's own images.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Literal

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS

How = Literal["published", "interpolated", "estimated"]

# Tables by family. Left out are two that MobileNets compares itself with: with full convolutions, and shallow.
FAMILIES: dict[str, tuple[str, ...]] = {
    "mobilenet_v1": ("mobilenet_v1",),
    "mobilenet_v2": ("mobilenet_v2",),
    "mobilenet_v3": ("mobilenet_v3_large", "mobilenet_v3_small"),
    "mnasnet": ("mnasnet_a1", "mnasnet_b1"),
    "efficientnet": tuple(name for name in ARCHS if name.startswith("efficientnet_") and "lite" not in name),
    "efficientnet_lite": tuple(name for name in ARCHS if name.startswith("efficientnet_lite")),
    "resnet": tuple(name for name in ARCHS if name.startswith("resnet")),
}

# Families of which all tables lie on one curve; any other table has a curve of its own.
_TOGETHER = ("mobilenet_v3", "efficientnet", "efficientnet_lite", "resnet")

_PAPER = "MobileNets (1704.04861), Tables 6, 7 and 9"
_V1 = "MobileNetV1, released checkpoints (tensorflow/models, mobilenet_v1.md)"
_V2 = "MobileNetV2, released checkpoints (tensorflow/models, mobilenet/README.md)"
_V3 = "MobileNetV3, released checkpoints (tensorflow/models, mobilenet/README.md)"
_SCALED = "EfficientNet (1905.11946), Table 3"
_B0 = "EfficientNet (1905.11946), Table 7"

# Of networks that are tables with a dial turned; that of a table as it is stands in the table itself.
_TURNED: dict[str, dict[str, float]] = {
    _PAPER: {
        "mobilenet_v1x0.75": 68.4,
        "mobilenet_v1x0.5": 63.7,
        "mobilenet_v1x0.25": 50.6,
        "mobilenet_v1@192": 69.1,
        "mobilenet_v1@160": 67.2,
        "mobilenet_v1@128": 64.4,
        "mobilenet_v1x0.5@160": 60.2,
    },
    _V1: {  # those that the paper draws in Figure 4 and does not print; a later training, up to a point from the paper's
        "mobilenet_v1x0.75@192": 67.2,
        "mobilenet_v1x0.75@160": 65.3,
        "mobilenet_v1x0.75@128": 62.1,
        "mobilenet_v1x0.5@192": 61.7,
        "mobilenet_v1x0.5@128": 56.3,
        "mobilenet_v1x0.25@192": 47.7,
        "mobilenet_v1x0.25@160": 45.5,
        "mobilenet_v1x0.25@128": 41.5,
    },
    "MobileNetV2 (1801.04381), Table 4": {"mobilenet_v2x1.4": 74.7},
    _V2: {
        "mobilenet_v2x1.3": 74.4,
        "mobilenet_v2@192": 70.7,
        "mobilenet_v2@160": 68.8,
        "mobilenet_v2@128": 65.3,
        "mobilenet_v2@96": 60.3,
        "mobilenet_v2x0.75": 69.8,
        "mobilenet_v2x0.75@192": 68.7,
        "mobilenet_v2x0.75@160": 66.4,
        "mobilenet_v2x0.75@128": 63.2,
        "mobilenet_v2x0.75@96": 58.8,
        "mobilenet_v2x0.5": 65.4,
        "mobilenet_v2x0.5@192": 63.9,
        "mobilenet_v2x0.5@160": 61.0,
        "mobilenet_v2x0.5@128": 57.7,
        "mobilenet_v2x0.5@96": 51.2,
        "mobilenet_v2x0.35": 60.3,
        "mobilenet_v2x0.35@192": 58.2,
        "mobilenet_v2x0.35@160": 55.7,
        "mobilenet_v2x0.35@128": 50.8,
        "mobilenet_v2x0.35@96": 45.5,
    },
    _V3: {"mobilenet_v3_largex0.75": 73.3, "mobilenet_v3_smallx0.75": 65.4},
    "torchvision's weights": {"mnasnet_b1x0.5": 67.734, "mnasnet_b1x0.75": 71.18, "mnasnet_b1x1.3": 76.506},
    _SCALED: {
        "mobilenet_v1x2": 74.2,
        "mobilenet_v1@448": 72.7,
        "mobilenet_v1x1.2d1.4@291": 75.6,
        "mobilenet_v2d4": 76.8,
        "mobilenet_v2x2": 76.4,
        "mobilenet_v2@448": 74.8,
        "resnet50d4": 78.1,
        "resnet50x2": 77.7,
        "resnet50@448": 77.5,
    },
    _B0: {
        "efficientnet_b0d4": 79.0,
        "efficientnet_b0x2": 78.9,
        "efficientnet_b0@448": 79.1,
        "efficientnet_b0x1.2d1.4@291": 81.1,
    },
}

# Architecture as text: top-1 in percent, and where that is printed.
PUBLISHED: dict[str, tuple[float, str]] = {
    **{name: (arch.top1, arch.source) for name, arch in ARCHS.items() if arch.top1 is not None},
    **{name: (top1, source) for source, rows in _TURNED.items() for name, top1 in rows.items()},
}

_MEASURE = "mobilenet_v2"  # the family of which the most is published: how far accuracy falls with MAdds


@dataclass(frozen=True, slots=True)
class Top1:
    """ImageNet accuracy in percent, and how it is known.

    `published`: of this very network. `interpolated`: along MAdds between published networks of its family, left out those
    that a cheaper one is better than. `estimated`: the same with the depth turned, or beyond them. Upwards that is what the
    best of them has; downwards, as far below the least as released MobileNetV2s of the same MAdds are below one another.
    """

    value: float
    how: How


def family_of(name: str) -> str:
    """The family of a table; a table that belongs to none is one itself."""
    return next((family for family, tables in FAMILIES.items() if name in tables), name)


def top1(arch: Arch, madds: int | None = None) -> Top1 | None:
    """What the published figures say of a network; `None` where they say nothing.

    They say nothing of other output strides, of networks that are shallower than compound scaling makes them (of two equally
    costly ones the narrower is 3 points better, MobileNets, Table 5), and of networks below the smallest published ones.

    Args:
        arch: the network.
        madds: its MAdds without a classifier, where they are known.
    """
    if arch.output_stride:
        return None
    if known := PUBLISHED.get(str(arch)):
        return Top1(known[0], "published")
    if arch.depth < min(1.0, arch.width) ** 2:
        return None
    curve = _curve(arch.name)
    if not curve:
        return None
    at = math.log(cost(arch, 0).madds if madds is None else madds)
    if at > curve[-1][0]:
        return Top1(curve[-1][1], "estimated")
    if at >= curve[0][0]:
        return Top1(_between(curve, at), "interpolated" if arch.depth == 1 else "estimated")
    measure = _curve(_MEASURE)
    if not measure[0][0] <= at <= curve[0][0] <= measure[-1][0]:
        return None
    return Top1(curve[0][1] - _between(measure, curve[0][0]) + _between(measure, at), "estimated")


@cache
def _curve(name: str) -> tuple[tuple[float, float], ...]:
    """Logarithm of the MAdds without classifier, and top-1, of the published networks on a table's curve, rising in both."""
    family = family_of(name)
    tables = FAMILIES[family] if family in _TOGETHER else (name,)
    archs = {text: parse(text) for text in PUBLISHED}
    points = [(math.log(cost(arch, 0).madds), PUBLISHED[text][0]) for text, arch in archs.items() if arch.name in tables]
    rising: list[tuple[float, float]] = []
    for at, value in sorted(points):
        if not rising or value > rising[-1][1]:
            rising.append((at, value))
    return tuple(rising)


def _between(curve: tuple[tuple[float, float], ...], at: float) -> float:
    """The curve's value at a place within it: linear between its points."""
    index = min(max(bisect_right(curve, at, key=lambda point: point[0]), 1), len(curve) - 1)
    (low, below), (high, above) = curve[index - 1], curve[index]
    return below + (above - below) * (at - low) / (high - low)
