from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from eyas.arch.ops import conv, separable
from eyas.arch.spec import Arch, Stage
from eyas.deploy.onnx import exported
from eyas.deploy.parity import CONTRACTS, breaches, check, reference_of
from eyas.deploy.quantize import OnnxInt8, correct_biases, quantized
from eyas.deploy.shipment import Quantization, Shipment
from eyas.deploy.target import export
from eyas.errors import UserError
from eyas.nn.build import build
from tests.fakes import lively


def test_int8_is_smaller_and_keeps_its_contract(network, float32, int8, validation):
    parity = check(reference_of(network), int8.predictor(), *validation)
    assert int8.precision == "int8"
    assert int8.bytes < float32.bytes
    assert parity.agreement >= 0.95
    assert not breaches(parity, CONTRACTS["int8"])


def test_every_weight_is_a_signed_byte_with_a_scale_for_each_channel(int8):
    graph = onnx.load(int8.path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    decoders = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 4
    for node in convolutions:
        decoder = decoders[node.input[1]]
        weight, scale = tensors[decoder.input[0]], tensors[decoder.input[1]]
        assert weight.data_type == TensorProto.INT8
        assert len(decoder.input) == 2  # zero points that are 0 would only be bytes
        assert list(scale.dims) == [weight.dims[0]]
        assert {attribute.name: attribute.i for attribute in decoder.attribute}["axis"] == 0
        bias = decoders[node.input[2]]
        assert tensors[bias.input[0]].data_type == TensorProto.INT32
    bytes_of = Counter()
    for tensor in graph.initializer:
        bytes_of[tensor.data_type] += numpy_helper.to_array(tensor).nbytes
    assert bytes_of[TensorProto.FLOAT] < bytes_of[TensorProto.INT8]  # scales, and not a second copy of the weights


def test_activations_are_unsigned_bytes_and_the_probabilities_float(int8):
    graph = onnx.load(int8.path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    encoders = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(encoders) >= 5
    assert {tensors[node.input[2]].data_type for node in encoders} == {TensorProto.UINT8}
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    assert softmax.input[0] in {node.output[0] for node in graph.node if node.op_type == "Gemm"}


def test_the_same_images_give_the_same_bytes(shipment, int8, tmp_path):
    again = export(shipment, tmp_path, "onnx-int8")
    assert again.files == int8.files
    assert again.made_with["calibration_images"] == 256


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, "none were given"),
        (np.zeros((0, 16, 16, 3), np.uint8), "none were given"),
        (np.zeros((4, 20, 20, 3), np.uint8), r"\[16, 16, 3\] is needed"),
    ],
)
def test_calibration_images_are_asked_for_in_words(shipment, tmp_path, images, words):
    with pytest.raises(UserError, match=words):
        export(replace(shipment, calibration=images), tmp_path, "onnx-int8")


class Grouped(nn.Module):
    """Two pointwise convolutions in groups: no border and no activation, so that means add up exactly."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.widen = nn.Conv2d(3, 8, 1, bias=False)
            self.groups = nn.Conv2d(8, 6, 1, groups=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.groups(self.widen(images.permute(0, 3, 1, 2).float() / 255)).mean((2, 3))


@pytest.fixture(scope="module")
def grouped():
    """Its graph without the softmax, images, and the mean of each output over them."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    model = exported(Shipment(Grouped(), "grouped", tuple("abcdef"), 8))
    model.graph.node.pop()
    model.graph.output[0].name = model.graph.node[-1].output[0]
    return model, images, mean_output(model, images)


def mean_output(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0].mean(0)


def copied(model):
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def with_rounded_weights(model):
    rounded = copied(model)
    for tensor in rounded.graph.initializer:
        if len(tensor.dims) == 4:
            weight = numpy_helper.to_array(tensor)
            step = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
            tensor.CopyFrom(numpy_helper.from_array(np.round(weight / step) * step, tensor.name))
    return rounded


def test_corrected_biases_give_back_the_mean_that_rounding_takes(grouped):
    model, images, mean = grouped
    corrected = copied(model)
    correct_biases(corrected, images)
    assert np.abs(mean_output(with_rounded_weights(model), images) - mean).max() > 1e-4
    assert np.abs(mean_output(with_rounded_weights(corrected), images) - mean).max() < 1e-6


def test_the_int8_file_keeps_the_mean_better_than_its_rounded_weights_alone(grouped):
    model, images, mean = grouped
    rounding = np.abs(mean_output(with_rounded_weights(model), images) - mean).max()
    assert np.abs(mean_output(quantized(copied(model), images), images) - mean).max() < rounding / 2


def built(shipment, **choice):
    """The int8 graph that is made with a choice of `Quantization`."""
    return onnx.load_from_string(OnnxInt8().build(shipment, Quantization(**choice))[0]["model.onnx"])


def steps(model):
    """The scale of every activation that is rounded, by name."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    encoders = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return {node.input[0]: float(tensors[node.input[1]]) for node in encoders}


def test_relu6_is_part_of_the_rounding_and_ranges_end_at_6(int8):
    model = onnx.load(int8.path)
    assert not [node for node in model.graph.node if node.op_type in ("Clip", "Relu")]
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    found = sorted(step for name, step in steps(model).items() if name in convolutions)
    assert len(found) == 4
    assert found[2] <= 6 / 255 * (1 + 1e-6)  # three are followed by ReLU6, the last is added to a shortcut


@pytest.mark.parametrize("ranges", ["percentile", "mse"])
def test_narrower_ranges_have_finer_steps(shipment, int8, ranges):
    whole, chosen = steps(onnx.load(int8.path)), steps(built(shipment, ranges=ranges))
    assert set(chosen) == set(whole)
    assert all(chosen[name] <= whole[name] * (1 + 1e-5) for name in whole)
    assert any(chosen[name] < whole[name] * 0.99 for name in whole)


def test_a_layer_that_is_named_stays_in_floating_point(shipment, int8, validation):
    model = built(shipment, floats=("pointwise",))
    kept = [node for node in model.graph.node if "network.pointwise.weight" in node.input]
    assert [node.op_type for node in kept] == ["Conv"]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    assert weights["network.pointwise.weight"].data_type == TensorProto.FLOAT
    assert "network.project.weight" not in weights  # which is rounded, under another name
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, {"images": validation[0]})[0].argmax(1)
    assert np.mean(answers == int8.predictor()(validation[0]).argmax(1)) > 0.9


def test_a_layer_that_the_network_has_not_is_refused(shipment):
    with pytest.raises(UserError, match="no layer 'pointwse'"):
        built(shipment, floats=("pointwse",))


def test_hard_swish_is_computed_in_float_between_integer_convolutions():
    arch = Arch("small", (Stage(conv, 3, 2, 8), Stage(separable, 3, 1, 8)), 16, activation="hard_swish")
    network = build(arch, nn.Linear(arch.features, 3))
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    graph = built(Shipment(lively(network, network.classify), "small", ("a", "b", "c"), 16, calibration=images)).graph
    made = {output: node for node in graph.node for output in node.output}
    swishes = [node for node in graph.node if node.op_type == "HardSwish"]
    assert len(swishes) == 3
    for node in swishes:  # both sides are rounded, so that the convolutions around it are integer
        assert made[node.input[0]].op_type == "DequantizeLinear"
    readers = [reader.op_type for node in swishes for reader in graph.node if node.output[0] in reader.input]
    assert set(readers) <= {"QuantizeLinear", "ReduceMean"}
