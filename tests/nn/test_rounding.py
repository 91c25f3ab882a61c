import pytest
import torch
from torch import nn

from eyas.nn.fold import folded
from eyas.nn.rounding import Rounded, costs, layers, ranges, round_weights, rounding
from tests.fakes import lively, pictures, tiny

IMAGES = pictures(32, 16).numpy()


@pytest.fixture(scope="module")
def network():
    made = tiny()
    return folded(lively(made, made.classify))


def test_a_weight_lies_on_127_steps_to_either_side_in_each_channel():
    weight = torch.randn(4, 3, 2, 2) * torch.tensor([1.0, 10.0, 0.1, 5.0]).view(4, 1, 1, 1)
    steps = Rounded()(weight) / (weight.flatten(1).abs().amax(1) / 127).view(4, 1, 1, 1)
    assert (steps - steps.round()).abs().max() < 1e-4
    assert steps.flatten(1).abs().amax(1).tolist() == pytest.approx([127] * 4)
    assert torch.equal(Rounded()(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_inside_answers_are_rounded_and_afterwards_they_are_as_before(network):
    images = torch.from_numpy(IMAGES)
    names = set(network.state_dict())
    with torch.no_grad():
        before = network(images)
        with rounding(network, ranges(network, IMAGES)):
            inside = network(images)
        after = network(images)
    assert 0 < (inside - before).abs().max() < before.std()
    assert torch.equal(before, after)
    assert set(network.state_dict()) == names


def test_the_gradient_passes_the_rounding(network):
    with rounding(network, ranges(network, IMAGES)):
        network(torch.from_numpy(IMAGES)).square().mean().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    network.zero_grad()


def test_a_range_of_an_image_beyond_those_seen_is_cut_off(network):
    spans = {key: (low / 100, high / 100) for key, (low, high) in ranges(network, IMAGES).items()}
    head = list(layers(network))[-1]
    with torch.no_grad(), rounding(network, spans, (head,)):
        logits = network(torch.from_numpy(IMAGES))
        bias = layers(network)[head].bias
    assert (logits - bias).abs().max() < 0.2 * logits.abs().max() + 1.0


def test_rounded_weights_are_not_moved_by_rounding_again(network):
    once = folded(network)
    round_weights(once)
    again = folded(once)
    round_weights(again)
    for one, two in zip(layers(once).values(), layers(again).values(), strict=True):
        torch.testing.assert_close(one.weight, two.weight, rtol=1e-6, atol=0)
    assert any(
        not torch.equal(a.weight, b.weight) for a, b in zip(layers(network).values(), layers(once).values(), strict=True)
    )


def test_the_cost_of_a_layer_is_the_noise_of_its_rounding_over_the_signal(network):
    found = costs(network, IMAGES)
    assert set(found) == {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    images, spans = torch.from_numpy(IMAGES), ranges(network, IMAGES)
    name = list(found)[5]
    with torch.no_grad():
        logits = network(images)
        with rounding(network, spans, (name,)):
            noise = (network(images) - logits).square().mean()
    signal = (logits - logits.mean(0)).square().mean()
    assert found[name] == pytest.approx(10 * (noise / signal).log10().item(), abs=1e-3)
