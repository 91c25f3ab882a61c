import math

import pytest
import torch
from torch import nn

from eyas.arch.layer import Block, Layer
from eyas.arch.ops import basic, conv
from eyas.arch.parse import parse
from eyas.arch.spec import Stage
from eyas.arch.tables import RESNET_18
from eyas.nn.blocks import BlockModule, ConvNorm, SqueezeExcite, activation
from eyas.nn.build import build
from tests.fakes import TINY, shaken, tiny


def looking(kernel: int, stride: int, size: int, at: int, padding: str) -> torch.Tensor:
    """What a kernel that is 1 at (at, at) and 0 elsewhere makes of an image whose rows count 1, 2, 3 ..."""
    module = ConvNorm(Layer("conv", kernel, stride, 1, 1, size), padding, norm_eps=0.0, norm_momentum=0.1).eval()
    nn.init.zeros_(module.conv.weight)
    module.conv.weight.data[0, 0, at, at] = 1
    rows = torch.arange(1.0, size + 1)
    with torch.no_grad():
        return module(torch.minimum(rows[:, None], rows[None, :])[None, None])[0, 0].diagonal()


@pytest.mark.parametrize(
    ("padding", "size", "first", "last"),
    [
        # TensorFlow's "same" puts the odd pixel at the end; symmetric padding gives both ends one.
        ("same", 8, [1, 3, 5, 7], [3, 5, 7, 0]),
        ("same", 7, [0, 2, 4, 6], [2, 4, 6, 0]),
        ("symmetric", 8, [0, 2, 4, 6], [2, 4, 6, 8]),
        ("symmetric", 7, [0, 2, 4, 6], [2, 4, 6, 0]),
    ],
)
def test_where_a_strided_kernel_looks(padding, size, first, last):
    assert looking(3, 2, size, 0, padding).tolist() == first
    assert looking(3, 2, size, 2, padding).tolist() == last


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_kernel_of_stride_1_is_centred(padding):
    assert looking(5, 1, 6, 2, padding).tolist() == [1, 2, 3, 4, 5, 6]


def test_a_depthwise_kernel_sees_only_its_own_channel():
    module = ConvNorm(Layer("depthwise", 3, 1, 4, 4, 8), "same", 1e-3, 0.1).eval()
    x = torch.rand(2, 4, 8, 8)
    changed = x.clone()
    changed[:, 2] += 1
    with torch.no_grad():
        moved = (module(x) - module(changed)).abs().amax((0, 2, 3))
    assert [bool(each) for each in moved > 0] == [False, False, True, False]


@pytest.mark.parametrize(
    ("kind", "kernel", "stride", "expected"),
    [
        ("depthwise", 3, 1, torch.bfloat16),
        ("depthwise", 3, 2, torch.float32),
        ("depthwise", 5, 1, torch.float32),
        ("conv", 3, 2, torch.bfloat16),
    ],
)
def test_depthwise_gradients_that_are_slow_in_bfloat16_stay_in_float32(kind, kernel, stride, expected):
    module = ConvNorm(Layer(kind, kernel, stride, 4, 4, 8), "symmetric", 1e-3, 0.1).train()
    ran = []
    module.conv.register_forward_hook(lambda _, __, out: ran.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.rand(2, 4, 8, 8)).float().sum().backward()
    module(torch.rand(2, 4, 8, 8))
    assert ran == [expected, torch.float32]
    assert module.conv.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", [-8.0, -1.0, 0.0, 1.0, 8.0]),
        ("relu", [0.0, 0.0, 0.0, 1.0, 8.0]),
        ("relu6", [0.0, 0.0, 0.0, 1.0, 6.0]),
        ("silu", [x / (1 + math.exp(-x)) for x in (-8.0, -1.0, 0.0, 1.0, 8.0)]),
        ("hard_swish", [0.0, -1 * 2 / 6, 0.0, 1 * 4 / 6, 8.0]),
    ],
)
def test_activations(name, expected):
    assert activation(name)(torch.tensor([-8.0, -1.0, 0.0, 1.0, 8.0])).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("inner", "gate", "function", "gating"),
    [
        ("silu", "sigmoid", nn.functional.silu, torch.sigmoid),
        ("relu", "sigmoid", torch.relu, torch.sigmoid),
        # MobileNetV3, section 5.2: ReLU6(x + 3) / 6.
        ("relu", "hard_sigmoid", torch.relu, lambda x: (x + 3).clamp(0, 6) / 6),
    ],
)
def test_squeeze_and_excitation_is_two_matrices_on_the_mean(inner, gate, function, gating):
    module = SqueezeExcite(Layer("squeeze", 1, 1, 6, 6, 5, inner, hidden=3, gate=gate))
    nn.init.uniform_(module.expand.weight, -9, 9)  # as far as where a hard sigmoid is flat
    x = torch.randn(8, 6, 5, 4)
    with torch.no_grad():
        hidden = function(x.mean((2, 3)) @ module.reduce.weight.flatten(1).T + module.reduce.bias)
        expected = gating(hidden @ module.expand.weight.flatten(1).T + module.expand.bias)
        torch.testing.assert_close(module(x), x * expected[:, :, None, None])


def test_a_pool_takes_the_largest_of_each_neighbourhood_and_of_nothing_but_the_map():
    block = BlockModule(Block(0, (Layer("pool", 3, 2, 1, 1, 5),)), RESNET_18, 0.1, 0.0)
    x = -torch.arange(1.0, 26.0).view(1, 1, 5, 5)  # below 0: padding must not win
    assert block(x).flatten().tolist() == [-1, -2, -4, -6, -7, -9, -16, -17, -19]
    assert block.weighted() == []


class TestShortcut:
    """`basic` of ResNet with a projection: 4 to 8 channels at half the side."""

    value = basic(Stage(conv, 3, 2, 8), 4, 2, 6, "relu")

    def block(self, drop_path: float = 0.0) -> BlockModule:
        torch.manual_seed(0)
        return shaken(BlockModule(self.value, RESNET_18, 0.1, drop_path))

    def test_is_projected_added_and_then_activated(self):
        block = self.block()
        x = torch.randn(4, 4, 6, 6)
        with torch.no_grad():
            branch, shortcut = block.layers[1](block.layers[0](x)), block.shortcut(x)
            assert branch.lt(0).any()
            assert shortcut.lt(0).any()  # neither is activated by itself
            assert (branch + shortcut).lt(0).any()
            torch.testing.assert_close(block(x), (branch + shortcut).relu())

    def test_a_projection_is_a_strided_1x1_convolution_with_a_normalisation_of_its_own(self):
        shortcut = self.block().shortcut
        assert (shortcut.conv.kernel_size, shortcut.conv.stride, shortcut.conv.padding) == ((1, 1), (2, 2), (0, 0))
        x = torch.randn(1, 4, 6, 6)
        with torch.no_grad():
            torch.testing.assert_close(shortcut(x), shortcut.norm(shortcut.conv(x)))

    def test_the_layers_with_weights_end_in_the_projection(self):
        block = self.block()
        assert block.weighted() == [*block.layers, block.shortcut]
        assert [layer.layer for layer in block.weighted()] == list(self.value.all_layers)

    def test_stochastic_depth_drops_the_layers_and_never_the_projection(self):
        block = self.block(0.4)
        x = torch.randn(1, 4, 6, 6).expand(500, 4, 6, 6)
        with torch.no_grad():
            branch, shortcut = block.layers[1](block.layers[0](x[:1])), block.shortcut(x[:1])
            block.training = True
            given = block(x)
        dropped = torch.isclose(given, shortcut.relu(), atol=1e-6).flatten(1).all(1)
        torch.testing.assert_close(given[~dropped], (shortcut + branch / 0.6).relu().expand(int((~dropped).sum()), 8, 3, 3))
        assert abs(dropped.float().mean().item() - 0.4) < 4 * math.sqrt(0.4 * 0.6 / 500)


class TestStochasticDepth:
    def block(self, drop_path: float, residual: bool = True) -> BlockModule:
        value = Block(1, (Layer("conv", 3, 1, 4, 4, 6),), residual=residual)
        return BlockModule(value, TINY, 0.1, drop_path).eval()

    def test_off_in_evaluation(self):
        x = torch.rand(64, 4, 6, 6)
        block = self.block(0.9)
        with torch.no_grad():
            torch.testing.assert_close(block(x), x + block.layers[0](x), rtol=0, atol=0)

    def test_an_image_has_the_whole_branch_or_none_and_on_average_what_evaluation_gives(self):
        torch.manual_seed(0)
        block = self.block(0.3)
        x = torch.rand(1, 4, 6, 6).expand(4000, 4, 6, 6)
        with torch.no_grad():
            branch = block.layers[0](x[:1])
            block.training = True  # its normalisation stays as in evaluation
            added = block(x) - x
        dropped = (added == 0).flatten(1).all(1)
        torch.testing.assert_close(added[~dropped], (branch / 0.7).expand(int((~dropped).sum()), 4, 6, 6))
        spread = math.sqrt(0.3 * 0.7 / 4000)
        assert abs(dropped.float().mean().item() - 0.3) < 4 * spread
        torch.testing.assert_close(added.mean(0), branch[0], rtol=4 * spread / 0.7, atol=1e-5)

    def test_a_block_without_a_shortcut_is_never_dropped(self):
        block = self.block(0.9, residual=False)
        x = torch.rand(64, 4, 6, 6)
        with torch.no_grad():
            expected = block(x)
            block.training = True
            assert torch.equal(block(x), expected)


@pytest.mark.parametrize("text", ["tiny", "mobilenet_v3_smallx0.25@16/8", "resnet18x0.25@16/8", "resnet50x0.25@16/8"])
def test_no_block_writes_into_its_input(text):
    """Activations work in place; what a shortcut or a feature map still needs must not be their place."""
    x = torch.rand(2, 3, 16, 16)
    network = tiny() if text == "tiny" else build(parse(text), nn.Identity())
    for block in shaken(network).block_modules():
        before = x.clone()
        with torch.no_grad():
            y = block(x)
        assert torch.equal(x, before)
        x = y
