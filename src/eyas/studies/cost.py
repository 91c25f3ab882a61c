"""`eyas cost`: MAdds, parameters and activation memory, from the architecture's value alone."""

from dataclasses import dataclass
from typing import Literal

from eyas.arch.cost import Cost, Share, breakdown
from eyas.arch.cost import cost as cost_of
from eyas.arch.parse import parse
from eyas.errors import UserError


@dataclass(frozen=True)
class Costed:
    """An architecture's cost for one image, and its shares where they were asked for."""

    arch: str
    resolution: int
    classes: int
    cost: Cost
    shares: list[Share]


def cost(arch: str, by: Literal["none", "layer", "type", "stage"] = "none", classes: int = 1000) -> Costed:
    """Count multiply-adds (MAdds, half of what others call FLOPs), parameters and activation memory.

    Args:
        arch: for example mobilenet_v1, mobilenet_v1x0.5@160 or efficientnet_lite0@128.
        by: break the cost down by layer, by type (the MobileNets paper's Table 2) or by stage.
        classes: outputs of the classifier; 0 leaves it out.

    Raises:
        UserError: no architecture has that name, or a dial is out of range.
    """
    if classes < 0:
        raise UserError(f"classes is {classes}; it must be 0 or above")
    value = parse(arch)
    shares = breakdown(value, by, classes) if by != "none" else []
    return Costed(str(value), value.resolution, classes, cost_of(value, classes), shares)
