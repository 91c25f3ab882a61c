from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from eyas.deploy.onnx import exported
from eyas.deploy.parity import CONTRACTS, breaches, check, reference_of
from eyas.deploy.quantize import correct_biases, quantized
from eyas.deploy.target import export
from eyas.errors import UserError


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


def test_the_same_images_give_the_same_bytes(network, int8, calibration, tmp_path):
    again = export(
        network, tmp_path, "onnx-int8", arch="tiny", classes=("red", "green", "blue"), resolution=16, calibration=calibration
    )
    assert again.sha256 == int8.sha256
    assert again.made_with["calibration_images"] == 256


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (None, "none were given"),
        (np.zeros((0, 16, 16, 3), np.uint8), "none were given"),
        (np.zeros((4, 20, 20, 3), np.uint8), r"\[16, 16, 3\] is needed"),
    ],
)
def test_calibration_images_are_asked_for_in_words(network, tmp_path, calibration, words):
    with pytest.raises(UserError, match=words):
        export(network, tmp_path, "onnx-int8", arch="tiny", classes=("r", "g", "b"), resolution=16, calibration=calibration)


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
    model = exported(Grouped().eval(), "abcdef", 8)
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
