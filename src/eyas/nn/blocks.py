"""The blocks of a network, built from their `Layer` values: shapes come from the value, never from a second table."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from eyas.arch.layer import Activation, Block, Layer
from eyas.arch.spec import Arch, Padding
from eyas.nn import fused
from eyas.nn.kernels import Kernels

Map = Float[Tensor, "n _ _ _"]  # channels and sides change from layer to layer


class ConvNorm(nn.Module):
    """Convolution (full or depthwise), batch normalisation, activation.

    Attributes:
        kernels: with which training computes what lies between matrix products, where there are any (`fuse`).
    """

    kernels: Kernels | None = None

    def __init__(self, layer: Layer, padding: Padding, norm_eps: float, norm_momentum: float) -> None:
        super().__init__()
        self.layer = layer
        self.pad = padding == "same" and layer.stride > 1
        self.conv = nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            layer.stride,
            padding=0 if self.pad else layer.kernel // 2,
            groups=layer.inputs if layer.kind == "depthwise" else 1,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(layer.outputs, norm_eps, norm_momentum)
        self.activation = activation(layer.activation)

    def forward(self, x: Map) -> Map:
        """[n, inputs, h, w] to [n, outputs, h / stride, w / stride], sides rounded up."""
        layer, half = self.layer, self.layer.kernel // 2
        padding = _same(x, layer.kernel, layer.stride) if self.pad else (half, half, half, half)
        fuses = self.kernels is not None and fused.takes(x, layer.outputs) and fused.takes_norm(self.norm)
        if fuses and layer.kind == "depthwise" and layer.kernel in fused.KERNELS and layer.stride in fused.STRIDES:
            weight = self.conv.weight
            return fused.depthwise(self.kernels, x, weight, self.norm, layer.activation, layer.stride, padding)
        convolved = self._convolved(functional.pad(x, padding) if self.pad else x)
        if fuses:
            return fused.normalised(self.kernels, convolved, self.norm, layer.activation)
        return self.activation(self.norm(convolved))

    def _convolved(self, x: Map) -> Map:
        """The convolution; on a processor in bfloat16, a depthwise one that strides or is larger than 3x3 stays in float32.

        Its gradient in bfloat16 takes many times as long as the one in float32 (docs/log.md, the training engine).
        """
        slow = self.layer.kind == "depthwise" and (self.layer.stride > 1 or self.layer.kernel > 3)
        if slow and x.is_cpu and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self.conv(x.float())
        return self.conv(x)


class SqueezeExcite(nn.Module):
    """Gate each channel by what all of the map says (EfficientNet, Table 1, after Hu et al. 2018).

    Attributes:
        kernels: as of a `ConvNorm`.
    """

    kernels: Kernels | None = None

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.reduce = nn.Conv2d(layer.inputs, layer.hidden, 1)
        self.activation = activation(layer.activation)
        self.expand = nn.Conv2d(layer.hidden, layer.outputs, 1)
        self.gate = nn.Sigmoid() if layer.gate == "sigmoid" else nn.Hardsigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """[n, c, h, w] to the same shape."""
        if self.kernels is not None and self.training and fused.takes(x, self.layer.outputs):
            return fused.gated(self.kernels, x, self._factor)
        return x * self._factor(x.mean((2, 3), keepdim=True))

    def _factor(self, squeezed: Float[Tensor, "n c 1 1"]) -> Float[Tensor, "n c 1 1"]:
        return self.gate(self.expand(self.activation(self.reduce(squeezed))))


Weighted = ConvNorm | SqueezeExcite


class BlockModule(nn.Module):
    """The layers of a `Block` in turn; around them the shortcut, and stochastic depth at rate `drop_path`."""

    def __init__(self, block: Block, arch: Arch, norm_momentum: float, drop_path: float) -> None:
        super().__init__()
        self.stage = block.stage
        self.residual = block.residual
        self.drop_path = drop_path
        self.layers = nn.ModuleList(_module(layer, arch, norm_momentum) for layer in block.layers)
        self.shortcut = _module(block.shortcut, arch, norm_momentum) if block.shortcut else None
        self.activation = activation(block.activation)

    def weighted(self) -> list[Weighted]:
        """The layers with weights, the projection last; each keeps the `Layer` that it was made from."""
        return [layer for layer in (*self.layers, self.shortcut) if isinstance(layer, ConvNorm | SqueezeExcite)]

    def forward(self, x: Map) -> Map:
        """[n, c, h, w] to [n, c', h / stride, w / stride]."""
        shortcut = self.shortcut(x) if self.shortcut is not None else x
        for layer in self.layers:
            x = layer(x)
        if self.residual or self.shortcut is not None:
            if self.training and self.drop_path:
                kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.drop_path
                x = x * (kept / (1 - self.drop_path)).to(x.dtype)
            x = shortcut + x
        return self.activation(x)


def fuse(network: nn.Module, using: Kernels | None) -> None:
    """Have the layers of `network` that can use these kernels do so in training; `None`: none of them any more."""
    for module in network.modules():
        if isinstance(module, ConvNorm | SqueezeExcite):
            module.kernels = using


def activation(name: Activation) -> nn.Module:
    """The module of an activation's name. Only ReLU works in place: of what others change, autograd would keep a copy."""
    match name:
        case "":
            return nn.Identity()
        case "relu":
            return nn.ReLU(inplace=True)
        case "relu6":
            return nn.ReLU6()
        case "silu":
            return nn.SiLU()
        case "hard_swish":
            return nn.Hardswish()


def _module(layer: Layer, arch: Arch, norm_momentum: float) -> nn.Module:
    match layer.kind:
        case "squeeze":
            return SqueezeExcite(layer)
        case "pool":
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.kernel // 2)
        case _:
            return ConvNorm(layer, arch.padding, arch.norm_eps, norm_momentum)


def _same(x: Map, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's padding, left, right, top, bottom: the odd pixel goes right and below."""
    height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return width // 2, width - width // 2, height // 2, height - height // 2
