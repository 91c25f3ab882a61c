"""An architecture is a value: how its layers follow from its table and its dials."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.arch.layer import Block, Layer
from eyas.arch.ops import basic, bneck, bottleneck, conv, mbconv, pool, separable
from eyas.arch.spec import Arch, Op, Stage, blocks, layers, placed, round_channels, scaled_stages
from eyas.arch.tables import (
    ARCHS,
    EFFICIENTNET_B0,
    EFFICIENTNET_LITE0,
    EFFICIENTNETS,
    MNASNET_A1,
    MOBILENET_V1,
    MOBILENET_V2,
    MOBILENET_V3_LARGE,
    MOBILENET_V3_SMALL,
    RESNET_18,
    RESNET_50,
)

law = settings(deadline=None, max_examples=100)


class TestLayer:
    @pytest.mark.parametrize(
        ("layer", "weights", "params", "madds"),
        [
            (Layer("conv", 3, 2, 3, 32, 224), 864, 864 + 64, 864 * 112**2),
            (Layer("depthwise", 5, 1, 16, 16, 7), 400, 400 + 32, 400 * 49),
            (Layer("squeeze", 1, 1, 96, 96, 56, hidden=4), 768, 768 + 4 + 96, 768),
            (Layer("squeeze", 1, 1, 72, 72, 28, "relu", 24, "hard_sigmoid"), 3456, 3456 + 24 + 72, 3456),
            (Layer("pool", 3, 2, 64, 64, 112), 0, 0, 0),
            (Layer("linear", 1, 1, 1024, 10, 1), 10240, 10250, 10240),
        ],
    )
    def test_counts_weights_parameters_and_madds(self, layer: Layer, weights: int, params: int, madds: int) -> None:
        assert (layer.weights, layer.params, layer.madds) == (weights, params, madds)

    def test_reads_and_writes_its_maps(self) -> None:
        layer = Layer("conv", 3, 2, 3, 32, 225)
        assert (layer.input_elements, layer.output_elements) == (3 * 225**2, 32 * 113**2)

    @given(st.integers(1, 300), st.sampled_from([1, 3, 5, 7]), st.integers(1, 2))
    @law
    def test_output_side_is_that_of_a_padded_convolution(self, size: int, kernel: int, stride: int) -> None:
        padded = size + 2 * (kernel // 2)
        assert Layer("conv", kernel, stride, 3, 8, size).output_size == (padded - kernel) // stride + 1


class TestFormulas:
    @pytest.mark.parametrize(("kernel", "times"), [(2, 3.76), (3, 7.89), (5, 17.98)])
    def test_separable_convolution_saves_as_equation_5_says(self, kernel: int, times: float) -> None:
        full = Layer("conv", kernel, 1, 64, 64, 56).madds
        split = Layer("depthwise", kernel, 1, 64, 64, 56).madds + Layer("conv", 1, 1, 64, 64, 56).madds
        assert split / full == pytest.approx(1 / 64 + 1 / kernel**2)
        assert full / split == pytest.approx(times, abs=5e-3)

    def test_3x3_takes_8_to_9_times_less(self) -> None:
        for first in (block.layers for block in blocks(MOBILENET_V1) if block.outputs >= 128):
            full = Layer("conv", 3, first[0].stride, first[0].inputs, first[1].outputs, first[0].size).madds
            assert 8 < full / sum(layer.madds for layer in first) < 9  # section 3.1

    def test_an_inverted_bottleneck_costs_what_its_formula_says(self) -> None:
        # h w d' t (d' + k² + d''), MobileNetV2, section 3.3, for 56x56, d' = d'' = 24, t = 6, k = 3.
        block = mbconv(Stage(mbconv, 3, 1, 24, 1, 6), 24, 1, 56, "relu6")
        assert block.sums[0] == 56 * 56 * 24 * 6 * (24 + 9 + 24)


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

    def test_bneck_gates_a_quarter_of_its_own_width_with_a_hard_sigmoid(self) -> None:
        made = bneck(Stage(bneck, 5, 2, 40, expand=72 / 24, squeeze=1 / 4), 24, 2, 56, "hard_swish")
        assert made == Block(
            0,
            (
                Layer("conv", 1, 1, 24, 72, 56, "hard_swish"),
                Layer("depthwise", 5, 2, 72, 72, 56, "hard_swish"),
                Layer("squeeze", 1, 1, 72, 72, 28, "relu", 24, "hard_sigmoid"),  # 18, rounded as channels are: 24
                Layer("conv", 1, 1, 72, 40, 28, ""),
            ),
        )

    def test_bottleneck_is_narrow_inside_and_strided_in_the_middle(self) -> None:
        made = bottleneck(Stage(bottleneck, 3, 2, 512, expand=1 / 4), 256, 2, 56, "relu")
        assert made == Block(
            0,
            (
                Layer("conv", 1, 1, 256, 128, 56, "relu"),
                Layer("conv", 3, 2, 128, 128, 56, "relu"),
                Layer("conv", 1, 1, 128, 512, 28, ""),
            ),
            shortcut=Layer("conv", 1, 2, 256, 512, 56, ""),
            activation="relu",
        )

    def test_basic_is_two_convolutions_the_second_linear(self) -> None:
        made = basic(Stage(basic, 3, 2, 128), 64, 2, 56, "relu")
        assert made == Block(
            0,
            (Layer("conv", 3, 2, 64, 128, 56, "relu"), Layer("conv", 3, 1, 128, 128, 28, "")),
            shortcut=Layer("conv", 1, 2, 64, 128, 56, ""),
            activation="relu",
        )

    @pytest.mark.parametrize("op", [bottleneck, basic])
    @pytest.mark.parametrize(("channels", "stride"), [(256, 1), (256, 2), (64, 1)])
    def test_resnets_shortcut_is_the_identity_where_the_shapes_allow_it(self, op: Op, channels: int, stride: int) -> None:
        made = op(Stage(op, 3, stride, 256, expand=1 / 4), channels, stride, 56, "relu")
        identity = channels == 256 and stride == 1
        assert made.residual is identity
        assert (made.shortcut is None) is identity
        assert made.activation == "relu"

    @pytest.mark.parametrize(
        ("op", "activation"), [(conv, ""), (separable, ""), (mbconv, ""), (bneck, ""), (bottleneck, "relu"), (basic, "relu")]
    )
    def test_only_resnets_blocks_activate_the_sum(self, op: Op, activation: str) -> None:
        assert op(Stage(op, 3, 1, 32, expand=2), 32, 1, 8, "relu").activation == activation

    def test_pool_keeps_the_channels_and_has_no_weights(self) -> None:
        made = pool(Stage(pool, 3, 2, 64), 24, 2, 113, "relu")
        assert made == Block(0, (Layer("pool", 3, 2, 24, 24, 113),))
        assert made.sums == (0, 0, 0)
        assert (made.outputs, made.output_size) == (24, 57)


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
            if block.shortcut:
                assert (block.shortcut.inputs, block.shortcut.size) == (channels, size)
                assert (block.shortcut.outputs, block.shortcut.output_size) == (block.outputs, block.output_size)
            for layer in block.layers:
                assert (layer.inputs, layer.size) == (channels, size)
                channels, size = layer.outputs, layer.output_size
            assert (block.outputs, block.output_size) == (channels, size)
        assert channels == arch.pooled
        assert size == -(-arch.resolution // arch.total_stride)

    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_and_layers_agree_on_stages(self, arch: Arch) -> None:
        in_blocks = [(block.stage, layer) for block in blocks(arch) for layer in block.all_layers]
        stage = in_blocks[-1][0] + 1
        hidden = [(stage, Layer("linear", 1, 1, arch.pooled, arch.features, 1, arch.activation))] if arch.hidden else []
        assert list(layers(arch, classes=0)) == in_blocks + hidden
        assert list(layers(arch, classes=10)) == [*in_blocks, *hidden, (stage, Layer("linear", 1, 1, arch.features, 10, 1))]

    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_stand_as_often_as_they_are_placed(self, arch: Arch) -> None:
        assert tuple(made.block for made, count in placed(arch) for _ in range(count)) == blocks(arch)
        assert len(blocks(arch)) == sum(stage.repeat for stage in scaled_stages(arch)) + bool(arch.head)

    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_come_with_their_sums(self, arch: Arch) -> None:
        for (block, *sums, peak), _ in placed(arch):
            of = [*block.layers, block.shortcut] if block.shortcut else [*block.layers]
            assert block.all_layers == tuple(of)
            assert sums == [sum(getattr(layer, what) for layer in of) for what in ("madds", "params", "weights")]
            assert peak == block.peak

    @pytest.mark.parametrize("arch", ARCHS.values(), ids=str)
    def test_take_the_rows_own_activation_or_the_networks(self, arch: Arch) -> None:
        stages = list(scaled_stages(arch))
        for block in blocks(arch):
            own = arch.stages[block.stage].activation if block.stage < len(stages) else None
            found = {layer.activation for layer in block.layers if layer.kind in ("conv", "depthwise")} | {block.activation}
            assert found <= {own or arch.activation, ""}

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

    def test_the_stem_of_a_resnet_is_two_rows(self) -> None:
        repeats = [stage.repeat for stage in scaled_stages(replace(RESNET_50, depth=2.0))]
        assert repeats == [1, 1, 6, 8, 12, 6]


class TestEnds:
    @pytest.mark.parametrize(
        ("arch", "narrow", "wide"),
        [
            (EFFICIENTNET_B0, 640, 2560),  # always
            (MOBILENET_V2, 1280, 2560),  # only upwards
            (MOBILENET_V3_LARGE, 480, 1920),  # always
            (MNASNET_A1, 1280, 1280),  # never
            (EFFICIENTNET_LITE0, 1280, 1280),
            (MOBILENET_V1, 512, 2048),  # no head: the last stage's
        ],
        ids=str,
    )
    def test_the_head_scales_as_its_table_says(self, arch: Arch, narrow: int, wide: int) -> None:
        assert replace(arch, width=0.5).pooled == narrow
        assert replace(arch, width=2.0).pooled == wide

    @pytest.mark.parametrize(("arch", "hidden"), [(MOBILENET_V3_LARGE, 1280), (MOBILENET_V3_SMALL, 1024)], ids=str)
    def test_the_hidden_layer_grows_and_never_shrinks(self, arch: Arch, hidden: int) -> None:
        assert arch.features == replace(arch, width=0.5).features == hidden
        assert replace(arch, width=2.0).features == 2 * hidden

    def test_the_hidden_layer_stands_between_pooling_and_classifier(self) -> None:
        *_, (_, hidden), (_, classifier) = layers(MOBILENET_V3_SMALL, classes=7)
        assert hidden == Layer("linear", 1, 1, 576, 1024, 1, "hard_swish")
        assert classifier == Layer("linear", 1, 1, 1024, 7, 1)

    @pytest.mark.parametrize("arch", [EFFICIENTNET_B0, RESNET_18, MOBILENET_V1], ids=str)
    def test_without_a_hidden_layer_the_classifier_reads_the_pooled_channels(self, arch: Arch) -> None:
        assert arch.features == arch.pooled

    def test_coefficients_multiply_the_dials(self) -> None:
        b4 = ARCHS["efficientnet_b4"]
        assert b4.coefficients == (1.4, 1.8)
        dialled = replace(EFFICIENTNET_B0, width=1.4, depth=1.8)
        assert list(scaled_stages(b4)) == list(scaled_stages(dialled))
        assert list(scaled_stages(replace(b4, width=0.5))) == list(scaled_stages(replace(dialled, width=0.7)))
        assert str(replace(b4, width=0.5)) == "efficientnet_b4x0.5"

    @pytest.mark.parametrize("arch", EFFICIENTNETS, ids=str)
    def test_every_efficientnet_keeps_the_table_of_b0(self, arch: Arch) -> None:
        assert arch.stages is EFFICIENTNET_B0.stages


class TestPeak:
    def test_of_layers_in_a_row_is_the_widest_pair(self) -> None:
        block = separable(Stage(separable, 3, 1, 16), 8, 1, 4, "relu")
        assert block.peak == 16 * (8 + 16)

    def test_of_an_identity_keeps_the_blocks_input(self) -> None:
        # 8 -> 48 -> 48 -> 8 at 4x4: while the depthwise layer runs, its input, its output and the block's input.
        assert mbconv(Stage(mbconv, 3, 1, 8, expand=6), 8, 1, 4, "relu").peak == 16 * (48 + 48 + 8)

    def test_of_a_projection_keeps_the_input_until_it_has_run(self) -> None:
        # 8x8x16 -> 4x4x32: the first layer reads the input that is held; the second its 4x4x32 in and out.
        assert basic(Stage(basic, 3, 2, 32), 16, 2, 8, "relu").peak == 64 * 16 + 2 * 16 * 32
        # 4x4x8 -> 4x4x64, narrow inside: the projection's output beside the last layer's, and the input it reads.
        assert bottleneck(Stage(bottleneck, 3, 1, 64, expand=1 / 4), 8, 1, 4, "relu").peak == 16 * (8 + 64 + 64)


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
