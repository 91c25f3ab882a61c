"""An architecture is a value: how its layers follow from its table and its dials."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.ops import conv, mbconv, separable
from eyas.arch.spec import Arch, Block, Layer, Stage, blocks, layers, round_channels, scaled_stages
from eyas.arch.tables import ARCHS, EFFICIENTNET_LITE0, MOBILENET_V1

law = settings(deadline=None, max_examples=100)


class TestLayer:
    @pytest.mark.parametrize(
        ("layer", "weights", "params", "madds"),
        [
            (Layer("conv", 3, 2, 3, 32, 224), 864, 864 + 64, 864 * 112**2),
            (Layer("depthwise", 5, 1, 16, 16, 7), 400, 400 + 32, 400 * 49),
            (Layer("squeeze", 1, 1, 96, 96, 56, hidden=4), 768, 768 + 4 + 96, 768),
            (Layer("linear", 1, 1, 1024, 10, 1), 10240, 10250, 10240),
        ],
    )
    def test_counts_weights_parameters_and_madds(self, layer: Layer, weights: int, params: int, madds: int) -> None:
        assert (layer.weights, layer.params, layer.madds) == (weights, params, madds)

    @given(st.integers(1, 300), st.sampled_from([1, 3, 5, 7]), st.integers(1, 2))
    @law
    def test_output_side_is_that_of_a_padded_convolution(self, size: int, kernel: int, stride: int) -> None:
        padded = size + 2 * (kernel // 2)
        assert Layer("conv", kernel, stride, 3, 8, size).output_size == (padded - kernel) // stride + 1


class TestOps:
    def test_separable_is_depthwise_then_pointwise(self) -> None:
        assert separable(Stage(separable, 3, 2, 128), 64, 2, 112, "relu") == Block(
            0, (Layer("depthwise", 3, 2, 64, 64, 112, "relu"), Layer("conv", 1, 1, 64, 128, 56, "relu"))
        )

    def test_mbconv_expands_gates_and_projects_linearly(self) -> None:
        made = mbconv(Stage(mbconv, 5, 2, 40, expand=6, squeeze=1 / 4), 24, 2, 56, "silu")
        assert made.layers == (
            Layer("conv", 1, 1, 24, 144, 56, "silu"),
            Layer("depthwise", 5, 2, 144, 144, 56, "silu"),
            Layer("squeeze", 1, 1, 144, 144, 28, "silu", hidden=6),  # a quarter of the block's 24 inputs, not of the 144
            Layer("conv", 1, 1, 144, 40, 28, ""),
        )

    def test_mbconv_without_expansion_or_gate_is_two_layers(self) -> None:
        kinds = [layer.kind for layer in mbconv(Stage(mbconv, 3, 1, 16), 32, 1, 112, "relu6").layers]
        assert kinds == ["depthwise", "conv"]

    @pytest.mark.parametrize(("channels", "stride", "residual"), [(24, 1, True), (24, 2, False), (16, 1, False)])
    def test_mbconv_has_a_shortcut_when_its_ends_agree(self, channels: int, stride: int, residual: bool) -> None:
        assert mbconv(Stage(mbconv, 3, stride, 24, expand=6), channels, stride, 56, "silu").residual is residual


class TestRounding:
    @given(st.floats(0.001, 1e6))
    @law
    def test_to_8_is_never_below_90_percent(self, channels: float) -> None:
        rounded = round_channels(channels)
        assert rounded % 8 == 0
        assert rounded >= max(8, 0.9 * channels)
        assert rounded < channels + 8 or rounded == 8

    @given(st.floats(0.001, 1e5), st.floats(0, 100))
    @law
    def test_to_8_keeps_the_order(self, channels: float, more: float) -> None:
        assert round_channels(channels) <= round_channels(channels + more)

    # The 90 % rule: 8 would be 88.9 % of 9 and 8/8.88 is 90.1 %.
    @pytest.mark.parametrize(("channels", "rounded"), [(8, 8), (8.88, 8), (9, 16), (12, 16), (24, 24), (25.6, 24), (28.8, 32)])
    def test_as_the_reference_code_does(self, channels: float, rounded: int) -> None:
        assert round_channels(float(channels)) == rounded


class TestBlocks:
    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_follow_one_another(self, arch: Arch) -> None:
        channels, size = 3, arch.resolution
        for block in blocks(arch):
            for layer in block.layers:
                assert (layer.inputs, layer.size) == (channels, size)
                channels, size = layer.outputs, layer.output_size
        assert channels == arch.features
        assert size == -(-arch.resolution // arch.total_stride)

    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_and_layers_agree_on_stages(self, arch: Arch) -> None:
        in_blocks = [(block.stage, layer) for block in blocks(arch) for layer in block.layers]
        assert list(layers(arch, classes=0)) == in_blocks
        stage, classifier = list(layers(arch, classes=10))[-1]
        assert (stage, classifier) == (in_blocks[-1][0] + 1, Layer("linear", 1, 1, arch.features, 10, 1))

    def test_only_the_first_repetition_of_a_stage_has_its_stride(self) -> None:
        strides = [block.layers[0].stride for block in blocks(MOBILENET_V1)]
        assert strides == [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]

    def test_lite_keeps_its_ends_when_it_grows(self) -> None:
        grown = blocks(replace(EFFICIENTNET_LITE0, width=2.0, depth=3.0))
        assert grown[0].layers[0].outputs == 32
        assert grown[-1].layers[0].outputs == 1280
        repeats = [stage.repeat for stage in scaled_stages(replace(EFFICIENTNET_LITE0, depth=3.0))]
        assert repeats == [1, 1, 6, 6, 9, 9, 12, 1]

    def test_the_stem_is_never_repeated(self) -> None:
        repeats = [stage.repeat for stage in scaled_stages(replace(MOBILENET_V1, depth=2.0))]
        assert repeats == [1, 2, 4, 4, 12, 4]


class TestValue:
    def test_derives_the_native_resolution_and_keeps_it(self) -> None:
        tiny = Arch("tiny", (Stage(conv, 3, 2, 8),), resolution=32)
        assert tiny.native == 32
        assert replace(tiny, resolution=64).native == 32

    @pytest.mark.parametrize(
        ("dials", "text"),
        [
            ({}, "mobilenet_v1"),
            ({"width": 0.5}, "mobilenet_v1x0.5"),
            ({"width": 2.0}, "mobilenet_v1x2"),
            ({"width": 1 / 3}, "mobilenet_v1x0.3333333333333333"),
            ({"width": 1e-5}, "mobilenet_v1x0.00001"),
            ({"depth": 1.2345678}, "mobilenet_v1d1.2345678"),
            ({"resolution": 160}, "mobilenet_v1@160"),
            ({"output_stride": 8}, "mobilenet_v1/8"),
            ({"width": 0.5, "depth": 1.5, "resolution": 32, "output_stride": 8}, "mobilenet_v1x0.5d1.5@32/8"),
        ],
    )
    def test_writes_the_dials_that_were_turned(self, dials: dict[str, float], text: str) -> None:
        assert str(replace(MOBILENET_V1, **dials)) == text

    @given(st.floats(1e-300, 1e300))
    @law
    def test_tells_every_width_from_its_neighbours(self, width: float) -> None:
        digits = str(replace(MOBILENET_V1, width=width)).removeprefix("mobilenet_v1").removeprefix("x")
        assert float(digits or "1") == width
        assert set(digits) <= set("0123456789.")
