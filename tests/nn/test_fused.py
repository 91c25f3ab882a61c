"""Our kernels compute what torch computes: values, gradients and statistics of every kind of layer."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from eyas.arch.layer import Layer
from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.blocks import ConvNorm, SqueezeExcite, fuse
from eyas.nn.build import Network, build
from eyas.nn.fused import ACTIVATIONS
from eyas.nn.kernels import Kernels, kernels
from eyas.nn.sync_norm import synchronise
from eyas.places import user_cache

LAST = torch.channels_last
EPS = 1e-3


@pytest.fixture(scope="module")
def ours() -> Kernels:
    try:
        return kernels(user_cache() / "kernels")
    except UserError as error:
        pytest.skip(str(error))


def conv_norm(layer: Layer, padding: str) -> ConvNorm:
    module = ConvNorm(layer, padding, EPS, 0.1).train()
    nn.init.uniform_(module.norm.weight, 0.5, 2)
    nn.init.uniform_(module.norm.bias, -1, 1)
    return module


def learned(module: nn.Module, x: Tensor) -> list[Tensor]:
    """All that a step does to a layer: its answer, gradients of the input and the weights, buffers."""
    x = x.clone(memory_format=LAST).requires_grad_()
    y = module(x)
    slope = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    y.backward(slope)
    return [y.detach(), x.grad, *(each.grad for each in module.parameters()), *module.buffers()]


def gap(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact).norm() / (exact.double().norm() + 1e-3))


def gaps(module: nn.Module, x: Tensor, using: Kernels) -> list[float]:
    """How far torch's float64 is from our kernels."""
    exact = learned(copy.deepcopy(module).double(), x.double())
    fuse(module, using)
    return [gap(*pair) for pair in zip(learned(module, x), exact, strict=True)]


def maps(channels: int, images: int, height: int, width: int, mean: float = 0.0) -> Tensor:
    torch.manual_seed(channels + 10 * images)
    return (mean + 2 * torch.randn(images, channels, height, width)).contiguous(memory_format=LAST)


SIDES = [(2, 7, 9), (3, 12, 8), (1, 3, 3), (5, 1, 1)]
WIDE = (1, 5, 200)  # of which not all channels are worked on at once


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), list(product((3, 5), (1, 2), ("same", "symmetric"))))
def test_a_depthwise_layer_is_torchs(ours, activation, kernel, stride, padding):
    for channels, sides in product((8, 16, 24, 144), SIDES):
        if sides[1] == 1 and channels > 8:  # five values a channel: their variance may be next to nothing
            continue
        layer = Layer("depthwise", kernel, stride, channels, channels, 12, activation)
        assert max(gaps(conv_norm(layer, padding), maps(channels, *sides), ours)) < 1e-4, (channels, sides)


@pytest.mark.parametrize(("kernel", "stride"), list(product((3, 5), (1, 2))))
def test_wide_maps_are_worked_on_in_parts(ours, kernel, stride):
    layer = Layer("depthwise", kernel, stride, 200, 200, 12, "relu6")
    assert max(gaps(conv_norm(layer, "same"), maps(200, *WIDE), ours)) < 1e-4


@pytest.mark.parametrize(("kernel", "stride"), list(product((3, 5), (1, 2))))
@pytest.mark.parametrize("channels", [8, 24, 64])
def test_a_layer_in_bfloat16_is_as_near_as_rounding_allows(ours, kernel, stride, channels):
    module, x = conv_norm(Layer("depthwise", kernel, stride, channels, channels, 12, "silu"), "same"), maps(channels, 3, 12, 8)
    exact = learned(copy.deepcopy(module).double(), x.double())
    fuse(module, ours)
    with torch.autocast("cpu", torch.bfloat16):
        found = learned(module, x)
    assert found[0].dtype is torch.bfloat16
    assert max(gap(*pair) for pair in zip(found, exact, strict=True)) < 0.02


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_only_the_last_bits(ours, threads):
    module, x = conv_norm(Layer("depthwise", 3, 2, 24, 24, 12, "relu"), "same"), maps(24, 3, 12, 8)
    fuse(module, ours)
    alone, before = learned(copy.deepcopy(module), x), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = learned(module, x)
    finally:
        torch.set_num_threads(before)
    assert max(gap(*pair) for pair in zip(found, alone, strict=True)) < 1e-6


def test_without_gradients_statistics_move_as_well(ours):
    module, x = conv_norm(Layer("conv", 1, 1, 16, 16, 12, "relu"), "same"), maps(16, 3, 12, 8)
    plain = copy.deepcopy(module)
    fuse(module, ours)
    with torch.no_grad():
        assert gap(module(x), plain(x).double()) < 1e-6
    assert gap(module.norm.running_var, plain.norm.running_var.double()) < 1e-6


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_one_value_a_channel_is_refused_as_torch_refuses_it(ours, kind):
    module = conv_norm(Layer(kind, 1 if kind == "conv" else 3, 1, 16, 16, 1, "relu"), "same")
    fuse(module, ours)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module(maps(16, 1, 1, 1))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_norm_behind_another_convolution_is_torchs(ours, activation):
    for channels, sides in product((8, 24, 40, 64, 320), SIDES[:3]):
        layer = Layer("conv", 1, 1, 8, channels, 12, activation)
        assert max(gaps(conv_norm(layer, "same"), maps(8, *sides), ours)) < 1e-4, (channels, sides)


@pytest.mark.parametrize(("activation", "gate"), [("silu", "sigmoid"), ("relu", "hard_sigmoid")])
def test_squeeze_and_excitation_is_torchs(ours, activation, gate):
    for channels, sides in product((8, 24, 96), SIDES):
        layer = Layer("squeeze", 1, 1, channels, channels, 12, activation, 8, gate)
        assert max(gaps(SqueezeExcite(layer).train(), maps(channels, *sides), ours)) < 1e-4, (channels, sides)


def test_a_mean_far_from_zero_does_not_spoil_the_variance(ours):
    layer = Layer("depthwise", 3, 1, 16, 16, 12, "relu")
    module = conv_norm(layer, "same")
    nn.init.constant_(module.conv.weight, 1 / 9)
    x = maps(16, 4, 12, 12, mean=1000.0)
    assert gap(learned(copy.deepcopy(module), x)[0], learned(copy.deepcopy(module).double(), x.double())[0]) < 1e-3
    assert gaps(module, x, ours)[0] < 1e-3


def network(name: str = "efficientnet_b0x0.5@64") -> Network:
    arch = parse(name)
    arch = replace(arch, stages=arch.stages[:4])
    return build(arch, nn.Linear(arch.features, 3)).train()


def images(count: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def gradients(network: Network, half: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        out = network(images(8, network.arch.resolution))
    out.float().logsumexp(1).mean().backward()
    return torch.cat([each.grad.flatten() for each in network.parameters()])


def test_a_network_in_bfloat16_is_as_near_to_float32_as_torchs_is(ours):
    exact, plain, fused = network(), network(), network()
    fuse(fused, ours)
    of = gradients(exact, False)
    assert 0 < gap(gradients(fused, True), of) < 1.5 * gap(gradients(plain, True), of) < 0.5


@pytest.mark.parametrize("half", [False, True])
def test_a_step_twice_is_the_same_to_the_bit_and_recomputed_too(ours, half):
    found = []
    for again in (False, False, True):
        trial = network()
        fuse(trial, ours)
        trial.checkpoint_activations = again
        found.append((gradients(trial, half), torch.cat([each.float().flatten() for each in trial.buffers()])))
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_no_number_stays_none(ours, activation, value):
    for kind in ("depthwise", "conv"):
        module = conv_norm(Layer(kind, 3, 1, 16, 16, 6, activation), "same")
        fuse(module, ours)
        x = maps(16, 2, 6, 6)
        x[1, 3, 2, 2] = value
        y, dx, *_ = learned(module, x)
        assert y[:, 3].isnan().any()
        assert dx.isnan().any()


class TestTorchComputesItself:
    """Where the kernels do not fit, or are not asked."""

    @pytest.fixture
    def counted(self, ours, monkeypatch):
        """How often a kernel ran."""
        ran = []
        for name in ("norm_forward", "depthwise_forward"):
            run = getattr(ours, name)
            monkeypatch.setattr(ours, name, lambda *given, run=run: ran.append(1) or run(*given))
        return ran

    @pytest.mark.parametrize(
        ("change", "fused"),
        [
            (lambda module: module, True),
            (lambda module: module.eval(), False),
            (lambda module: module.norm.eval(), False),
            (lambda module: synchronise(module), False),
            (lambda module: module.double(), False),
            (lambda module: setattr(module, "norm", nn.BatchNorm2d(16, affine=False)), False),
            (lambda module: fuse(module, None), False),
        ],
        ids=["training", "evaluated", "frozen", "synchronised", "float64", "without weights", "unfused"],
    )
    @pytest.mark.parametrize("kind", ["conv", "depthwise"])
    def test_unless_a_layer_trains_on_statistics_of_its_own(self, ours, counted, kind, change, fused):
        module = conv_norm(Layer(kind, 3, 1, 16, 16, 6, "relu"), "same")
        fuse(module, ours)
        change(module)
        module(maps(16, 2, 6, 6).to(module.conv.weight.dtype))
        assert bool(counted) == fused

    def test_where_channels_do_not_come_in_eights(self, ours, counted):
        module = conv_norm(Layer("conv", 1, 1, 8, 12, 6, "relu"), "same")
        assert max(gaps(module, maps(8, 2, 6, 6), ours)) < 1e-4
        assert not counted

    def test_the_convolution_of_a_larger_kernel_but_not_its_norm(self, ours, counted):
        module = conv_norm(Layer("depthwise", 7, 1, 16, 16, 9, "relu"), "same")
        assert max(gaps(module, maps(16, 2, 9, 9), ours)) < 1e-4
        assert len(counted) == 1
