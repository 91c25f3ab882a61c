"""The operators of the papers' tables: one row of a table to the layers of one block.

A row's op is called with the row, the channels and the side in pixels of the block's input, its stride and activation.
"""

from collections.abc import Callable

from eyas.arch.layer import Activation, Block, Layer
from eyas.arch.spec import Stage, round_channels


def conv(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """A full convolution with normalisation and activation."""
    return Block(0, (Layer("conv", stage.kernel, stride, channels, stage.channels, size, activation),))


def pool(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:  # noqa: ARG001 (it has none)
    """The largest of each neighbourhood; as many channels as before."""
    return Block(0, (Layer("pool", stage.kernel, stride, channels, channels, size),))


def separable(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """Depthwise convolution, then 1x1; each normalised and activated (MobileNets, Figure 3)."""
    depthwise = Layer("depthwise", stage.kernel, stride, channels, channels, size, activation)
    pointwise = Layer("conv", 1, 1, channels, stage.channels, depthwise.output_size, activation)
    return Block(0, (depthwise, pointwise))


def mbconv(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """Inverted bottleneck: expand 1x1, depthwise, squeeze-and-excitation, linear 1x1 (EfficientNet, Table 1).

    No expansion layer when `expand` is 1; `squeeze` is a share of the block's input channels, as in the reference code.
    """

    def gate(wide: int, side: int) -> Layer:
        return Layer("squeeze", 1, 1, wide, wide, side, activation, max(1, int(channels * stage.squeeze)))

    return _inverted(stage, channels, stride, size, activation, gate)


def bneck(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """MobileNetV3's inverted bottleneck (1905.02244, section 5): its gate is a hard sigmoid, with ReLU inside.

    `squeeze` is a share of the expanded channels, rounded as channels are.
    """

    def gate(wide: int, side: int) -> Layer:
        return Layer("squeeze", 1, 1, wide, wide, side, "relu", round_channels(wide * stage.squeeze), "hard_sigmoid")

    return _inverted(stage, channels, stride, size, activation, gate)


def bottleneck(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """ResNet's bottleneck: 1x1, 3x3, linear 1x1, around it a shortcut (1512.03385, Figure 5).

    The stride is on the 3x3 convolution, as every implementation has it, not on the first 1x1 as in the paper.
    """
    narrow = round_channels(stage.channels * stage.expand)
    reduce = Layer("conv", 1, 1, channels, narrow, size, activation)
    middle = Layer("conv", stage.kernel, stride, narrow, narrow, size, activation)
    restore = Layer("conv", 1, 1, narrow, stage.channels, middle.output_size)
    return _added((reduce, middle, restore), stride, activation)


def basic(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """ResNet's block of two convolutions, the second linear, around them a shortcut (1512.03385, Figure 5)."""
    first = Layer("conv", stage.kernel, stride, channels, stage.channels, size, activation)
    second = Layer("conv", stage.kernel, 1, stage.channels, stage.channels, first.output_size)
    return _added((first, second), stride, activation)


def _inverted(
    stage: Stage, channels: int, stride: int, size: int, activation: Activation, gate: Callable[[int, int], Layer]
) -> Block:
    """The inverted bottleneck, with `gate(width, side)` where the row has squeeze-and-excitation."""
    wide = channels if stage.expand == 1 else round_channels(channels * stage.expand)
    depthwise = Layer("depthwise", stage.kernel, stride, wide, wide, size, activation)
    side = depthwise.output_size
    made = (
        *((Layer("conv", 1, 1, channels, wide, size, activation),) if stage.expand != 1 else ()),
        depthwise,
        *((gate(wide, side),) if stage.squeeze else ()),
        Layer("conv", 1, 1, wide, stage.channels, side),
    )
    return Block(0, made, residual=stride == 1 and channels == stage.channels)


def _added(made: tuple[Layer, ...], stride: int, activation: Activation) -> Block:
    """With a shortcut around `made`: the identity where the shapes allow it, else a projection (option B of the paper)."""
    first, last = made[0], made[-1]
    if stride == 1 and first.inputs == last.outputs:
        return Block(0, made, residual=True, activation=activation)
    return Block(0, made, shortcut=Layer("conv", 1, stride, first.inputs, last.outputs, first.size), activation=activation)
