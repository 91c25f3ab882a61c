"""ONNX in 16 bits: what the file holds, and that onnxruntime answers from it as the network does."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from eyas.deploy.onnx import exported, halved
from eyas.deploy.parity import CONTRACTS, breaches, check, reference_of
from eyas.deploy.target import export


@pytest.fixture(scope="module")
def half(shipment, tmp_path_factory):
    return export(shipment, tmp_path_factory.mktemp("half"), "onnx-fp16")


def test_it_keeps_its_contract_at_about_half_the_size(network, float32, half, validation):
    parity = check(reference_of(network), half.predictor(threads=1), *validation)
    assert half.precision == "float16"
    assert not breaches(parity, CONTRACTS["float16"])
    assert parity.largest_gap < 0.01
    assert half.bytes < 0.7 * float32.bytes


def test_weights_are_halves_and_only_the_scaling_of_images_is_not(half):
    sizes = Counter()
    for tensor in onnx.load(half.path).graph.initializer:
        sizes[tensor.data_type] += numpy_helper.to_array(tensor).nbytes
    assert sizes[TensorProto.FLOAT16] > 10 * sizes[TensorProto.FLOAT] > 0


def test_images_go_in_as_bytes_and_the_softmax_and_the_answers_are_float32(half, validation):
    model = onnx.load(half.path)
    types = {one.name: one.type.tensor_type.elem_type for one in (*model.graph.input, *model.graph.output)}
    assert types == {"images": TensorProto.UINT8, "probabilities": TensorProto.FLOAT}
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    cast = next(node for node in model.graph.node if node.output[0] == softmax.input[0])
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", TensorProto.FLOAT)
    onnx.checker.check_model(model, full_check=True)
    assert half.predictor()(validation[0][:2]).dtype == np.float32


def test_weights_beyond_the_range_of_a_half_become_its_largest(shipment):
    model = exported(shipment)
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Gemm")
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0 - 1e6, name))
    made = {one.name: numpy_helper.to_array(one) for one in halved(model).graph.initializer}
    assert np.isfinite(made[f"{name}_float16"]).all()
    assert made[f"{name}_float16"].max() == -65504
