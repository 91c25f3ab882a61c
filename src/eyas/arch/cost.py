"""What a network costs, from its value alone: MAdds, parameters, activation memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from eyas.arch.spec import Arch, Block, Layer, blocks, layers


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one image through the network.

    `madds`: multiply-adds (not FLOPs, which are twice that). `params`: all trainable parameters. `weights`: kernels
    only, the MobileNets paper's count. `peak_activation_bytes`: the most that must be alive at once, one byte an
    element (int8); four times that in float32.
    """

    madds: int
    params: int
    weights: int
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one group of layers costs."""

    group: str
    madds: int
    params: int
    layers: int


def cost(arch: Arch, classes: int = 1000) -> Cost:
    """Cost of `arch` with a classifier of `classes` (0: without one)."""
    madds = params = weights = 0
    for _, layer in layers(arch, classes):
        madds += layer.madds
        params += layer.params
        weights += layer.weights
    return Cost(madds, params, weights, max(_peak(block) for block in blocks(arch)))


def breakdown(arch: Arch, by: Literal["layer", "type", "stage"], classes: int = 1000) -> list[Share]:
    """Cost by `layer`, `type` (the paper's Table 2) or `stage`, in the order of the network."""
    groups: dict[str, list[Layer]] = {}
    for index, (stage, layer) in enumerate(layers(arch, classes)):
        match by:
            case "layer":
                key = f"{index} {type_of(layer)}"
            case "type":
                key = type_of(layer)
            case "stage":
                key = f"stage {stage}" if layer.kind != "linear" else "classifier"
        groups.setdefault(key, []).append(layer)
    return [Share(group, _total(of, "madds"), _total(of, "params"), len(of)) for group, of in groups.items()]


def type_of(layer: Layer) -> str:
    """The row of the paper's Table 2 that a layer belongs to."""
    match layer.kind:
        case "conv":
            return f"Conv {layer.kernel}x{layer.kernel}"
        case "depthwise":
            return f"Conv DW {layer.kernel}x{layer.kernel}"
        case "squeeze":
            return "Squeeze-excitation"
        case "linear":
            return "Fully Connected"


def _total(of: Iterable[Layer], name: str) -> int:
    return sum(getattr(layer, name) for layer in of)


def _peak(block: Block) -> int:
    """Elements alive at the block's widest layer: its input, its output and, around it, the shortcut."""
    first = block.layers[0]
    shortcut = first.inputs * first.size**2 if block.residual else 0
    return max(
        layer.inputs * layer.size**2 + layer.outputs * layer.output_size**2 + (shortcut if index else 0)
        for index, layer in enumerate(block.layers)
    )
