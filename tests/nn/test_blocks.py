import math

import pytest
import torch
from torch import nn

from eyas.arch.spec import Block, Layer
from eyas.nn.blocks import BlockModule, ConvNorm, SqueezeExcite, activation
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
    ("name", "expected"),
    [
        ("", [-8.0, -1.0, 0.0, 1.0, 8.0]),
        ("relu", [0.0, 0.0, 0.0, 1.0, 8.0]),
        ("relu6", [0.0, 0.0, 0.0, 1.0, 6.0]),
        ("silu", [x / (1 + math.exp(-x)) for x in (-8.0, -1.0, 0.0, 1.0, 8.0)]),
    ],
)
def test_activations(name, expected):
    assert activation(name)(torch.tensor([-8.0, -1.0, 0.0, 1.0, 8.0])).tolist() == pytest.approx(expected)


def test_squeeze_and_excitation_is_two_matrices_on_the_mean():
    module = SqueezeExcite(Layer("squeeze", 1, 1, 6, 6, 5, "silu", hidden=3))
    x = torch.rand(2, 6, 5, 4)
    with torch.no_grad():
        hidden = nn.functional.silu(x.mean((2, 3)) @ module.reduce.weight.flatten(1).T + module.reduce.bias)
        gate = torch.sigmoid(hidden @ module.expand.weight.flatten(1).T + module.expand.bias)
        torch.testing.assert_close(module(x), x * gate[:, :, None, None])


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


def test_no_block_writes_into_its_input():
    """Activations work in place; what a shortcut or a feature map still needs must not be their place."""
    x = torch.rand(2, 3, 16, 16)
    for block in shaken(tiny()).block_modules():
        before = x.clone()
        with torch.no_grad():
            y = block(x)
        assert torch.equal(x, before)
        x = y
