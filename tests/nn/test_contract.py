"""The contract of every table at every scale: what its value promises is what its network does, here and wherever it goes."""

import shutil

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.spec import Arch, blocks
from eyas.arch.tables import ARCHS
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.nn.build import Network, build
from tests.fakes import lively, pictures, shaken

VARIANTS = ["", "x0.25@65", "x0.25d0.34@97", "/8", "d1.2"]
SMALL = [*(name + scale for name in ARCHS for scale in ("x0.25@65", "x0.25d0.34@97")), "efficientnet_b0@33/8", "resnet18@33/8"]
NARROWEST = "x0.1d0.1@65"


def built(text: str, **options: float) -> Network:
    arch = parse(text)
    return build(arch, nn.Linear(arch.features, 3), **options)


def small(name: str) -> Network:
    network = built(name + NARROWEST)
    return lively(network, network.classify)


def ingredients(arch: Arch) -> frozenset[object]:
    """Everything that construction or an exporter treats in a way of its own."""
    layers = {
        (layer.kind, layer.kernel, layer.stride, layer.activation, layer.gate)
        for block in blocks(arch)
        for layer in block.all_layers
    }
    shortcuts = {(block.residual, block.shortcut is not None, block.activation) for block in blocks(arch)}
    return frozenset({*layers, *shortcuts, ("padding", arch.padding), ("hidden", bool(arch.hidden))})


def distinct() -> list[str]:
    """A few tables that have, between them, every ingredient of all."""
    seen: set[object] = set()
    chosen = []
    for name, arch in sorted(ARCHS.items(), key=lambda item: -len(ingredients(item[1]))):
        if not ingredients(arch) <= seen:
            chosen.append(name)
            seen |= ingredients(arch)
    return chosen


DISTINCT = distinct()


@pytest.fixture
def compiler(monkeypatch):
    """A fresh one, that sees the network without the type checks of these tests: it cannot look into them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("text", [name + variant for name in ARCHS for variant in VARIANTS])
def test_parameters_and_madds_of_the_value_are_those_of_the_module(text):
    arch = parse(text)
    with torch.device("meta"):  # shapes without numbers
        network = Network(arch, nn.Linear(arch.features, 1000)).eval()
        image = torch.empty(1, 3, arch.resolution, arch.resolution)
    expected = cost(arch)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected.params
    with FlopCounterMode(display=False) as counter:
        network.classify(image)
    assert counter.get_total_flops() == 2 * expected.madds


@pytest.mark.parametrize("text", SMALL)
def test_channels_and_sides_of_the_feature_maps(text):
    network = shaken(built(text))
    arch = network.arch
    x = network.normalize(pictures(2, arch.resolution))
    with torch.no_grad():
        maps = network.features(x)
        answer = network.classify(x)
    last_of_stage = {f"stage{block.stage}": block for block in blocks(arch)}
    promised = {name: (block.outputs, block.output_size, block.output_size) for name, block in last_of_stage.items()}
    assert {name: tuple(value.shape[1:]) for name, value in maps.items()} == promised
    final = list(maps.values())[-1]
    assert tuple(maps["stage0"].shape[2:]) == (-(-arch.resolution // 2),) * 2
    assert tuple(final.shape[1:]) == (arch.pooled, *(-(-arch.resolution // arch.total_stride),) * 2)
    assert answer.isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(network.head(network.hidden(final.mean((2, 3)))), answer)


@pytest.mark.parametrize("name", ARCHS)
def test_the_state_dict_is_all_that_it_is(name):
    text = f"{name}x0.25d0.34@65"
    network, other = shaken(built(text), seed=1), shaken(built(text, seed=5), seed=2)
    other.load_state_dict(network.state_dict())
    images = pictures(1, network.arch.resolution)
    with torch.no_grad():
        assert torch.equal(other(images), network(images))


@pytest.mark.parametrize("name", ARCHS)
def test_every_weight_has_a_finite_gradient_that_is_not_zero(name):
    torch.manual_seed(0)
    network = built(f"{name}x0.25@33", dropout=0.2, drop_path=0.1).train()
    network(pictures(4, 65)).logsumexp(1).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_the_tables_that_go_elsewhere_have_what_all_have():
    """Exporters and compilers take seconds a network, and see operators and not tables."""
    taken = [ingredients(parse(name + NARROWEST)) for name in DISTINCT]
    assert set().union(*taken) == set().union(*map(ingredients, ARCHS.values()))


@pytest.mark.parametrize("name", DISTINCT)
class TestElsewhere:
    def test_torch_export(self, name):
        network = small(name)
        images = pictures(2, 65)
        program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
        with torch.no_grad():
            torch.testing.assert_close(program(images), network(images))
            torch.testing.assert_close(program(images[:1]), network(images[:1]), rtol=1e-4, atol=1e-4)

    @pytest.mark.usefixtures("compiler")
    def test_torch_compile_without_a_break(self, name):
        network = small(name)
        images = pictures(2, 65)
        with torch.no_grad():
            compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
            torch.testing.assert_close(compiled(images), network(images))

    def test_onnx(self, name, tmp_path):
        network = small(name)
        artifact = export(Shipment(network, str(network.arch), ("a", "b", "c"), 65), tmp_path, "onnx")
        images = pictures(3, 65)
        with torch.no_grad():
            expected = network(images).softmax(1).numpy()
        assert np.ptp(expected, 0).max() > 0.01
        np.testing.assert_allclose(artifact.predictor(1)(images.numpy()), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="inductor needs a C++ compiler")
@pytest.mark.usefixtures("compiler")
def test_torch_compile_with_its_own_backend():
    network = small("resnet18")
    images = pictures(2, 65)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network, fullgraph=True)(images), network(images), rtol=1e-3, atol=1e-3)
