import pytest
import torch
from torch import nn

from eyas.arch.ops import bneck, conv, mbconv, separable
from eyas.arch.spec import Arch, Stage
from eyas.nn.build import build
from eyas.nn.equalize import divide, equalized, joints, spans
from eyas.nn.fold import folded
from eyas.nn.rounding import costs, layers, ranges, rounding
from tests.fakes import lively, pictures

SEPARABLE = (Stage(conv, 3, 2, 16), Stage(separable, 3, 1, 24), Stage(separable, 3, 2, 32))
INVERTED = (Stage(conv, 3, 2, 16), Stage(mbconv, 3, 1, 16, 2, 2), Stage(mbconv, 3, 2, 32, 2, 4))
GATED = (Stage(conv, 3, 2, 16), Stage(bneck, 3, 1, 16, 2, 2, 1 / 4), Stage(bneck, 3, 2, 24, 1, 2, 1 / 2))
SHOWN, ASKED = pictures(64, 16, seed=1).numpy(), pictures(64, 16, seed=2)


def network_of(stages, activation, head=0):
    arch = Arch("tiny", stages, 16, head=head, activation=activation)
    network = build(arch, nn.Linear(arch.features, 4))
    return lively(network, network.classify)


@torch.no_grad()
def apart(network, other):
    """The largest difference of a logit, over how far logits spread."""
    logits = network(ASKED)
    return ((other(ASKED) - logits).abs().max() / logits.std()).item()


@torch.no_grad()
def rounded_apart(network, reference):
    """The same of a network in int8."""
    with rounding(network, ranges(network, SHOWN)):
        return apart(reference, network)


def spoilt(network, factor=200.0, below=4.0):
    """The same function with channels of very unequal scale: each divided in one layer and multiplied in the next."""
    twin = folded(network)
    generator, found = torch.Generator().manual_seed(0), joints(twin)
    for joint, span in zip(found, spans(twin, found, SHOWN), strict=True):
        by = factor ** torch.rand(len(span), generator=generator)
        by[span > below] = 1.0  # through ReLU6, what comes near to its end cannot be scaled
        divide(joint, by)
    return twin


CASES = [(SEPARABLE, "relu"), (SEPARABLE, "relu6"), (INVERTED, "relu6"), (GATED, "relu")]


@pytest.mark.parametrize(("stages", "activation"), [*CASES, (INVERTED, "silu"), (GATED, "hard_swish")])
def test_folding_changes_no_answer_and_leaves_no_normalisation(stages, activation):
    network = network_of(stages, activation, head=40)
    twin = folded(network)
    assert apart(network, twin) < 1e-4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("stages", "activation"), CASES)
def test_equalization_changes_no_answer(stages, activation):
    network = network_of(stages, activation)
    # Through ReLU6 a channel may reach the end that it did not reach on the images that were shown: rarely, and not far.
    assert apart(network, equalized(network, SHOWN)) < (0.02 if activation == "relu6" else 1e-4)


@pytest.mark.parametrize(("stages", "activation"), CASES)
def test_no_channel_of_a_joint_is_left_with_less_than_half_of_its_range(stages, activation):
    twin = equalized(spoilt(network_of(stages, activation)), SHOWN)
    found = joints(twin)
    for joint, span in zip(found, spans(twin, found, SHOWN), strict=True):
        assert span[span > 0].min() > 0.49 * (6 if joint.capped else span.max())


@pytest.mark.parametrize(("stages", "activation"), CASES)
def test_channels_of_unequal_scale_break_int8_and_equalization_repairs_it(stages, activation):
    network = network_of(stages, activation)
    worse = spoilt(network)
    assert apart(network, worse) < 0.02  # the float function is the same
    broken, repaired = rounded_apart(worse, network), rounded_apart(equalized(worse, SHOWN), network)
    assert broken > 3 * repaired
    assert repaired < 2 * rounded_apart(folded(network), network)


def test_a_tensor_that_a_shortcut_adds_to_or_reads_is_left_alone():
    network = network_of(INVERTED, "relu6")
    blocks = network.block_modules()
    residual = [index for index, block in enumerate(blocks) if block.residual]
    assert residual == [1, 2, 4]
    ends = {blocks[index].layers[-1] for index in range(5)}  # each is added to, or read by a shortcut
    sources = {joint.source for joint in joints(network)}
    assert not sources & ends
    assert blocks[2].layers[0] in sources  # within a block nothing is in the way


def test_layers_with_channels_of_unequal_scale_cost_more():
    network = network_of(SEPARABLE, "relu")
    before, after = costs(folded(network), SHOWN), costs(spoilt(network), SHOWN)
    assert next(iter(after.values())) > next(iter(before.values())) + 10


def test_what_is_not_homogeneous_has_no_joints():
    assert joints(network_of(SEPARABLE, "hard_swish")) == []
    gated = joints(network_of(GATED, "hard_swish"))
    assert all(isinstance(joint.source.activation, nn.Identity) for joint in gated)


def test_a_gate_is_told_of_the_scale():
    network = network_of(GATED, "relu")
    gates = [joint for joint in joints(network) if len(joint.readers) == 2]
    assert len(gates) == 3


def test_a_channel_that_is_always_0_stays_as_it_is():
    network = network_of(SEPARABLE, "relu")
    with torch.no_grad():
        network.block_modules()[1].layers[0].norm.bias[3] = -1e3
    twin = equalized(network, SHOWN)
    assert apart(network, twin) < 1e-4
    assert all(torch.isfinite(layer.weight).all() for layer in layers(twin).values())


def test_the_network_itself_is_not_changed():
    network = network_of(SEPARABLE, "relu6")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    equalized(network, SHOWN)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
