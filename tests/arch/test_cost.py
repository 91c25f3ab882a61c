"""Cost from the value alone. The papers' figures are in tests/test_papers.py; these are the laws and the sums."""

from dataclasses import astuple, replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.cost import Share, breakdown, cost
from eyas.arch.ops import basic, bottleneck, conv, mbconv, pool, separable
from eyas.arch.scale import at, deeper, strided, wider
from eyas.arch.spec import Arch, Stage, blocks, layers
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0, MOBILENET_V1, MOBILENET_V3_SMALL, RESNET_18, RESNET_50

law = settings(deadline=None, max_examples=40)
archs = st.sampled_from(list(ARCHS.values()))

TINY = Arch("tiny", (Stage(conv, 3, 2, 8), Stage(separable, 3, 1, 16)), resolution=8)


def test_of_a_network_counted_by_hand() -> None:
    # 8x8x3 -> conv 3x3/2 -> 4x4x8 -> depthwise 3x3 -> 4x4x8 -> 1x1 -> 4x4x16 -> mean -> 10
    weights = 27 * 8 + 9 * 8 + 8 * 16 + 16 * 10
    made = cost(TINY, classes=10)
    assert made.madds == 16 * (27 * 8 + 9 * 8 + 8 * 16) + 160
    assert made.weights == weights
    assert made.params == weights + 2 * (8 + 8 + 16) + 10
    assert made.peak_activation_bytes == 16 * (8 + 16)


def test_of_a_shortcut_counts_what_must_stay_alive() -> None:
    # While the depthwise layer runs, its 48 channels in and out and the block's own 8 are alive.
    residual = Arch("residual", (Stage(conv, 3, 1, 8), Stage(mbconv, 3, 1, 8, expand=6)), resolution=4)
    assert cost(residual).peak_activation_bytes == 16 * (48 + 48 + 8)
    assert cost(
        replace(residual, stages=(residual.stages[0], replace(residual.stages[1], channels=16)))
    ).peak_activation_bytes == (16 * (48 + 48))


def test_of_a_projection_counts_it_and_what_it_holds() -> None:
    # 8x8x3 -> conv 3x3/2 -> 4x4x8 -> pool 3x3/2 -> 2x2x8 -> 3x3 -> 2x2x16 -> 3x3 -> 2x2x16, around them 1x1 -> 2x2x16
    tiny = Arch("tiny", (Stage(conv, 3, 2, 8), Stage(pool, 3, 2, 8), Stage(basic, 3, 1, 16)), resolution=8, stem=2)
    weights = 27 * 8 + 9 * 8 * 16 + 9 * 16 * 16 + 8 * 16
    made = cost(tiny, classes=0)
    assert made.madds == 16 * 27 * 8 + 4 * (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16)
    assert made.weights == weights
    assert made.params == weights + 2 * (8 + 16 + 16 + 16)
    assert made.peak_activation_bytes == 64 * 3 + 16 * 8  # the first layer's
    # The block by itself: the projection reads 2x2x8 while the block's own 2x2x16 waits for the sum.
    assert blocks(tiny)[-1].peak == 4 * (8 + 16 + 16)


def test_of_a_projection_that_is_the_widest() -> None:
    wide = Arch("wide", (Stage(conv, 3, 1, 8), Stage(bottleneck, 3, 1, 64, expand=1 / 4)), resolution=4)
    assert cost(wide).peak_activation_bytes == 16 * (8 + 64 + 64)


def test_of_a_hidden_layer() -> None:
    hidden = replace(TINY, hidden=32)
    assert cost(hidden, 10).weights - cost(TINY, 0).weights == 16 * 32 + 32 * 10
    assert cost(hidden, 10).params - cost(TINY, 0).params == 17 * 32 + 33 * 10
    assert cost(hidden, 10).madds - cost(TINY, 0).madds == 16 * 32 + 32 * 10


@given(archs, st.floats(0.05, 2.0), st.floats(0.05, 2.0), st.integers(32, 512), st.sampled_from([0, 10, 1000]))
@law
def test_is_the_sum_over_the_layers(arch: Arch, width: float, depth: float, resolution: int, classes: int) -> None:
    scaled = at(deeper(wider(arch, width), depth), resolution)
    whole, each = cost(scaled, classes), [layer for _, layer in layers(scaled, classes)]
    assert whole.madds == sum(layer.madds for layer in each)
    assert whole.params == sum(layer.params for layer in each)
    assert whole.weights == sum(layer.weights for layer in each)
    assert whole.peak_activation_bytes == max(block.peak for block in blocks(scaled))


@given(archs, st.floats(0.05, 4.0), st.floats(1.0, 2.0))
@law
def test_grows_with_width(arch: Arch, width: float, more: float) -> None:
    narrow, wide = cost(wider(arch, width)), cost(wider(arch, width * more))
    assert all(less <= than for less, than in zip(astuple(narrow), astuple(wide), strict=True))


@given(archs, st.floats(0.05, 4.0), st.floats(1.0, 2.0))
@law
def test_grows_with_depth(arch: Arch, depth: float, more: float) -> None:
    shallow, deep = cost(deeper(arch, depth)), cost(deeper(arch, depth * more))
    assert all(less <= than for less, than in zip(astuple(shallow), astuple(deep), strict=True))


@given(archs, st.integers(32, 512), st.integers(1, 256))
@law
def test_grows_with_resolution_but_the_parameters_stay(arch: Arch, resolution: int, more: int) -> None:
    small, large = cost(at(arch, resolution)), cost(at(arch, resolution + more))
    assert small.madds <= large.madds
    assert (small.peak_activation_bytes or 0) <= (large.peak_activation_bytes or 0)
    assert (small.params, small.weights) == (large.params, large.weights)
    assert cost(at(arch, resolution + 32)).madds > small.madds


@given(archs, st.sampled_from([16, 8, 4]))
@law
def test_grows_as_strides_are_taken_out(arch: Arch, stride: int) -> None:
    assert cost(strided(arch, stride)).madds > cost(strided(arch, 2 * stride)).madds
    assert cost(strided(arch, stride)).params == cost(arch).params


@given(archs, st.integers(1, 20_000))
@law
def test_a_class_costs_one_row_of_the_classifier(arch: Arch, classes: int) -> None:
    bare, full = cost(arch, 0), cost(arch, classes)
    assert full.madds - bare.madds == full.weights - bare.weights == arch.features * classes
    assert full.params - bare.params == (arch.features + 1) * classes


@pytest.mark.parametrize("by", ["layer", "type", "stage"])
@pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
@pytest.mark.parametrize("classes", [0, 10])
def test_every_breakdown_adds_up(arch: Arch, by: Literal["layer", "type", "stage"], classes: int) -> None:
    whole, shares = cost(arch, classes), breakdown(arch, by, classes)
    assert sum(share.madds for share in shares) == whole.madds
    assert sum(share.params for share in shares) == whole.params
    of = [layer for _, layer in layers(arch, classes)]
    assert sum(share.layers for share in shares) == len(of)
    assert sum(share.moved for share in shares) == sum(
        layer.inputs * layer.size**2 + layer.params + layer.outputs * layer.output_size**2 for layer in of
    )
    assert len({share.group for share in shares}) == len(shares)


def test_breakdown_by_layer_names_each_in_order() -> None:
    shares = breakdown(TINY, "layer", classes=10)
    assert shares == [
        Share("0 Conv 3x3", 3456, 232, 1, 8 * 8 * 3 + 232 + 4 * 4 * 8),
        Share("1 Conv DW 3x3", 1152, 88, 1, 4 * 4 * 8 + 88 + 4 * 4 * 8),
        Share("2 Conv 1x1", 2048, 160, 1, 4 * 4 * 8 + 160 + 4 * 4 * 16),
        Share("3 Fully Connected", 160, 170, 1, 16 + 170 + 10),
    ]
    assert [round(share.intensity, 2) for share in shares] == [6.26, 3.35, 3.76, 0.82]


def test_depthwise_layers_do_the_least_with_what_they_move() -> None:
    # The roofline's argument against counting MAdds alone: 3 % of MobileNet's MAdds, and 30 % of what it moves.
    shares = {share.group: share for share in breakdown(MOBILENET_V1, "type")}
    depthwise, pointwise = shares["Conv DW 3x3"], shares["Conv 1x1"]
    assert depthwise.intensity < 9  # each number read takes part in at most nine products
    assert pointwise.intensity > 5 * depthwise.intensity
    assert depthwise.moved / sum(share.moved for share in shares.values()) > 0.3


def test_breakdown_by_stage_follows_the_table() -> None:
    groups = {share.group: share.layers for share in breakdown(MOBILENET_V1, "stage")}
    assert groups == {"stage 0": 1, "stage 1": 2, "stage 2": 4, "stage 3": 4, "stage 4": 12, "stage 5": 4, "classifier": 1}


def test_breakdown_by_type_tells_kernels_and_gates_apart() -> None:
    groups = {share.group for share in breakdown(EFFICIENTNET_B0, "type")}
    assert groups == {"Conv 3x3", "Conv DW 3x3", "Conv DW 5x5", "Squeeze-excitation", "Conv 1x1", "Fully Connected"}
    groups = {share.group: share for share in breakdown(RESNET_18, "type")}
    assert list(groups) == ["Conv 7x7", "Max pool 3x3", "Conv 3x3", "Conv 1x1", "Fully Connected"]
    assert (groups["Max pool 3x3"].madds, groups["Max pool 3x3"].params, groups["Max pool 3x3"].intensity) == (0, 0, 0)
    assert groups["Conv 1x1"].layers == 3  # the projections


def test_breakdown_by_stage_puts_a_projection_into_its_block() -> None:
    groups = {share.group: share.layers for share in breakdown(RESNET_50, "stage")}
    assert groups == {f"stage {i}": n for i, n in enumerate([1, 1, 10, 13, 19, 10])} | {"classifier": 1}


def test_breakdown_by_stage_counts_a_hidden_layer_to_the_classifier() -> None:
    *_, last = breakdown(MOBILENET_V3_SMALL, "stage", classes=10)
    assert (last.group, last.layers, last.params) == ("classifier", 2, 577 * 1024 + 1025 * 10)
