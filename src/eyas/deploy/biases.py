"""Biases that make up for rounded weights, in torch: for formats whose own quantizer leaves them as they are."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.deploy.shipment import Images

BATCH = 32


def correct(module: nn.Module, images: Images, floats: Sequence[str] = ()) -> None:
    """Add to each bias what rounding the weights to int8 takes from the mean output of its channel (in place).

    What `eyas.deploy.quantize.correct_biases` does to an ONNX graph, and why, is said there.

    Args:
        module: takes uint8 [n, h, w, 3]; its batch normalisation is folded away.
        images: that the mean inputs are measured on.
        floats: names of its modules that are not rounded, with all that is in them.
    """
    inside = tuple(f"{name}." for name in floats)
    weighted = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not f"{name}.".startswith(inside)
    ]
    means = _means(module, weighted, images)
    with torch.no_grad():
        for layer in weighted:
            if layer in means:
                lost = _shift(layer, means[layer])
                layer.bias = nn.Parameter(lost if layer.bias is None else layer.bias + lost)


def _means(module: nn.Module, weighted: list[nn.Conv2d | nn.Linear], images: Images) -> dict[nn.Module, Float[Tensor, "c"]]:
    """The mean of each channel that goes into a layer, over images and places."""
    means: dict[nn.Module, Tensor] = {}

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        over = (0, 2, 3) if isinstance(layer, nn.Conv2d) else (0,)
        part = inputs[0].double().mean(over) * (len(inputs[0]) / len(images))
        means[layer] = means[layer] + part if layer in means else part

    hooks = [layer.register_forward_pre_hook(see) for layer in weighted]
    try:
        with torch.inference_mode():
            for batch in torch.from_numpy(images).split(BATCH):
                module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: mean.clone() for layer, mean in means.items()}


def _shift(layer: nn.Conv2d | nn.Linear, mean: Float[Tensor, "i"]) -> Float[Tensor, "o"]:
    """What int8 rounding takes from each output channel's mean, given the mean of each input channel."""
    weight = layer.weight.detach().double()
    flat = weight.flatten(1)
    step = flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
    error = (flat - (flat / step).round() * step).view(*weight.shape[:2], -1).sum(2)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    grouped = error.view(groups, len(weight) // groups, -1)
    return torch.einsum("goi,gi->go", grouped, mean.view(groups, -1)).flatten().float()
