import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.learn import way
from eyas.learn.device import Device
from eyas.learn.way import Measured, Way, choose_way, read
from eyas.nn.blocks import ConvNorm
from eyas.nn.build import Network, build
from eyas.nn.kernels import Kernels
from eyas.progress import listening
from eyas.recipe import Training
from eyas.run import plain
from tests.heard import Heard

CPU = Device("cpu", False)
SHORT, LONG, VERY_LONG = 10, 10**6, 10**9  # steps of 32 images
HALF = Measured(float32=2e-4, bfloat16=1e-4)
FUSED = Measured(float32=2e-4, bfloat16=1e-4, fused_float32=1.5e-4, fused_bfloat16=5e-5)


def tiny() -> Network:
    arch = parse("mobilenet_v1x0.125@32")
    return build(arch, nn.Linear(arch.features, 3), dropout=0.2)


@pytest.fixture
def measured(monkeypatch):
    """What `_measure` is to find, and how often it was asked."""
    asked = []
    monkeypatch.setattr(way, "_measure", lambda *given: asked.append(1) or (FUSED if given[3] else HALF))
    monkeypatch.setattr(way, "_kernels", lambda: (None, "no g++"))
    return asked


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_short_run_measures_nothing_and_takes_what_the_device_is_known_for(measured, tmp_path, bfloat16):
    found = choose_way(tiny(), Training(), 32, SHORT, Device("cpu", bfloat16), tmp_path)
    assert found == Way("bfloat16" if bfloat16 else "float32", False, torch.get_num_threads(), fused=False)
    assert not measured
    assert not any(tmp_path.iterdir())


def test_a_long_run_takes_what_was_measured_once(measured, tmp_path):
    for _ in range(2):
        assert choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path).precision == "bfloat16"
    assert len(measured) == 1


def test_another_batch_or_network_is_measured_itself(measured, tmp_path):
    other = parse("mobilenet_v1x0.125@64")
    choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path)
    choose_way(tiny(), Training(compile="off"), 64, LONG, CPU, tmp_path)
    choose_way(build(other, nn.Linear(other.features, 3)), Training(compile="off"), 32, LONG, CPU, tmp_path)
    assert len(measured) == 3


@pytest.mark.parametrize("text", ["", "{", '{"float32": "fast"}', "[]"])
def test_a_damaged_measurement_is_taken_again(measured, tmp_path, text):
    choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path)
    (file,) = (tmp_path / "ways").iterdir()
    file.write_text(text)
    assert choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path).precision == "bfloat16"
    assert len(measured) == 2


@pytest.mark.usefixtures("measured")
def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path):
    (tmp_path / "ways").write_text("a file where a folder belongs")
    assert choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path).precision == "bfloat16"


def test_the_recipe_decides_where_it_says(measured, tmp_path):
    asked = Training(precision="float32", compile="on")
    assert choose_way(tiny(), asked, 32, VERY_LONG, CPU, tmp_path) == Way("float32", True, torch.get_num_threads())
    assert not measured


def test_an_accelerator_keeps_its_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(way, "_measure", lambda *_: replace(HALF, bfloat16=1.0))
    monkeypatch.setattr(way, "_kernels", lambda: pytest.fail("they are for processors"))
    assert choose_way(tiny(), Training(), 32, LONG // 10, Device("cuda", True), tmp_path).precision == "bfloat16"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1.0, 2.0, None, None), ("float32", False)),
        ((1.0, 0.95, 0.95, 0.95), ("float32", False)),
        ((1.0, 0.8, None, None), ("bfloat16", False)),
        ((1.0, 0.8, 0.7, 0.9), ("float32", True)),
        ((1.0, 0.8, 0.7, 0.5), ("bfloat16", True)),
    ],
)
def test_the_plain_way_is_left_only_for_what_is_clearly_faster(seconds, expected):
    begun = Way("float32", False, 1)
    found = Measured(*seconds).fastest(begun, ["float32", "bfloat16"], [False, True])
    assert (found.precision, found.fused) == expected


class TestFusing:
    @pytest.fixture(autouse=True)
    def compiled(self, measured, monkeypatch):
        assert not measured
        ours = object.__new__(Kernels)
        ours.name = "kernels"
        monkeypatch.setattr(way, "_kernels", lambda: (ours, ""))

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({}, ("bfloat16", True)),
            ({"precision": "float32"}, ("float32", True)),
            ({"fused": "off"}, ("bfloat16", False)),
            ({"precision": "float32", "fused": "off"}, ("float32", False)),
            ({"precision": "float32", "fused": "on"}, ("float32", True)),
        ],
    )
    def test_is_measured_where_the_recipe_leaves_it_open(self, tmp_path, asked, expected):
        found = choose_way(tiny(), Training(compile="off", **asked), 32, LONG, CPU, tmp_path)
        assert (found.precision, found.fused) == expected

    def test_a_network_is_not_compiled_as_well(self, tmp_path, monkeypatch):
        monkeypatch.setattr(way, "_measure_compiling", lambda *_: pytest.fail("it takes minutes"))
        found = choose_way(tiny(), Training(), 32, VERY_LONG, CPU, tmp_path)
        assert (found.compiled, found.fused) == (False, True)
        assert not choose_way(tiny(), Training(compile="on"), 32, VERY_LONG, CPU, tmp_path).fused

    def test_a_short_run_is_fused_where_it_is_asked_to_be(self, tmp_path):
        assert choose_way(tiny(), Training(fused="on"), 32, SHORT, CPU, tmp_path).fused
        assert not choose_way(tiny(), Training(), 32, SHORT, CPU, tmp_path).fused

    def test_a_measurement_is_of_these_kernels(self, measured, tmp_path):
        choose_way(tiny(), Training(), 32, LONG, CPU, tmp_path)
        way._kernels()[0].name = "newer"
        choose_way(tiny(), Training(), 32, LONG, CPU, tmp_path)
        assert len(measured) == 2

    def test_both_at_once_are_refused(self):
        with pytest.raises(UserError, match="one way"):
            Training(compile="on", fused="on")

    def test_where_it_cannot_be_done_the_run_goes_on_without(self, tmp_path, monkeypatch):
        monkeypatch.setattr(way, "_kernels", lambda: (None, "there is no C++ compiler"))
        heard = Heard()
        with listening(heard):
            found = choose_way(tiny(), Training(compile="off"), 32, LONG, CPU, tmp_path)
            replace(found, fused=True).apply(tiny(), CPU)
        assert (found.precision, found.fused) == ("bfloat16", False)
        assert [line.split(";")[0] for line in heard.said] == [
            "the network is not fused: there is no C++ compiler",
            "steps are computed in bfloat16",
            "the network is not fused, as this machine cannot (there is no C++ compiler)",
        ]


@pytest.mark.usefixtures("measured")
class TestCompiling:
    def test_is_tried_only_for_a_run_that_may_repay_it(self, tmp_path, monkeypatch):
        tried = []
        found = replace(HALF, compiling=100.0, gain=1.25)
        monkeypatch.setattr(way, "_measure_compiling", lambda *_: tried.append(1) or found)
        assert not choose_way(tiny(), Training(), 32, LONG // 10, CPU, tmp_path).compiled  # 320 s
        assert not tried
        assert choose_way(tiny(), Training(), 32, LONG, CPU, tmp_path).compiled  # 3,200 s
        assert choose_way(tiny(), Training(), 32, LONG, CPU, tmp_path).compiled
        assert len(tried) == 1

    def test_repays_when_it_saves_more_than_it_takes(self):
        found = replace(HALF, compiling=100.0, gain=1.25)
        assert not found.repays(499)
        assert found.repays(501)
        assert not HALF.repays(1e9)

    @pytest.mark.parametrize("where", ["no compiler", "fails"])
    def test_where_it_cannot_be_done_the_run_goes_on_without(self, tmp_path, monkeypatch, where):
        def fail(*_):
            raise RuntimeError("g++ is not there\nand a long trace")

        monkeypatch.setattr(way, "_no_compiler", lambda _: "no compiler" if where == "no compiler" else "")
        monkeypatch.setattr(way, "_timed", fail)
        heard = Heard()
        with listening(heard):
            assert not choose_way(tiny(), Training(), 32, LONG, CPU, tmp_path).compiled
        assert heard.said[1] == "the network is not compiled: " + (
            "no compiler" if where == "no compiler" else "g++ is not there"
        )
        (kept,) = (tmp_path / "ways").iterdir()  # a compiler may be there the next time
        assert json.loads(kept.read_text())["compiling"] is None

    def test_a_run_that_was_begun_compiled_says_when_it_goes_on_without(self, monkeypatch):
        monkeypatch.setattr(way, "_no_compiler", lambda _: "no g++")
        network, heard = tiny(), Heard()
        with listening(heard):
            Way("float32", True, torch.get_num_threads()).apply(network, CPU)
        assert network._compiled_call_impl is None
        assert "no g++" in heard.said[0]

    def test_happens_where_the_way_says_so(self, monkeypatch):
        monkeypatch.setattr(way, "_no_compiler", lambda _: "")
        for compiled in (False, True):
            network = tiny()
            names = list(network.state_dict())
            Way("float32", compiled, torch.get_num_threads()).apply(network, CPU)
            assert (network._compiled_call_impl is not None) == compiled
            assert list(network.state_dict()) == names


def test_a_phase_is_computed_in_its_own_way_and_not_in_that_of_the_one_before():
    network = tiny()
    Way("float32", False, torch.get_num_threads(), fused=True).apply(network, CPU)
    fused = {module.kernels is not None for module in network.modules() if isinstance(module, ConvNorm)}
    assert fused == {way._kernels()[0] is not None}
    network._compiled_call_impl = network.forward
    Way("float32", False, torch.get_num_threads()).apply(network, CPU)
    assert network._compiled_call_impl is None
    assert {module.kernels for module in network.modules() if isinstance(module, ConvNorm)} == {None}


def test_measuring_changes_nothing(monkeypatch):
    monkeypatch.setattr(way, "SECONDS", 0.0)
    network = tiny()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    using, _ = way._kernels()
    found = way._measure(network, 4, CPU, using)
    assert min(found.float32, found.bfloat16) > 0
    assert ((found.fused_float32 or 0) > 0) == ((found.fused_bfloat16 or 0) > 0) == bool(using)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_threads_are_those_of_the_way():
    threads = torch.get_num_threads()
    try:
        Way("float32", False, threads + 1).apply(tiny(), CPU)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_a_way_is_kept_as_json():
    found = Way("bfloat16", False, 4, True)
    assert read(json.loads(json.dumps(plain(found)))) == found
    assert read({"precision": "float32", "compiled": False, "threads": 1}) == Way("float32", False, 1)  # of an older run
    with pytest.raises(UserError, match="precision"):
        read({"precision": "float8", "compiled": False, "threads": 1})


def test_a_device_gets_the_precision():
    assert Way("bfloat16", False, 1).device(CPU) == Device("cpu", True)
    assert Way("float32", False, 1).device(Device("cuda", True)) == Device("cuda", False)


COMPILED = """
import warnings
from dataclasses import replace
import torch
from torch import nn
from eyas.arch.parse import parse
from eyas.learn.device import Device
from eyas.learn.way import Way
from eyas.nn.build import build

warnings.simplefilter("error")
cpu = Device("cpu", False)
images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
whole = parse("mobilenet_v1x0.125@32")
arch = replace(whole, stages=whole.stages[:3])
plain, compiled = (build(arch, nn.Linear(arch.features, 3)).train() for _ in range(2))
Way("float32", True, 1).apply(compiled, cpu)
print("compiled" if compiled._compiled_call_impl else "no compiler")
with torch._dynamo.config.patch(error_on_recompile=True):
    for _ in range(2):
        for network in (plain, compiled):
            network.zero_grad()
            network(images).float().logsumexp(1).mean().backward()
ours, theirs = (torch.cat([each.grad.flatten() for each in network.parameters()]) for network in (compiled, plain))
assert (ours - theirs).norm() < 0.01 * theirs.norm(), (ours - theirs).norm() / theirs.norm()
"""


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    """In a process of its own: the checks of types at test time cannot be compiled. Warnings and recompiling are errors."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    if "no compiler" in done.stdout:
        pytest.skip("this machine has no compiler")
