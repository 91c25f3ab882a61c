"""What training does between its matrix products, with the kernels of fused.cpp, as functions of autograd.

The same as torch's own operations, in fewer passes over memory; in bfloat16 under autocast, with sums, statistics and the
squeeze of squeeze-and-excitation in float32.
"""

from collections.abc import Callable
from ctypes import byref
from typing import Any, get_args

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from eyas.arch.layer import Activation
from eyas.nn.kernels import Kernels, Norm, Shape

Map = Float[Tensor, "n _ _ _"]  # channels and sides change from layer to layer
Gate = Callable[[Float32[Tensor, "n c 1 1"]], Float32[Tensor, "n c 1 1"]]

ACTIVATIONS: tuple[Activation, ...] = ("", "relu", "relu6", "silu", "hard_swish")  # as fused.cpp numbers them
assert set(ACTIVATIONS) == set(get_args(Activation))
EIGHTS = 8  # channels come in
KERNELS, STRIDES = (3, 5), (1, 2)
LAST = torch.channels_last


def takes(x: Tensor, channels: int) -> bool:
    """Whether the kernels compute on such a map: on a processor, float32 or under autocast to bfloat16."""
    half = torch.is_autocast_enabled("cpu")
    known = torch.get_autocast_dtype("cpu") is torch.bfloat16 if half else x.dtype is torch.float32
    return x.is_cpu and known and channels % EIGHTS == 0 and x.numel() > 0


def takes_norm(norm: nn.BatchNorm2d) -> bool:
    """Whether it is in float32, and its statistics are those of the batch, in this process alone."""
    own = type(norm) is nn.BatchNorm2d and norm.training and norm.momentum is not None and norm.running_mean is not None
    return own and norm.affine and norm.weight.dtype is torch.float32


def normalised(kernels: Kernels, x: Map, norm: nn.BatchNorm2d, activation: Activation) -> Map:
    """`activation(norm(x))`, [n, c, h, w] to the same shape; running statistics move."""
    _count(norm)
    return _Normalised.apply(_typed(x), norm.weight, norm.bias, kernels, norm, ACTIVATIONS.index(activation))


def depthwise(
    kernels: Kernels,
    x: Map,
    weight: Float32[Tensor, "c 1 k k"],
    norm: nn.BatchNorm2d,
    activation: Activation,
    stride: int,
    padding: tuple[int, int, int, int],
) -> Map:
    """`activation(norm(convolution(x)))`, each channel with its own kernel; `padding` left, right, top, bottom."""
    _count(norm)
    how = (kernels, norm, ACTIVATIONS.index(activation), stride, padding)
    return _Depthwise.apply(_typed(x), weight, norm.weight, norm.bias, *how)


def gated(kernels: Kernels, x: Map, gate: Gate) -> Map:
    """`x * gate(x.mean((2, 3)))`, squeeze-and-excitation; the map's two uses send back one gradient, not two to be added."""
    factors: list[Tensor] = []
    same, mean = _Squeezed.apply(_typed(x), kernels, factors)
    with torch.autocast("cpu", enabled=False):
        factor = gate(mean)
    return _Scaled.apply(same, factor, kernels, factors)


def _typed(x: Map) -> Map:
    """As the kernels take it; autograd sees the change."""
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.bfloat16)
    return x.contiguous(memory_format=LAST)


def _count(norm: nn.BatchNorm2d) -> None:
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)


def _several(x: Map) -> None:
    """As torch: of one value there is no variance.

    Raises:
        ValueError: a channel has no more.
    """
    if x.numel() == x.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")


def _norm(norm: nn.BatchNorm2d, kept: Float32[Tensor, "2 c"]) -> Norm:
    assert norm.running_mean is not None and norm.running_var is not None, "takes_norm has looked"
    mean, var = norm.running_mean.data_ptr(), norm.running_var.data_ptr()
    inverse = kept.data_ptr() + kept.stride(0) * kept.element_size()
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps, norm.momentum, mean, var, kept.data_ptr(), inverse)


def _half(x: Tensor) -> bool:
    return x.dtype is torch.bfloat16


def _like(given: Tensor, x: Map) -> Map:
    """A gradient in the type and layout of a map."""
    return given.to(x.dtype).contiguous(memory_format=LAST)


class _Normalised(torch.autograd.Function):
    """Ioffe & Szegedy 2015 (1502.03167), with the activation."""

    @staticmethod
    def forward(ctx: Any, x: Map, weight: Tensor, bias: Tensor, kernels: Kernels, norm: nn.BatchNorm2d, act: int) -> Map:
        _several(x)
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        y, kept = torch.empty_like(x), torch.empty(2, channels)
        kernels.norm_forward(_half(x), x.data_ptr(), y.data_ptr(), rows, channels, byref(_norm(norm, kept)), act)
        ctx.save_for_backward(x, kept, weight, bias)  # the latter two so that a change in between is noticed
        ctx.how = kernels, norm, act
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (x, kept, _, _), (kernels, norm, act) = ctx.saved_tensors, ctx.how
        dy, dx = _like(given[0], x), torch.empty_like(x)
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        dweight, dbias = torch.empty(channels), torch.empty(channels)
        maps, slopes = (x.data_ptr(), dy.data_ptr(), dx.data_ptr()), (dweight.data_ptr(), dbias.data_ptr())
        kernels.norm_backward(_half(x), *maps, rows, channels, byref(_norm(norm, kept)), act, *slopes)
        return dx, dweight, dbias, None, None, None


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution (MobileNets, section 3.1) with its batch norm and activation."""

    @staticmethod
    def forward(ctx: Any, x: Map, kernel: Tensor, weight: Tensor, bias: Tensor, *how: Any) -> Map:
        kernels, norm, act, stride, (left, right, top, bottom) = how
        (n, c, h, w), side = x.shape, kernel.shape[-1]
        sides = (h + top + bottom - side) // stride + 1, (w + left + right - side) // stride + 1
        convolved = torch.empty(n, c, *sides, dtype=x.dtype, memory_format=LAST)
        _several(convolved)
        y, kept = torch.empty_like(convolved), torch.empty(2, c)
        taps, shape = kernel.detach().reshape(c, side * side).t().contiguous(), Shape(n, c, h, w, *sides, top, left)
        maps = x.data_ptr(), taps.data_ptr(), convolved.data_ptr(), y.data_ptr()
        kernels.depthwise_forward(_half(x), *maps, byref(shape), side, stride, byref(_norm(norm, kept)), act)
        ctx.save_for_backward(x, taps, convolved, kept, weight, bias)
        ctx.how = kernels, norm, act, stride, shape, side
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (x, taps, convolved, kept, _, _), (kernels, norm, act, stride, shape, side) = ctx.saved_tensors, ctx.how
        dy, dx, dtaps = _like(given[0], x), torch.empty_like(x), torch.empty_like(taps)
        dweight, dbias = torch.empty(x.shape[1]), torch.empty(x.shape[1])
        maps = (each.data_ptr() for each in (x, taps, convolved, dy, dx, dtaps))
        slopes = dweight.data_ptr(), dbias.data_ptr()
        kernels.depthwise_backward(_half(x), *maps, byref(shape), side, stride, byref(_norm(norm, kept)), act, *slopes)
        return dx, dtaps.t().reshape(x.shape[1], 1, side, side), dweight, dbias, *[None] * 5


class _Squeezed(torch.autograd.Function):
    """A map, and its mean over all places; `factors` will hold what the map is scaled by, and so its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Map, kernels: Kernels, factors: list[Tensor]) -> tuple[Map, Float32[Tensor, "n c 1 1"]]:
        n, c, h, w = x.shape
        mean = torch.empty(n, c, 1, 1)
        kernels.image_sums(_half(x), x.data_ptr(), mean.data_ptr(), n, h * w, c)
        ctx.how = kernels, factors
        return x.view_as(x), mean.div_(h * w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (dy, dmean), (kernels, factors) = given, ctx.how
        (n, c, h, w), dx = dy.shape, torch.empty_like(dy)
        plus = dmean.div(h * w).contiguous()
        kernels.scaled(_half(dy), dy.data_ptr(), factors[0].data_ptr(), plus.data_ptr(), dx.data_ptr(), n, h * w, c)
        return dx, None, None


class _Scaled(torch.autograd.Function):
    """A map, each channel of each image times its factor.

    What it sends back to the map is what came, not yet scaled: `_Squeezed`, which alone gets it, scales it and adds the
    gradient of the mean in one pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Map, factor: Float32[Tensor, "n c 1 1"], kernels: Kernels, factors: list[Tensor]) -> Map:
        (n, c, h, w), y = x.shape, torch.empty_like(x)
        factors.append(factor.detach().contiguous())
        kernels.scaled(_half(x), x.data_ptr(), factors[0].data_ptr(), None, y.data_ptr(), n, h * w, c)
        ctx.save_for_backward(x)
        ctx.kernels = kernels
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        (n, c, h, w), dy = x.shape, _like(given[0], x)
        dfactor = torch.empty(n, c, 1, 1)
        ctx.kernels.image_products(_half(x), x.data_ptr(), dy.data_ptr(), dfactor.data_ptr(), n, h * w, c)
        return dy, dfactor, None, None
