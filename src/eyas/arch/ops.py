"""The operators of the papers' tables: one row of a table to the layers of one block."""

from eyas.arch.spec import Activation, Block, Layer, Stage


def conv(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """A full convolution with normalisation and activation."""
    return Block(0, (Layer("conv", stage.kernel, stride, channels, stage.channels, size, activation),))


def separable(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """Depthwise convolution, then 1x1; each normalised and activated (MobileNets, Figure 3)."""
    depthwise = Layer("depthwise", stage.kernel, stride, channels, channels, size, activation)
    pointwise = Layer("conv", 1, 1, channels, stage.channels, depthwise.output_size, activation)
    return Block(0, (depthwise, pointwise))


def mbconv(stage: Stage, channels: int, stride: int, size: int, activation: Activation) -> Block:
    """Inverted bottleneck: expand 1x1, depthwise, squeeze-and-excitation, linear 1x1 (EfficientNet, Table 1).

    No expansion layer when `expand` is 1; the squeeze is a share of the block's input channels, as in the reference code.
    """
    wide = int(channels * stage.expand)
    made: list[Layer] = []
    if stage.expand != 1:
        made.append(Layer("conv", 1, 1, channels, wide, size, activation))
    depthwise = Layer("depthwise", stage.kernel, stride, wide, wide, size, activation)
    made.append(depthwise)
    if stage.squeeze:
        hidden = max(1, int(channels * stage.squeeze))
        made.append(Layer("squeeze", 1, 1, wide, wide, depthwise.output_size, activation, hidden))
    made.append(Layer("conv", 1, 1, wide, stage.channels, depthwise.output_size))
    return Block(0, tuple(made), residual=stride == 1 and channels == stage.channels)
