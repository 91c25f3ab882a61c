"""Networks of timm and torchvision with random weights, and ours held against them."""

import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.foreign import timm_model, torchvision_model
from eyas.nn.published import Weights, find, load
from tests.fakes import lively

SMALL = "mobilenetv3_large_075"  # of timm; small, and with everything that a layout has to name


def peer(library: str, name: str) -> nn.Module:
    """Their network, as after training."""
    model = timm_model(name) if library == "timm" else torchvision_model(name)
    return lively(model, model)


def network_of(weights: Weights | None, classes: int = 1000) -> Network:
    """Ours in their memory layout, so that sums are taken in the same order."""
    assert weights is not None
    network = Network(weights.arch, nn.Linear(weights.arch.features, classes)).eval()
    load(network, weights)
    return network


def difference(network: Network, model: nn.Module, side: int) -> float:
    """Between logits, over their spread from image to image: a head's bias alone would agree in any two networks."""
    x = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.no_grad():
        ours, theirs = network.classify(x), model(x)
    spread = (theirs - theirs.mean(0)).std().item()
    assert spread > 0.1
    return (ours - theirs).abs().max().item() / spread


def refused(text: str, asked: str | None = None) -> str:
    """The sentence that says why."""
    with pytest.raises(UserError) as error:
        weights = find(text, parse(asked) if asked else None)
        network_of(weights)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence
