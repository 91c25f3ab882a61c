"""The files that LiteRT answers from. What needs the converter is `slow`: its environment is made once, in the folder of
the environment that the tests run in (or where EYAS_ENVIRONMENTS says), and used again."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import interpreter as litert_interpreter
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from eyas.arch.ops import conv, mbconv
from eyas.arch.spec import Arch, Stage
from eyas.deploy.litert import LiteRT, LiteRTInt8, activations, convertible, session
from eyas.deploy.litert_bytes import ALIGNED, labels, packed
from eyas.deploy.parity import check, reference_of
from eyas.deploy.shipment import Quantization, Shipment
from eyas.errors import UserError
from eyas.nn.build import build

# The network of conftest.py, exported as float32; `test_the_file_of_the_fast_tests_is_made_again` holds it to that.
SMALL = Path(__file__).parent / "colours.tflite"


def operations(path):
    """How many operations of each kind a file has, without the runtime's own rewriting."""
    kind = litert_interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = litert_interpreter.Interpreter(str(path), experimental_op_resolver_type=kind)
    return Counter(each["op_name"] for each in opened._get_ops_details())


def weights(path):
    """The kinds of numbers that convolutions hold their weights in."""
    kind = litert_interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = litert_interpreter.Interpreter(str(path), experimental_op_resolver_type=kind)
    tensors = {each["index"]: each for each in opened.get_tensor_details()}
    steps = [each for each in opened._get_ops_details() if each["op_name"].endswith("CONV_2D")]
    return [tensors[each["inputs"][1]]["dtype"].__name__ for each in steps]


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_images_gets_probabilities(validation, count):
    found = session(SMALL, 1)(validation[0][:count])
    assert found.dtype == np.float32
    assert found.shape == (count, 3)
    assert found.sum(1) == pytest.approx(np.ones(count), abs=1e-5)


def test_the_file_knows_the_colours(validation):
    images, strongest = validation[0], validation[1].labels
    assert np.mean(session(SMALL, 0)(images).argmax(1) == strongest) > 0.9


def test_opening_a_file_is_silent(capfd, validation):
    session(SMALL, 1)(validation[0][:1])
    assert capfd.readouterr() == ("", "")


def test_a_file_says_what_it_is_and_packing_changes_no_answer(tmp_path, validation):
    again = tmp_path / "again.tflite"
    again.write_bytes(packed(SMALL.read_bytes(), {"arch": "tiny"}, schema))
    assert labels(SMALL.read_bytes(), schema)["classes"] == '["red", "green", "blue"]'
    assert labels(again.read_bytes(), schema) == {"arch": "tiny"}
    images = validation[0][:3]
    assert np.array_equal(session(again, 1)(images), session(SMALL, 1)(images))


def test_weights_lie_where_they_can_be_read_in_place():
    content = SMALL.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    held = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    start = np.frombuffer(content, np.uint8).ctypes.data
    places = [each.ctypes.data - start for each in held if isinstance(each, np.ndarray)]
    assert len(places) > 5
    assert all(place % ALIGNED == 0 for place in places)


@pytest.mark.parametrize("spoil", [lambda content: content[:2000], lambda _: b"text", lambda _: b""])
def test_damaged_and_foreign_files_are_one_sentence(tmp_path, spoil):
    path = tmp_path / "model.tflite"
    path.write_bytes(spoil(SMALL.read_bytes()))
    with pytest.raises(UserError, match=r"model\.tflite cannot be opened by ai-edge-litert .*export again") as raised:
        session(path, 1)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_program_is_told_apart(tmp_path):
    model = schema.ModelT.InitFromPackedBuf(SMALL.read_bytes())
    graph = model.subgraphs[0]
    graph.inputs, graph.operators = [graph.operators[0].outputs[0]], graph.operators[1:]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "other.tflite").write_bytes(builder.Output())
    with pytest.raises(UserError, match=r"other\.tflite is of another program"):
        session(tmp_path / "other.tflite", 1)


def test_every_tensor_between_is_seen_for_each_image(validation):
    seen = list(activations(SMALL, validation[0][:2]))
    assert len(seen) == 2
    assert all(np.isfinite(values).all() for values in seen[0].values())
    assert any(not np.array_equal(seen[0][name], seen[1][name]) for name in seen[0])


@pytest.mark.parametrize("target", [LiteRT(), LiteRTInt8()])
def test_a_missing_runtime_names_the_extra_before_anything_is_installed(shipment, monkeypatch, tmp_path, target):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setenv("EYAS_ENVIRONMENTS", str(tmp_path))
    for ask in (lambda: target.build(shipment, Quantization()), lambda: target.open(SMALL, 1), target.runtime):
        with pytest.raises(UserError, match=r"need ai_edge_litert, .* pip install 'eyas\[litert\]'"):
            ask()
    assert not list(tmp_path.iterdir())


def test_int8_without_images_is_refused_before_anything_is_installed(shipment, monkeypatch, tmp_path):
    monkeypatch.setenv("EYAS_ENVIRONMENTS", str(tmp_path))
    with pytest.raises(UserError, match="int8 needs training images"):
        LiteRTInt8().build(replace(shipment, calibration=None), Quantization())
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def gated():
    """A network with gates, shortcuts, SiLU and TensorFlow's padding, whose norms have seen images."""
    stages = (Stage(conv, 3, 2, 8), Stage(mbconv, 5, 2, 12, 2, 4, 1 / 4))
    arch = Arch("gated", resolution=20, head=16, activation="silu", padding="same", stages=stages)
    network = build(arch, nn.Linear(16, 4))
    images = np.random.default_rng(0).integers(0, 256, (32, 20, 20, 3), dtype=np.uint8)
    with torch.no_grad():
        network(torch.from_numpy(images))
    return Shipment(network.eval(), "gated", tuple("abcd"), 20, calibration=images)


def test_what_is_converted_answers_as_the_network(gated):
    with torch.no_grad():
        expected = gated.module()(torch.from_numpy(gated.calibration))
        found = convertible(gated)(torch.from_numpy(gated.calibration))
    assert (found - expected).abs().max() < 1e-5


def written(target, shipment, folder, quantization=Quantization()):
    files, _ = target.build(shipment, quantization)
    path = folder / target.file
    path.write_bytes(files[target.file])
    return path


@pytest.mark.slow
def test_the_file_of_the_fast_tests_is_made_again(network, shipment, validation, tmp_path):
    path = written(LiteRT(), replace(shipment, calibration=None), tmp_path)
    assert path.read_bytes() == SMALL.read_bytes() or check(session(SMALL, 1), session(path, 1), *validation).largest_gap < 1e-3
    parity = check(reference_of(network), session(path, 1), *validation)
    assert parity.agreement == 1.0
    assert parity.largest_gap < 1e-5


@pytest.mark.slow
def test_a_real_architecture_in_float_and_int8(gated, tmp_path):
    (tmp_path / "int8").mkdir()
    expected = reference_of(gated.network)
    whole = written(LiteRT(), gated, tmp_path)
    assert check(expected, session(whole, 1), gated.calibration).largest_gap < 1e-5
    assert operations(whole)["PAD"] == 0
    floats = Quantization(floats=("blocks.0", "blocks.1.layers.0.conv"))
    small = written(LiteRTInt8(), gated, tmp_path / "int8", floats)
    assert check(expected, session(small, 1), gated.calibration).largest_gap < 0.05
    assert weights(small)[:2] == ["float32", "float32"]
    assert set(weights(small)[2:]) == {"int8"}


@pytest.mark.slow
def test_an_int8_file_crops_and_resizes_by_itself(gated, tmp_path):
    framed = replace(gated, frame=(30, 40), crop=0.8)
    small = written(LiteRTInt8(), framed, tmp_path, Quantization(ranges="mse"))
    frames = framed.framed(gated.calibration)
    with torch.no_grad():
        expected = framed.module()(torch.from_numpy(frames)).numpy()
    assert np.abs(session(small, 1)(frames) - expected).max() < 0.05
