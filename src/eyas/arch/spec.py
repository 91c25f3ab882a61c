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
from typing import Literal, NamedTuple

from eyas.arch.layer import Activation, Block, Layer

Padding = Literal["symmetric", "same"]
Op = Callable[["Stage", int, int, int, Activation], Block]


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of a paper's table: an operator repeated, the stride on its first repetition.

    `expand` is the width inside a block over that of its input (`bottleneck`: of its output), `squeeze` the width inside a
    squeeze-and-excitation gate, over what the operator says; `activation` is the row's own, else the network's.
    """

    op: Op
    kernel: int
    stride: int
    channels: int
    repeat: int = 1
    expand: int | float = 1
    squeeze: float = 0.0
    activation: Activation | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What images a network's published weights were trained with, and how Eyas shows it images.

    Attributes:
        mean: of pixels in [0, 1], as published.
        std: of pixels in [0, 1], as published.
        interpolation: as published, for the record: Eyas resizes bicubically.
        crop: share of the sides that the centre crop keeps, as published, for the record.
        view: share of the sides that the centred box keeps which Eyas itself evaluates on; 1 is the whole image. It is the
            one value that training, evaluation, prediction and every exported file go by (`training.test_crop` sets it).
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop: float = 0.875
    view: float = 1.0


HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class Arch:
    """A network as a value: the published table and the four dials.

    Attributes:
        name: of the table.
        stages: the table.
        resolution: side in pixels of the input.
        head: width of a last 1x1 convolution (0: none).
        hidden: width of a linear layer between the pooling and the classifier (0: none); it is never narrowed.
        activation: of all layers that are not linear and whose row has none of its own.
        padding: `same` is TensorFlow's: as much on the right and bottom as needed.
        stem: first rows, which depth does not repeat.
        head_scales: whether width scales the head: always, only upwards (MobileNetV2), or never (MnasNet).
        scale_ends: `False` keeps the stem's width and the depth of the first and last stage after it (EfficientNet-Lite).
        coefficients: width and depth that the published network multiplies its table by (EfficientNet-B4: 1.4 and 1.8).
        norm_eps: of the batch normalisation, as published.
        norm_momentum: share of a new batch in its running statistics, as published.
        dropout: in front of the classifier, as published.
        init: how fresh weights are drawn.
        preprocessing: the images that its published weights were trained with.
        top1: published ImageNet accuracy in percent.
        source: of the table and the accuracy.
        width: dial, width multiplier α.
        depth: dial, multiplies the repetitions.
        output_stride: dial, the input side over that of the last map (`None`: the table's).
        native: the published resolution; `resolution` unless given.
    """

    name: str
    stages: tuple[Stage, ...]
    resolution: int
    head: int = 0
    hidden: int = 0
    activation: Activation = "relu"
    padding: Padding = "symmetric"
    stem: int = 1
    head_scales: Literal["always", "up", "never"] = "always"
    scale_ends: bool = True
    coefficients: tuple[float, float] = (1.0, 1.0)
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01
    dropout: float = 0.0
    init: Literal["mobilenet", "fan_out"] = "mobilenet"
    preprocessing: Preprocessing = HALVES
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
    def pooled(self) -> int:
        """Channels of the last map, which the pooling reads."""
        return blocks(self)[-1].outputs

    @property
    def features(self) -> int:
        """Width of what the classifier reads."""
        return self._hidden or self.pooled

    @property
    def total_stride(self) -> int:
        """Input side over the side of the last feature map."""
        return math.prod(_strides(self))

    @property
    def _hidden(self) -> int:
        return _widen(self.hidden, max(1.0, self.width * self.coefficients[0])) if self.hidden else 0


class Summed(NamedTuple):
    """A block with what it costs, so that blocks which stand in many networks are summed up once."""

    block: Block
    madds: int
    params: int
    weights: int
    peak: int


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never below 90 % of what was asked (MobileNetV2 reference code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def scaled_stages(arch: Arch) -> Iterator[Stage]:
    """The table's rows with width, depth and output stride applied; the stem is never repeated."""
    for row, stride, channels, repeat in _scaled(arch):
        yield Stage(row.op, row.kernel, stride, channels, repeat, row.expand, row.squeeze, row.activation or arch.activation)


def placed(arch: Arch) -> Iterator[tuple[Summed, int]]:
    """Every block in order with how often it stands there, the 1x1 head convolution as a block of its own at the end."""
    channels, size = 3, arch.resolution
    index = 0
    for index, (row, stride, outputs, repeat) in enumerate(_scaled(arch)):
        activation = row.activation or arch.activation
        how = (row.op, row.kernel, outputs, row.expand, row.squeeze, activation)
        made = _block(index, channels, stride, size, *how)
        yield made, 1
        channels, size = made.block.outputs, made.block.output_size
        if repeat > 1:
            yield _block(index, channels, 1, size, *how), repeat - 1
    if arch.head:
        yield _head(index + 1, channels, _head_width(arch), size, arch.activation), 1


@lru_cache(maxsize=256)
def blocks(arch: Arch) -> tuple[Block, ...]:
    """Every block in order, repeated ones as often as they stand there."""
    return tuple(made.block for made, count in placed(arch) for _ in range(count))


def layers(arch: Arch, classes: int = 1000) -> Iterator[tuple[int, Layer]]:
    """Every layer with the index of its stage; with `classes` 0 the classifier is left out."""
    for block in blocks(arch):
        for layer in block.all_layers:
            yield block.stage, layer
    for layer in after_pooling(arch, arch.pooled, classes):
        yield block.stage + 1, layer


def after_pooling(arch: Arch, pooled: int, classes: int) -> Iterator[Layer]:
    """The linear layers that read the `pooled` channels."""
    if arch.hidden:
        yield Layer("linear", 1, 1, pooled, arch._hidden, 1, arch.activation)
    if classes:
        yield Layer("linear", 1, 1, arch._hidden or pooled, classes, 1)


@lru_cache(maxsize=1 << 17)  # a plan weighs many networks made of the same blocks
def _block(
    index: int,
    channels: int,
    stride: int,
    size: int,
    op: Op,
    kernel: int,
    outputs: int,
    expand: int | float,
    squeeze: float,
    activation: Activation,
) -> Summed:
    """One block of the stage `index`: what an operator makes of a row, without what only tells how often it is repeated."""
    made = op(Stage(op, kernel, stride, outputs, 1, expand, squeeze, activation), channels, stride, size, activation)
    return _summed(Block(index, made.layers, made.residual, made.shortcut, made.activation))


@lru_cache(maxsize=1 << 12)
def _head(index: int, channels: int, width: int, size: int, activation: Activation) -> Summed:
    return _summed(Block(index, (Layer("conv", 1, 1, channels, width, size, activation),)))


def _summed(block: Block) -> Summed:
    return Summed(block, *block.sums, block.peak)


def _head_width(arch: Arch) -> int:
    width = arch.width * arch.coefficients[0]
    match arch.head_scales:
        case "always":
            return _widen(arch.head, width)
        case "up":
            return _widen(arch.head, max(1.0, width))
        case "never":
            return arch.head


def _scaled(arch: Arch) -> Iterator[tuple[Stage, int, int, int]]:
    """Every row with its stride, channels and repetitions under the dials."""
    width, depth = arch.width * arch.coefficients[0], arch.depth * arch.coefficients[1]
    last = len(arch.stages) - 1
    for index, (row, stride) in enumerate(zip(arch.stages, _strides(arch), strict=True)):
        fixed_width = index == 0 and not arch.scale_ends
        fixed_depth = index < arch.stem or (index in (1, last) and not arch.scale_ends)
        channels = row.channels if fixed_width else _widen(row.channels, width)
        yield row, stride, channels, row.repeat if fixed_depth else math.ceil(_exact(row.repeat * depth))


def _number(value: float) -> str:
    """Every digit that tells `value` from its neighbours, without an exponent: `0.5`, `2`, `0.00001`."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def _widen(channels: int, width: float) -> int:
    return channels if width == 1 else round_channels(_exact(channels * width))


def _exact(product: float) -> float:
    """Without the last digits of a float, which would tip a rounding: 1.1 x 40 is 44, and 3 x 1/3 is 1."""
    return round(product, 6)


def _strides(arch: Arch) -> list[int]:
    """Strides of the stages; taken out of the earliest after the stem until the output stride is reached."""
    strides = [stage.stride for stage in arch.stages]
    if arch.output_stride:
        for index in range(1, len(strides)):
            if math.prod(strides) > arch.output_stride:
                strides[index] = 1
    return strides
