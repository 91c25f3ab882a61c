"""What a network costs, from its value alone: MAdds, parameters, activation memory, bytes moved."""

from dataclasses import dataclass
from typing import Literal

from eyas.arch.layer import Layer
from eyas.arch.spec import Arch, after_pooling, layers, placed


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one image through the network.

    `madds`: multiply-adds (not FLOPs, which are twice that). `params`: all trainable parameters. `weights`: kernels
    only, the MobileNets paper's count. `peak_activation_bytes`: the most that must be alive at once, one byte an
    element (int8), four times that in float32; `None` where it is not known.
    """

    madds: int
    params: int
    weights: int
    peak_activation_bytes: int | None


@dataclass(frozen=True, slots=True)
class Share:
    """What one group of layers costs.

    `moved`: bytes read and written, one an element (int8; four times that in float32): each layer's input, weights and
    output, as if no cache held any of them.
    """

    group: str
    madds: int
    params: int
    layers: int
    moved: int

    @property
    def intensity(self) -> float:
        """MAdds a byte moved: the roofline model's arithmetic intensity (in FLOPs it is twice that), for int8."""
        return self.madds / self.moved


def cost(arch: Arch, classes: int = 1000) -> Cost:
    """Cost of `arch` with a classifier of `classes` (0: without one)."""
    madds = params = weights = peak = pooled = 0
    for made, count in placed(arch):
        madds += count * made.madds
        params += count * made.params
        weights += count * made.weights
        peak = max(peak, made.peak)
        pooled = made.block.outputs
    for layer in after_pooling(arch, pooled, classes):
        madds += layer.madds
        params += layer.params
        weights += layer.weights
    return Cost(madds, params, weights, peak)


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
    return [_share(group, of) for group, of in groups.items()]


def type_of(layer: Layer) -> str:
    """The row of the paper's Table 2 that a layer belongs to."""
    match layer.kind:
        case "conv":
            return f"Conv {layer.kernel}x{layer.kernel}"
        case "depthwise":
            return f"Conv DW {layer.kernel}x{layer.kernel}"
        case "squeeze":
            return "Squeeze-excitation"
        case "pool":
            return f"Max pool {layer.kernel}x{layer.kernel}"
        case "linear":
            return "Fully Connected"


def _share(group: str, of: list[Layer]) -> Share:
    madds, params = sum(layer.madds for layer in of), sum(layer.params for layer in of)
    moved = sum(layer.input_elements + layer.params + layer.output_elements for layer in of)
    return Share(group, madds, params, len(of), moved)
