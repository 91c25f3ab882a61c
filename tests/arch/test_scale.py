"""The dials: laws of scaling, and what they refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.scale import at, deeper, strided, wider
from eyas.arch.spec import Arch, blocks, scaled_stages
from eyas.arch.tables import ARCHS, EFFICIENTNET_B0, EFFICIENTNET_LITE0, MOBILENET_V1
from eyas.errors import UserError

law = settings(deadline=None, max_examples=60)
archs = st.sampled_from(list(ARCHS.values()))
factors = st.floats(0.05, 4.0)
resolutions = st.integers(32, 640)


def similar(arch: Arch) -> list[tuple[object, ...]]:
    """The layers of an architecture, whatever its dials say."""
    return [(block.residual, *block.layers) for block in blocks(arch)]


class TestLaws:
    @given(archs, factors, factors, resolutions)
    @law
    def test_scaling_by_1_changes_nothing(self, arch: Arch, width: float, depth: float, resolution: int) -> None:
        for scaled in (arch, at(deeper(wider(arch, width), depth), resolution)):
            assert wider(scaled, 1.0) == scaled
            assert deeper(scaled, 1.0) == scaled
            assert at(scaled, scaled.resolution) == scaled
            assert strided(scaled, scaled.total_stride) == scaled

    @given(archs, factors, factors, resolutions, st.sampled_from([4, 8, 16, 32]))
    @law
    def test_the_order_does_not_matter(self, arch: Arch, width: float, depth: float, resolution: int, stride: int) -> None:
        one = strided(at(deeper(wider(arch, width), depth), resolution), stride)
        assert wider(deeper(at(strided(arch, stride), resolution), depth), width) == one
        assert deeper(at(wider(strided(arch, stride), width), resolution), depth) == one

    @given(archs, factors, factors)
    @law
    def test_turning_twice_is_turning_by_the_product(self, arch: Arch, first: float, second: float) -> None:
        assert wider(wider(arch, first), second) == wider(arch, first * second)
        assert deeper(deeper(arch, first), second) == deeper(arch, first * second)

    @given(archs, factors)
    @law
    def test_turning_back_gives_the_same_layers(self, arch: Arch, factor: float) -> None:
        assert similar(wider(wider(arch, factor), 1 / factor)) == similar(arch)
        assert similar(deeper(deeper(arch, factor), 1 / factor)) == similar(arch)

    @given(archs, st.sampled_from([2, 4, 8, 16, 32]))
    @law
    def test_the_total_stride_is_what_was_asked(self, arch: Arch, stride: int) -> None:
        assert strided(arch, stride).total_stride == stride
        assert blocks(strided(arch, stride))[-1].layers[-1].output_size == 224 // stride

    @given(archs, st.sampled_from([2, 4, 8, 16, 32]))
    @law
    def test_strides_change_no_width(self, arch: Arch, stride: int) -> None:
        widths = [(layer.inputs, layer.outputs) for block in blocks(arch) for layer in block.layers]
        assert [(layer.inputs, layer.outputs) for block in blocks(strided(arch, stride)) for layer in block.layers] == widths


def test_the_earliest_strides_after_the_stem_go_first() -> None:
    # The reference self-training code gives the second and third row of B0 stride 1 for 32-pixel images.
    assert [stage.stride for stage in scaled_stages(EFFICIENTNET_B0)] == [2, 1, 2, 2, 2, 1, 2, 1]
    assert [stage.stride for stage in scaled_stages(strided(EFFICIENTNET_B0, 8))] == [2, 1, 1, 1, 2, 1, 2, 1]


def test_lite0_keeps_its_stem_and_head() -> None:
    assert wider(EFFICIENTNET_LITE0, 2.0).features == EFFICIENTNET_LITE0.features == 1280
    assert wider(EFFICIENTNET_B0, 2.0).features == 2560


class TestRefusals:
    @pytest.mark.parametrize("factor", [0.0, -1.0, 101.0, float("nan"), float("inf")])
    def test_a_multiplier_that_leaves_no_network(self, factor: float) -> None:
        for dial, name, example in ((wider, "width", "x0.5"), (deeper, "depth", "d1.2")):
            with pytest.raises(UserError) as caught:
                dial(MOBILENET_V1, factor)
            assert str(caught.value) == (
                f"{name} multiplier {factor:g} of mobilenet_v1: it must be above 0 and at most 100, for example {example}"
            )

    def test_multipliers_that_only_together_go_too_far(self) -> None:
        with pytest.raises(UserError, match="depth multiplier 400 of mobilenet_v1"):
            deeper(deeper(MOBILENET_V1, 20.0), 20.0)
        with pytest.raises(UserError, match="width multiplier 0 of mobilenet_v1"):
            wider(wider(MOBILENET_V1, 1e-200), 1e-200)

    @pytest.mark.parametrize("resolution", [-1, 0, 7, 31])
    def test_a_resolution_below_the_total_stride(self, resolution: int) -> None:
        with pytest.raises(UserError) as caught:
            at(MOBILENET_V1, resolution)
        message = str(caught.value)
        assert f"resolution {resolution} of mobilenet_v1: it must be at least the total stride, 32 pixels" in message
        assert message.endswith(f"for smaller images set the output stride, for example @{max(8, resolution)}/8")

    def test_a_stride_put_back_under_a_small_resolution(self) -> None:
        small = at(strided(MOBILENET_V1, 8), 16)
        with pytest.raises(UserError, match="resolution 16 of mobilenet_v1: it must be at least the total stride, 32 pixels"):
            strided(small, 32)

    @pytest.mark.parametrize("stride", [-8, 0, 1, 3, 12, 64])
    def test_an_output_stride_that_the_table_cannot_have(self, stride: int) -> None:
        with pytest.raises(UserError) as caught:
            strided(MOBILENET_V1, stride)
        assert str(caught.value) == f"output stride /{stride} of mobilenet_v1: it must be one of 2, 4, 8, 16, 32"
