"""Batch normalisation over what all processes see of a batch; torch's own refuses processors."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn import functional

from eyas.team import current, reached

Map = Float[Tensor, "n c h w"]


class SyncNorm(nn.BatchNorm2d):
    """`BatchNorm2d` with the statistics of the whole batch, of which each process has an equal share.

    Where there is one process, and in evaluation, it is `BatchNorm2d`; so are its names and values in a state dict.
    """

    def forward(self, input: Map) -> Map:
        """[n, c, h, w], this process's share, to the same shape."""
        if not self.training or current().size == 1:
            return super().forward(input)
        mean, variance, steps, momentum = self.running_mean, self.running_var, self.num_batches_tracked, self.momentum
        assert mean is not None and variance is not None and steps is not None and momentum is not None, "they are kept"
        y, new_mean, new_variance = _Normalise.apply(input, self.weight, self.bias, self.eps)
        count = input.numel() // input.shape[1] * current().size
        mean.lerp_(new_mean, momentum)
        variance.lerp_(new_variance * (count / (count - 1)), momentum)
        steps.add_(1)
        return y


def synchronise(network: nn.Module) -> None:
    """Make every `BatchNorm2d` of a network a `SyncNorm`, in place: parameters, buffers and names stay as they are."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncNorm


class _Normalise(torch.autograd.Function):
    """Ioffe & Szegedy 2015 (1502.03167), with the two sums of each pass taken over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Normalised `x`, and the mean and (biased) variance of each channel in the whole batch."""
        own_variance, own_mean = torch.var_mean(_exact(x), (0, 2, 3), correction=0)
        # Means and variances are gathered, not sums and squares summed: those cancel where a mean is far from 0.
        own = torch.stack([own_mean, own_variance])
        everyone = [torch.empty_like(own) for _ in range(current().size)]
        with reached(current()):
            distributed.all_gather(everyone, own)
        means, variances = torch.stack(everyone, 1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients by `x`, `weight` and `bias`; the latter two of this process's share, as every parameter's."""
        x, weight, mean, scale = ctx.saved_tensors
        normalised = (_exact(x) - _along(mean)) * _along(scale)
        d = _exact(gradients[0])
        own = torch.stack([d.sum((0, 2, 3)), (d * normalised).sum((0, 2, 3))])
        sums = own.clone()
        with reached(current()):
            distributed.all_reduce(sums)
        d_mean, d_scale = sums / (x.numel() // x.shape[1] * current().size)
        dx = (d - _along(d_mean) - normalised * _along(d_scale)) * _along(weight * scale)
        return dx.to(x.dtype), own[1], own[0], None


def _exact(x: Tensor) -> Tensor:
    """In float32 at least: sums over a batch are wrong in bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _along(channels: Float[Tensor, " c"]) -> Float[Tensor, "1 c 1 1"]:
    return channels[None, :, None, None]
