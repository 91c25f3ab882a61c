"""`eyas cost`: MAdds, parameters and activation memory, from an architecture's value or by running shapes through a module."""

from dataclasses import dataclass
from typing import Literal

from eyas.arch.cost import Cost, Share, breakdown
from eyas.arch.cost import cost as cost_of
from eyas.arch.parse import parse
from eyas.arch.tables import ARCHS
from eyas.errors import UserError

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Costed:
    """An architecture's cost for one image, and its shares where they were asked for.

    Attributes:
        arch: its text, in full form.
        resolution: side in pixels of the image.
        classes: outputs of the classifier; `None` for a module of the user's own, whose outputs are its own affair.
        cost: of the whole network.
        top1: published ImageNet accuracy in percent, where the table is as published; `None` where it is not known.
        shares: of groups of layers.
    """

    arch: str
    resolution: int
    classes: int | None
    cost: Cost
    top1: float | None
    shares: list[Share]


def compare(
    arch: list[str], by: Literal["none", "layer", "type", "stage"] = "none", classes: int = IMAGENET_CLASSES
) -> list[Costed]:
    """Count the multiply-adds (MAdds; FLOPs are twice that), parameters and activation memory of one image.

    Several architectures are set against the first.

    Args:
        arch: NAME[x<width>][d<depth>][@<resolution>][/<output stride>], for example mobilenet_v1x0.5@160; or
            PACKAGE:NAME[@<resolution>], for example torchvision:vgg16, timm:resnet50@288 or my.module:make_model.
        by: break the cost down by layer, by type (the MobileNets paper's Table 2) or by stage.
        classes: outputs of the classifier; 0 leaves it out. A model of your own keeps its outputs.

    Raises:
        UserError: no architecture has that name, a dial is out of range, or a model cannot be built or run.
    """
    return [cost(each, by, classes) for each in arch]


def cost(arch: str, by: Literal["none", "layer", "type", "stage"] = "none", classes: int = IMAGENET_CLASSES) -> Costed:
    """Count one architecture, as `compare` does several.

    Args:
        arch: for example mobilenet_v1, mobilenet_v1x0.5@160, torchvision:vgg16 or my.module:make_model@96.
        by: break the cost down by layer, by type (the MobileNets paper's Table 2) or by stage.
        classes: outputs of the classifier; 0 leaves it out. A model of your own keeps its outputs.

    Raises:
        UserError: no architecture has that name, a dial is out of range, or a model cannot be built or run.
    """
    if classes < 0:
        raise UserError(f"classes is {classes}; it must be 0 or above")
    if ":" in arch:
        return _of_module(arch, by, classes)
    value = parse(arch)
    shares = breakdown(value, by, classes) if by != "none" else []
    published = value == ARCHS[value.name] and classes == IMAGENET_CLASSES
    top1 = value.top1 if published else None
    return Costed(str(value), value.resolution, classes, cost_of(value, classes), top1, shares)


def _of_module(text: str, by: Literal["none", "layer", "type", "stage"], classes: int) -> Costed:
    from eyas.nn.count import breakdown, count  # here and not above: the cost of a value needs no torch
    from eyas.nn.foreign import model_of

    found = model_of(text, classes)
    try:
        shares = breakdown(found.module, by, found.resolution) if by != "none" else []
        return Costed(text, found.resolution, found.classes, count(found.module, found.resolution), None, shares)
    except UserError as error:
        raise UserError(f"{text}: {error}") from None
