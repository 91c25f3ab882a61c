"""A narrower network from a wider one. The oracle: hide a narrow network among dead channels of a wide one, and find it."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from eyas.arch.ops import basic, bneck, bottleneck, conv, mbconv, pool, separable
from eyas.arch.parse import parse
from eyas.arch.scale import deeper, wider
from eyas.arch.spec import Arch, Stage
from eyas.nn.blocks import ConvNorm
from eyas.nn.build import Network, build
from eyas.nn.inherit import inherit
from tests.fakes import TINY, pictures, shaken

SEPARABLE = Arch(
    "separable",
    resolution=16,
    activation="relu",
    stages=(Stage(conv, 3, 2, 16), Stage(separable, 3, 1, 32), Stage(separable, 3, 2, 32, 2)),
)
LITE = replace(
    TINY,
    name="lite",
    scale_ends=False,
    stages=(Stage(conv, 3, 2, 16), Stage(mbconv, 3, 1, 48, 2, 1), Stage(mbconv, 5, 2, 32, 3, 2)),
)
# Expanded, gated on the expanded channels, a hidden layer in front of the classifier.
BNECK = replace(
    TINY,
    name="bneck",
    hidden=32,
    activation="hard_swish",
    padding="symmetric",
    stages=(Stage(conv, 3, 2, 16), Stage(bneck, 3, 1, 16, 1, 1, 1 / 4, "relu"), Stage(bneck, 5, 2, 32, 3, 2, 1 / 4)),
)
# Behind a pool, the first stage with the identity around its blocks and the second with a projection around its first.
BASIC = Arch(
    "basic",
    resolution=32,
    stem=2,
    stages=(Stage(conv, 7, 2, 16), Stage(pool, 3, 2, 16), Stage(basic, 3, 1, 16, 2), Stage(basic, 3, 2, 32, 2)),
)
# Both stages with a projection around their first blocks.
BOTTLENECK = replace(
    BASIC,
    name="bottleneck",
    stages=(*BASIC.stages[:2], Stage(bottleneck, 3, 1, 32, 2, 1 / 2), Stage(bottleneck, 3, 2, 64, 3, 1 / 4)),
)
TABLES = [TINY, LITE, SEPARABLE, BNECK, BASIC, BOTTLENECK]


def network_of(arch: Arch, seed: int, classes: int = 3) -> Network:
    network = shaken(build(arch, nn.Linear(arch.features, classes), seed=seed), seed)
    nn.init.uniform_(network.head.bias, generator=torch.Generator().manual_seed(seed))
    return network


def subset(of: int, count: int) -> torch.Tensor:
    return torch.randperm(of)[:count].sort().values


@torch.no_grad()
def hide(narrow: Network, wide: Network) -> None:
    """Make `wide` compute what `narrow` does: in every layer its channels at random places, the others dead and unread."""
    stream, group = torch.arange(3), torch.arange(3)
    for small_block, large_block in zip(narrow.block_modules(), wide.block_modules(), strict=True):
        layers = list(zip(small_block.weighted(), large_block.weighted(), strict=True))
        last = len(small_block.layers) - 1
        group = stream
        for index, (small, large) in enumerate(layers):
            if not isinstance(small, ConvNorm):
                hidden = subset(large.layer.hidden, small.layer.hidden)
                large.expand.weight.zero_()  # hidden units that nobody reads, though they are loud
                large.reduce.weight.mul_(100)
                large.reduce.weight[hidden] = 0
                for i, unit in enumerate(hidden):
                    large.reduce.weight[unit, group] = small.reduce.weight[i]
                    large.reduce.bias[unit] = small.reduce.bias[i]
                    large.expand.weight[group, unit] = small.expand.weight[:, i]
                large.expand.bias[group] = small.expand.bias
                continue
            projects = small is small_block.shortcut  # from what goes into the block to what its last layer writes
            source = stream if projects else group
            if small.layer.kind == "conv":
                ties = small_block.residual and index == last
                fresh = subset(large.layer.outputs, small.layer.outputs)
                group = group if projects else stream if ties else fresh
                large.conv.weight[group] = 0
                for i, channel in enumerate(group):
                    large.conv.weight[channel, source] = small.conv.weight[i]
            else:
                large.conv.weight[group] = small.conv.weight
            live = torch.zeros(large.layer.outputs, dtype=torch.bool)
            live[group] = True
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensor = getattr(large.norm, name)
                tensor[group] = getattr(small.norm, name)
                if name in ("weight", "bias"):
                    tensor[~live] = 0
        stream = group
    if narrow.arch.hidden:
        units = subset(wide.arch.features, narrow.arch.features)
        wide.hidden[0].weight.mul_(100)  # units that nobody reads, though they are loud
        wide.hidden[0].weight[units] = 0
        for i, unit in enumerate(units):
            wide.hidden[0].weight[unit, group] = narrow.hidden[0].weight[i]
            wide.hidden[0].bias[unit] = narrow.hidden[0].bias[i]
        group = units
    wide.head.weight.zero_()
    wide.head.weight[:, group] = narrow.head.weight
    wide.head.bias.copy_(narrow.head.bias)
    wide.mean.copy_(narrow.mean)
    wide.std.copy_(narrow.std)


@pytest.mark.parametrize("arch", TABLES, ids=lambda arch: arch.name)
@pytest.mark.parametrize("seed", range(3))
def test_a_network_hidden_among_dead_channels_is_found_again(arch, seed):
    torch.manual_seed(seed)
    full = wider(arch, 2) if arch.hidden else arch  # a hidden layer is wider than its table's, and never narrower
    narrow = network_of(wider(full, 0.5), seed)
    narrow.mean.fill_(0.3)
    wide = network_of(full, seed + 10)
    hide(narrow, wide)
    images = pictures(4, arch.resolution)
    with torch.no_grad():
        torch.testing.assert_close(wide(images), narrow(images), rtol=1e-4, atol=1e-4)  # hidden well
    heir = network_of(wider(full, 0.5), seed + 20)
    inherit(heir, wide)
    found, hidden = heir.state_dict(), narrow.state_dict()
    assert [name for name in hidden if not torch.equal(found[name], hidden[name])] == []
    with torch.no_grad():
        torch.testing.assert_close(heir(images), wide(images), rtol=1e-4, atol=1e-4)


PUBLISHED = ("efficientnet_b0x0.25@33/8", "mobilenet_v3_smallx0.5@33/8", "resnet18x0.25@33/8", "resnet50x0.25@33/8")


@pytest.mark.parametrize("arch", [*TABLES, *map(parse, PUBLISHED)], ids=lambda arch: arch.name)
def test_of_the_same_width_it_is_the_identity(arch):
    wide, heir = network_of(arch, 0), network_of(arch, 1)
    inherit(heir, wide)
    assert all(torch.equal(heir.state_dict()[name], tensor) for name, tensor in wide.state_dict().items())
    images = pictures(2, arch.resolution)
    with torch.no_grad():
        assert torch.equal(heir(images), wide(images))


class Layers(NamedTuple):
    stem: ConvNorm
    depthwise: ConvNorm
    reader: ConvNorm


class TestImportance:
    """The stem of `SEPARABLE` writes 16 channels that one depthwise and one 1x1 convolution read; 8 are kept."""

    planted = (0, 3, 4, 7, 9, 12, 14, 15)

    def kept(self, change) -> tuple[int, ...]:
        wide, heir = network_of(SEPARABLE, 0), network_of(wider(SEPARABLE, 0.5), 1)
        stem, (depthwise, reader) = wide.block_modules()[0].weighted()[0], wide.block_modules()[1].weighted()
        with torch.no_grad():
            for layer in (stem, depthwise):
                layer.norm.weight.fill_(1)
            depthwise.conv.weight.fill_(1)
            reader.conv.weight.copy_(reader.conv.weight.sign())
            change(Layers(stem, depthwise, reader), list(self.planted))
        inherit(heir, wide)
        ours = heir.block_modules()[0].weighted()[0].conv.weight
        found = tuple(next(i for i, row in enumerate(stem.conv.weight) if torch.equal(row, mine)) for mine in ours)
        read = heir.block_modules()[1].weighted()[0].norm.bias
        assert torch.equal(read, depthwise.norm.bias[list(found)])  # the depthwise layer keeps the same ones
        return found

    def test_channels_with_a_large_scale_are_kept(self):
        def change(layers, planted):
            layers.stem.norm.weight[planted] = -1.5  # its sign says nothing

        assert self.kept(change) == self.planted

    def test_channels_that_are_read_most_are_kept(self):
        def change(layers, planted):
            layers.reader.conv.weight[:, planted] *= 1.5

        assert self.kept(change) == self.planted

    def test_a_large_scale_that_nobody_reads_is_not(self):
        def change(layers, planted):
            others = [channel for channel in range(16) if channel not in planted]
            layers.stem.norm.weight[others] = 1.2
            layers.depthwise.conv.weight[others] = 0.1
            layers.reader.conv.weight[:, others] *= 0.1

        assert self.kept(change) == self.planted


def test_every_kept_row_is_a_row_of_the_wide_network():
    wide, heir = network_of(SEPARABLE, 0), network_of(wider(SEPARABLE, 0.5), 1)
    inherit(heir, wide)
    layers = [
        (a, b)
        for pair in zip(heir.block_modules(), wide.block_modules(), strict=True)
        for a, b in zip(pair[0].weighted(), pair[1].weighted(), strict=True)
    ]
    for ours, theirs in layers:
        positions = [int((theirs.norm.weight == value).nonzero()) for value in ours.norm.weight]
        assert positions == sorted(set(positions))
        for name in ("bias", "running_mean", "running_var"):
            assert torch.equal(getattr(ours.norm, name), getattr(theirs.norm, name)[positions])
        assert set(ours.conv.weight.flatten().tolist()) <= set(theirs.conv.weight[positions].flatten().tolist())


@pytest.mark.parametrize("arch", [TINY, LITE, BNECK, BASIC, BOTTLENECK], ids=lambda arch: arch.name)
def test_channels_that_a_shortcut_adds_are_the_same_ones_in_every_block(arch):
    wide, heir = network_of(arch, 0), network_of(wider(arch, 0.5), 1)
    inherit(heir, wide)
    kept = []
    for ours, theirs in zip(heir.block_modules(), wide.block_modules(), strict=True):
        if theirs.stage == len(arch.stages) - 1:
            lasts = [(ours.layers[-1], theirs.layers[-1]), (ours.shortcut, theirs.shortcut)]
            for mine, full in lasts[: 1 + (theirs.shortcut is not None)]:
                kept.append([int((full.norm.weight == value).nonzero()) for value in mine.norm.weight])
    assert len(kept) == 3 + (arch is BOTTLENECK)
    assert kept == kept[:1] * len(kept)


def test_the_giver_is_not_changed():
    wide = network_of(TINY, 0)
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    inherit(network_of(wider(TINY, 0.5), 1), wide)
    assert all(torch.equal(before[name], tensor) for name, tensor in wide.state_dict().items())


def test_the_heir_can_still_be_trained():
    heir = network_of(wider(TINY, 0.5), 1).train()
    inherit(heir, network_of(TINY, 0))
    heir(pictures(4, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in heir.parameters())


def test_a_classifier_of_other_classes_keeps_its_own_weights():
    heir = network_of(wider(TINY, 0.5), 1, classes=5)
    before = heir.head.weight.clone()
    inherit(heir, network_of(TINY, 0, classes=3))
    assert torch.equal(heir.head.weight, before)


def test_resolution_and_output_stride_may_differ():
    wide, heir = network_of(parse("mobilenet_v1x0.25@32"), 0), network_of(parse("mobilenet_v1x0.125@33/8"), 1)
    inherit(heir, wide)
    assert heir.head.weight.shape[1] == 128
    assert set(heir.head.weight.flatten().tolist()) <= set(wide.head.weight.flatten().tolist())


@pytest.mark.parametrize(("narrow", "wide"), [(0.25, 1), (1, 2)])
def test_a_shortcut_that_only_one_of_the_two_has_ties_nothing(narrow, wide):
    """Lite's stem keeps its 32 channels and B0's rounds to 8, so the first block's 16 happen to equal them at some widths."""
    table = parse("efficientnet_b0@33/8" if wide == 1 else "efficientnet_lite0@33/8")
    giver, heir = network_of(wider(table, wide), 0), network_of(wider(table, narrow), 1)
    assert giver.block_modules()[1].residual != heir.block_modules()[1].residual
    inherit(heir, giver)
    theirs = giver.block_modules()[1].weighted()[-1].norm.weight.tolist()
    ours = heir.block_modules()[1].weighted()[-1].norm.weight.tolist()
    assert len(ours) == len(set(ours) & set(theirs))


def test_a_projection_that_only_the_wider_one_has_is_left_out():
    """At a very small width every stage rounds to the same 8 channels, and with its strides taken out needs no projection."""
    wide, heir = network_of(parse("resnet18x0.25@33/8"), 0), network_of(parse("resnet18x0.05@33/8"), 1)
    projections = [[block.shortcut is not None for block in network.block_modules()] for network in (wide, heir)]
    assert projections[0] != projections[1]
    inherit(heir, wide)


@pytest.mark.parametrize(
    ("heir", "giver"),
    [(TINY, wider(TINY, 0.5)), (SEPARABLE, TINY), (deeper(TINY, 2), TINY), (TINY, deeper(TINY, 2))],
    ids=["wider", "another table", "deeper", "shallower"],
)
def test_what_cannot_be_inherited(heir, giver):
    with pytest.raises(ValueError, match="cannot inherit from"):
        inherit(network_of(heir, 0), network_of(giver, 1))
