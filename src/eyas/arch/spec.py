"""What a network is: frozen values, standard library only.

An `Arch` is a table as the papers print it, plus four dials: width multiplier, depth multiplier, resolution and output
stride. The dials are applied when the layers are read, never written back into the table, so turning a dial back gives
the same layers again.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

Kind = Literal["conv", "depthwise", "squeeze", "linear"]
Activation = Literal["", "relu", "relu6", "silu"]
Padding = Literal["symmetric", "same"]
Op = Callable[["Stage", int, int, int, Activation], "Block"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One weighted layer at a known place: everything that cost and construction need.

    `conv` and `depthwise` are followed by batch normalisation and `activation` ("" is linear); `squeeze` is a
    squeeze-and-excitation gate of `hidden` channels; `linear` is the classifier. `size` is the input side in pixels.
    """

    kind: Kind
    kernel: int
    stride: int
    inputs: int
    outputs: int
    size: int
    activation: Activation = ""
    hidden: int = 0

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
            case "linear":
                return self.inputs * self.outputs

    @property
    def params(self) -> int:
        """All trainable parameters: kernels, biases, and scale and shift of the normalisation."""
        match self.kind:
            case "conv" | "depthwise":
                return self.weights + 2 * self.outputs
            case "squeeze":
                return self.weights + self.hidden + self.outputs
            case "linear":
                return self.weights + self.outputs

    @property
    def madds(self) -> int:
        """Multiply-adds for one image (MobileNets, equations 2 to 5)."""
        positions = 1 if self.kind in ("squeeze", "linear") else self.output_size**2
        return self.weights * positions


@dataclass(frozen=True, slots=True)
class Block:
    """Layers applied in turn, with an identity shortcut around them when `residual`."""

    stage: int
    layers: tuple[Layer, ...]
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of a paper's table: an operator repeated, the stride on its first repetition."""

    op: Op
    kernel: int
    stride: int
    channels: int
    repeat: int = 1
    expand: int | float = 1
    squeeze: float = 0.0


@dataclass(frozen=True, slots=True)
class Arch:
    """A network as a value: the published table and the four dials.

    `head` is the width of a last 1x1 convolution (0: none). `scale_ends=False` keeps stem and head at their published
    width and the first and last stage after the stem at their published depth (EfficientNet-Lite). `padding="same"` is
    TensorFlow's: as much on the right and bottom as needed. `mean` and `std` are those of pixels in [0, 1].
    """

    name: str
    stages: tuple[Stage, ...]
    resolution: int
    head: int = 0
    activation: Activation = "relu"
    padding: Padding = "symmetric"
    scale_ends: bool = True
    norm_eps: float = 1e-3
    dropout: float = 0.0
    init: Literal["mobilenet", "efficientnet"] = "mobilenet"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    top1: float | None = None
    source: str = ""
    width: float = 1.0
    depth: float = 1.0
    output_stride: int | None = None
    native: int = 0

    def __post_init__(self) -> None:
        if not self.native:
            object.__setattr__(self, "native", self.resolution)

    def __str__(self) -> str:
        """`NAME[x<width>][d<depth>][@<resolution>][/<output stride>]`, without the dials that were not turned."""
        width = f"x{_number(self.width)}" if self.width != 1 else ""
        depth = f"d{_number(self.depth)}" if self.depth != 1 else ""
        resolution = f"@{self.resolution}" if self.resolution != self.native else ""
        stride = f"/{self.output_stride}" if self.output_stride else ""
        return f"{self.name}{width}{depth}{resolution}{stride}"

    @property
    def features(self) -> int:
        """Channels that reach the pooling in front of the classifier."""
        return blocks(self)[-1].layers[-1].outputs

    @property
    def total_stride(self) -> int:
        """Input side over the side of the last feature map."""
        return math.prod(stage.stride for stage in scaled_stages(self))


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never below 90 % of what was asked (MobileNetV2 reference code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def scaled_stages(arch: Arch) -> Iterator[Stage]:
    """The table's rows with width, depth and output stride applied; the stem is never repeated."""
    strides = _strides(arch)
    last = len(arch.stages) - 1
    for index, (row, stride) in enumerate(zip(arch.stages, strides, strict=True)):
        fixed_width = index == 0 and not arch.scale_ends
        fixed_depth = index == 0 or (index in (1, last) and not arch.scale_ends)
        yield Stage(
            row.op,
            row.kernel,
            stride,
            row.channels if fixed_width else _widen(row.channels, arch.width),
            row.repeat if fixed_depth else math.ceil(row.repeat * arch.depth),
            row.expand,
            row.squeeze,
        )


@lru_cache(maxsize=256)
def blocks(arch: Arch) -> tuple[Block, ...]:
    """Every block in order, the 1x1 head convolution as a block of its own at the end."""
    made: list[Block] = []
    channels, size = 3, arch.resolution
    stages = tuple(scaled_stages(arch))
    for index, stage in enumerate(stages):
        for repeat in range(stage.repeat):
            stride = stage.stride if repeat == 0 else 1
            block = stage.op(stage, channels, stride, size, arch.activation)
            made.append(Block(index, block.layers, block.residual))
            channels, size = stage.channels, block.layers[-1].output_size
    if arch.head:
        head = arch.head if not arch.scale_ends else _widen(arch.head, arch.width)
        layer = Layer("conv", 1, 1, channels, head, size, arch.activation)
        made.append(Block(len(stages), (layer,)))
    return tuple(made)


def layers(arch: Arch, classes: int = 1000) -> Iterator[tuple[int, Layer]]:
    """Every layer with the index of its stage; with `classes` 0 the classifier is left out."""
    for block in blocks(arch):
        for layer in block.layers:
            yield block.stage, layer
    if classes:
        yield block.stage + 1, Layer("linear", 1, 1, arch.features, classes, 1)


def _number(value: float) -> str:
    """Every digit that tells `value` from its neighbours, without an exponent: `0.5`, `2`, `0.00001`."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def _widen(channels: int, width: float) -> int:
    return channels if width == 1 else round_channels(channels * width)


def _strides(arch: Arch) -> list[int]:
    """Strides of the stages; taken out of the earliest after the stem until the output stride is reached."""
    strides = [stage.stride for stage in arch.stages]
    if arch.output_stride:
        for index in range(1, len(strides)):
            if math.prod(strides) > arch.output_stride:
                strides[index] = 1
    return strides
