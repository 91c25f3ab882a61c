"""One layer and one block of a network at a known place: values that cost and construction read.

Standard library only.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["conv", "depthwise", "squeeze", "pool", "linear"]
Activation = Literal["", "relu", "relu6", "silu", "hard_swish"]
Gate = Literal["sigmoid", "hard_sigmoid"]


class Layer(NamedTuple):  # quicker to make than a frozen dataclass, and a network has hundreds
    """One layer at a known place: everything that cost and construction need.

    `conv` and `depthwise` are followed by batch normalisation and `activation` ("" is linear); `squeeze` is a
    squeeze-and-excitation gate with `hidden` channels inside; `pool` takes the largest; `linear` has a bias. `size` is the
    input side in pixels.
    """

    kind: Kind
    kernel: int
    stride: int
    inputs: int
    outputs: int
    size: int
    activation: Activation = ""
    hidden: int = 0
    gate: Gate = "sigmoid"

    @property
    def output_size(self) -> int:
        """Output side in pixels; symmetric and "same" padding agree on it for odd kernels."""
        return -(-self.size // self.stride)

    @property
    def weights(self) -> int:
        """Kernel weights only: what the MobileNets paper counts as parameters."""
        match self.kind:
            case "conv":
                return self.kernel**2 * self.inputs * self.outputs
            case "depthwise":
                return self.kernel**2 * self.outputs
            case "squeeze":
                return 2 * self.inputs * self.hidden
            case "pool":
                return 0
            case "linear":
                return self.inputs * self.outputs

    @property
    def offsets(self) -> int:
        """Trainable parameters besides the kernels: biases, and scale and shift of the normalisation."""
        match self.kind:
            case "conv" | "depthwise":
                return 2 * self.outputs
            case "squeeze":
                return self.hidden + self.outputs
            case "pool":
                return 0
            case "linear":
                return self.outputs

    @property
    def positions(self) -> int:
        """How often the kernel is applied to one image."""
        return 1 if self.kind in ("squeeze", "linear") else self.output_size**2

    @property
    def params(self) -> int:
        """All trainable parameters."""
        return self.weights + self.offsets

    @property
    def madds(self) -> int:
        """Multiply-adds for one image (MobileNets, equations 2 to 5)."""
        return self.weights * self.positions

    @property
    def input_elements(self) -> int:
        """Numbers that it reads besides its weights."""
        return self.inputs * self.size**2

    @property
    def output_elements(self) -> int:
        """Numbers that it writes."""
        return self.outputs * self.output_size**2


@dataclass(frozen=True, slots=True)
class Block:
    """Layers applied in turn; where there is a shortcut around them, what both give is added and then activated.

    `residual`: the shortcut is the identity. `shortcut`: it is this projection.
    """

    stage: int
    layers: tuple[Layer, ...]
    residual: bool = False
    shortcut: Layer | None = None
    activation: Activation = ""

    @property
    def outputs(self) -> int:
        """Channels that leave it."""
        return self.layers[-1].outputs

    @property
    def output_size(self) -> int:
        """Side in pixels of what leaves it."""
        return self.layers[-1].output_size

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The layers in turn, the projection last."""
        return (*self.layers, self.shortcut) if self.shortcut else self.layers

    @property
    def sums(self) -> tuple[int, int, int]:
        """MAdds, parameters and weights of all layers."""
        madds = params = weights = 0
        for layer in self.all_layers:
            kernel = layer.weights
            weights += kernel
            madds += kernel * layer.positions
            params += kernel + layer.offsets
        return madds, params, weights

    @property
    def peak(self) -> int:
        """Elements alive at its widest layer: the layer's input and output and, around it, what the shortcut holds."""
        held = self.layers[0].input_elements if self.residual or self.shortcut else 0
        alive = [
            layer.input_elements + layer.output_elements + (held if index else 0) for index, layer in enumerate(self.layers)
        ]
        if self.shortcut:
            alive.append(held + 2 * self.shortcut.output_elements)
        return max(alive)
