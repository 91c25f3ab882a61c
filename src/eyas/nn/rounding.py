"""A network as eight bits would compute it, in torch: weights and activations rounded to their grids, with gradients.

The grids are those of the exported files: signed weights with a scale for each output channel, unsigned activations with
one for each tensor. So it tells, without exporting, what rounding a layer costs; and a network can be trained under it.
"""

import math
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eyas.nn.blocks import ConvNorm
from eyas.nn.build import Network

BATCH = 32
TINY = 1e-12  # a step is never smaller

Images = UInt8[np.ndarray, "n h w 3"]
Ranges = dict[tuple[str, str], tuple[float, float]]
"""Smallest and largest value by layer and side, 0 between them."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where numbers are rounded: what goes into a layer, or what comes out of it (behind a ReLU, which is part of it).

    Attributes:
        layer: name of the convolution or linear layer.
        side: of the layer.
        module: whose input or output it is.
    """

    layer: str
    side: Literal["in", "out"]
    module: nn.Module

    @property
    def key(self) -> tuple[str, str]:
        """What it is called in `Ranges`."""
        return self.layer, self.side


class Rounded(nn.Module):
    """A weight on its grid: 127 steps to either side of 0 in each output channel."""

    def forward(self, weight: Float[Tensor, "o *_"]) -> Float[Tensor, "o *_"]:
        """Rounded; the gradient passes as if it were not (Bengio et al., 1308.3432)."""
        scale = weight.detach().flatten(1).abs().amax(1).clamp_min(TINY) / 127
        return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -127, 127)


def layers(network: Network) -> dict[str, nn.Conv2d | nn.Linear]:
    """What holds weights, by name, in order."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def sites(network: Network) -> list[Site]:
    """Every place where an int8 file of the folded network rounds activations. What the last layer gives stays float."""
    owners = {name: owner for name, owner in network.named_modules() if isinstance(owner, ConvNorm)}
    weighted = list(layers(network).items())
    found = [Site(name, "in", module) for name, module in weighted]
    for name, module in weighted[:-1]:
        owner = owners.get(name.removesuffix(".conv"))
        fused = owner is not None and isinstance(owner.activation, nn.Identity | nn.ReLU | nn.ReLU6)
        found.append(Site(name, "out", owner if owner is not None and fused else module))
    return found


@torch.no_grad()
def ranges(network: Network, images: Images) -> Ranges:
    """The smallest and largest value at every site of the folded network over all images."""
    found: Ranges = {}

    def see(site: Site, values: Tensor) -> Tensor:
        low, high = found.get(site.key, (0.0, 0.0))
        found[site.key] = min(low, float(values.min())), max(high, float(values.max()))
        return values

    with _changed(sites(network), see):
        for start in range(0, len(images), BATCH):
            network(torch.from_numpy(images[start : start + BATCH]))
    return found


@contextmanager
def rounding(network: Network, spans: Ranges, only: Iterable[str] | None = None) -> Generator[None]:
    """Inside, the folded network computes with rounded weights and activations, and can be trained; it is changed in place.

    Afterwards it has its own weights again, as they were or as they were trained.

    Args:
        network: folded, in float32.
        spans: of its activations.
        only: names of the layers that are rounded; all unless given.
    """
    weighted = layers(network)
    chosen = set(weighted if only is None else only)

    def to_grid(site: Site, values: Tensor) -> Tensor:
        low, high = spans[site.key]
        scale = max((high - low) / 255, TINY)
        return torch.fake_quantize_per_tensor_affine(values, scale, round(-low / scale), 0, 255)

    with ExitStack() as stack:
        stack.enter_context(_changed([site for site in sites(network) if site.layer in chosen], to_grid))
        for name in chosen:
            parametrize.register_parametrization(weighted[name], "weight", Rounded())
            stack.callback(parametrize.remove_parametrizations, weighted[name], "weight", leave_parametrized=False)
        yield


@torch.no_grad()
def round_weights(network: Network, only: Iterable[str] | None = None) -> None:
    """Put every weight of the folded network on its grid (in place); only those of the named layers where some are."""
    to_grid, weighted = Rounded(), layers(network)
    for name in weighted if only is None else only:
        weighted[name].weight.copy_(to_grid(weighted[name].weight))


@torch.no_grad()
def costs(network: Network, images: Images) -> dict[str, float]:
    """What rounding each layer of the folded network alone does to its logits, by name, the worst first, in decibels.

    It is the power of the noise over that of the signal, which is how far the logits of an image lie from their mean over
    the images: -20 is a noise of a tenth of the signal.
    """
    spans = ranges(network, images)
    batch = torch.from_numpy(images)
    logits = network(batch)
    signal = float((logits - logits.mean(0)).square().mean())
    found = {}
    for name in layers(network):
        with rounding(network, spans, (name,)):
            noise = float((network(batch) - logits).square().mean())
        found[name] = 10 * math.log10(max(noise, TINY) / max(signal, TINY))
    return dict(sorted(found.items(), key=lambda each: -each[1]))


@contextmanager
def _changed(places: list[Site], change: Callable[[Site, Tensor], Tensor]) -> Generator[None]:
    """Inside, what passes these sites is what `change` makes of it."""
    with ExitStack() as stack:
        for site in places:
            if site.side == "in":
                handle = site.module.register_forward_pre_hook(lambda _, given, site=site: (change(site, given[0]),))
            else:
                handle = site.module.register_forward_hook(lambda _, __, out, site=site: change(site, out))
            stack.callback(handle.remove)
        yield
