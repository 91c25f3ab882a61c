import numpy as np
import pytest
import torch
from torch import nn

from eyas.deploy.biases import correct


class Plain(nn.Module):
    """One layer of each kind on positive pixels, without batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.full = nn.Conv2d(3, 8, 1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 1, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        x = self.depthwise(self.full(images.permute(0, 3, 1, 2).float() / 255))
        return self.head(x.mean((2, 3)))


def rounded(network):
    """Weights as int8 has them: 127 steps to either side in each channel."""
    with torch.no_grad():
        for layer in network.children():
            step = layer.weight.flatten(1).abs().amax(1).view(-1, *[1] * (layer.weight.ndim - 1)) / 127
            layer.weight.copy_((layer.weight / step).round() * step)
    return network


@pytest.mark.parametrize("images", [40], ids=["more than a batch"])
def test_mean_answers_are_those_before_the_weights_were_rounded(images):
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 4, 4, 3), dtype=np.uint8)
    network = Plain()
    weights = [layer.weight.clone() for layer in network.children()]
    with torch.no_grad():
        before = network(torch.from_numpy(pixels)).mean(0)
        correct(network, pixels)
        assert all(torch.equal(layer.weight, kept) for layer, kept in zip(network.children(), weights, strict=True))
        corrected = rounded(network)(torch.from_numpy(pixels)).mean(0)
        torch.manual_seed(0)
        uncorrected = rounded(Plain())(torch.from_numpy(pixels)).mean(0)
    assert (corrected - before).abs().max() < 0.2 * (uncorrected - before).abs().max()


def test_what_stays_float_keeps_its_biases():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    network = nn.Sequential(Plain(), nn.Linear(4, 2))
    kept = network[0].depthwise.bias.clone(), network[1].bias.clone()
    correct(network, pixels, ["0.depthwise", "1"])
    assert torch.equal(network[0].depthwise.bias, kept[0])
    assert torch.equal(network[1].bias, kept[1])
    assert network[0].full.bias is not None, "the rest is corrected"
    correct(network := nn.Sequential(Plain()), pixels, ["0"])
    assert network[0].full.bias is None, "all that is in a module stays float"
