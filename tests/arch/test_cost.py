"""Cost from the value alone. The papers' figures are in tests/test_papers.py; these are the laws and the sums."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.cost import Share, breakdown, cost
from eyas.arch.ops import conv, mbconv, separable
from eyas.arch.scale import at, deeper, strided, wider
from eyas.arch.spec import Arch, Stage
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0, MOBILENET_V1

law = settings(deadline=None, max_examples=60)
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
    assert small.peak_activation_bytes <= large.peak_activation_bytes
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
def test_every_breakdown_adds_up(arch: Arch, by: str, classes: int) -> None:
    whole, shares = cost(arch, classes), breakdown(arch, by, classes)
    assert sum(share.madds for share in shares) == whole.madds
    assert sum(share.params for share in shares) == whole.params
    assert len({share.group for share in shares}) == len(shares)


def test_breakdown_by_layer_names_each_in_order() -> None:
    assert breakdown(TINY, "layer", classes=10) == [
        Share("0 Conv 3x3", 3456, 232, 1),
        Share("1 Conv DW 3x3", 1152, 88, 1),
        Share("2 Conv 1x1", 2048, 160, 1),
        Share("3 Fully Connected", 160, 170, 1),
    ]


def test_breakdown_by_stage_follows_the_table() -> None:
    groups = {share.group: share.layers for share in breakdown(MOBILENET_V1, "stage")}
    assert groups == {"stage 0": 1, "stage 1": 2, "stage 2": 4, "stage 3": 4, "stage 4": 12, "stage 5": 4, "classifier": 1}


def test_breakdown_by_type_tells_kernels_and_gates_apart() -> None:
    groups = {share.group for share in breakdown(EFFICIENTNET_B0, "type")}
    assert groups == {"Conv 3x3", "Conv DW 3x3", "Conv DW 5x5", "Squeeze-excitation", "Conv 1x1", "Fully Connected"}
