import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.arch.ops import conv, separable
from eyas.arch.spec import Arch, Stage
from eyas.data.batches import stacked
from eyas.deploy.shipment import Shipment
from eyas.nn.build import build
from eyas.nn.equalize import divide, joints
from eyas.nn.fold import folded
from eyas.nn.rounding import layers, ranges, round_weights, rounding
from eyas.studies.prepare import Data
from eyas.studies.tune import tuned
from eyas.tasks.classify import Classify
from tests.fakes import COLOURS, colours, lively


class Colours(Data):
    """What a run has of its data, as far as training asks."""

    classes = COLOURS

    def __init__(self):
        pass

    def examples(self, _):
        return colours(96)

    def mirrors(self, _):
        return "none"


@pytest.fixture(scope="module")
def data():
    return Colours()


@pytest.fixture(scope="module")
def shipment(data):
    """A network with channels of unequal scale, so that rounding hurts."""
    arch = Arch("small", (Stage(conv, 3, 2, 8), Stage(separable, 3, 1, 16), Stage(separable, 3, 2, 16)), 16)
    made = build(arch, nn.Linear(arch.features, len(COLOURS)))
    network = folded(lively(made, made.classify))
    for joint in joints(network):
        divide(joint, 300.0 ** torch.linspace(0, 1, joint.source.layer.outputs))
    with torch.no_grad():
        network.head.weight *= 20  # answers that are sure, so that there is something to lose
    return Shipment(network, "small", COLOURS, 16, calibration=stacked(data.examples("train"), 16))


def lesson(data):
    """What is learned, on what, and how it may be mirrored."""
    return Classify(COLOURS), data.examples("train"), data.mirrors


@torch.no_grad()
def rounded_apart(network, teacher, images):
    """How far answers under rounding are from the teacher's in float (Kullback-Leibler)."""
    with rounding(network, ranges(network, images)):
        answers = network(torch.from_numpy(images)).log_softmax(1)
    return functional.kl_div(answers, teacher(torch.from_numpy(images)).log_softmax(1), reduction="batchmean", log_target=True)


def test_training_under_rounding_brings_it_nearer_to_the_float_network(shipment, data):
    made = tuned(shipment, *lesson(data), steps=60)
    fresh = stacked(colours(64, seed=9), 16)
    before = rounded_apart(folded(shipment.network), shipment.network, fresh)
    assert rounded_apart(made, shipment.network, fresh) < 0.7 * before


def test_its_weights_lie_on_the_grid_that_the_file_has_and_it_comes_again_to_the_bit(shipment, data):
    before = {name: tensor.clone() for name, tensor in shipment.network.state_dict().items()}
    made, again, other = (tuned(shipment, *lesson(data), seed, steps=8) for seed in (0, 0, 1))
    rounded = folded(made)
    round_weights(rounded)
    for layer, same in zip(layers(made).values(), layers(rounded).values(), strict=True):
        torch.testing.assert_close(layer.weight, same.weight, rtol=1e-6, atol=1e-9)
    state = made.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert not all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in shipment.network.state_dict().items())
    assert np.isfinite(np.concatenate([tensor.numpy().ravel() for tensor in state.values()])).all()


def test_a_layer_that_stays_in_float_is_not_put_on_the_grid(shipment, data):
    first, *others = layers(folded(shipment.network))
    made = tuned(shipment, *lesson(data), steps=4, floats=(first,))
    rounded = folded(made)
    round_weights(rounded)
    off = {name for name, layer in layers(made).items() if not torch.allclose(layer.weight, layers(rounded)[name].weight)}
    assert off == {first}
    assert others
