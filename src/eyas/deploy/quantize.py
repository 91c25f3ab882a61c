"""Int8 ONNX: the float32 graph with eight-bit weights and activations, calibrated on training images.

Of the ways that were tried on EfficientNet-Lite0 (benchmarks/int8.py), one scale a tensor loses most answers. With one scale
a channel, ranges by the smallest and largest value do as well as by percentile, and better than by entropy: what hurts is
the rounding of the weights. So the biases are corrected by what the rounding moves the mean of each channel, and the ranges
are plain unless `Quantization` says otherwise, as the ladder does where that loses too much (`eyas.deploy.ladder`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32

from eyas.deploy.onnx import (
    add_tensor,
    channel_means,
    drop_unused,
    exported,
    integers,
    made_with,
    packed,
    runtime,
    session,
    taking,
    tensors,
    watched,
)
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.ranges import spans
from eyas.deploy.shipment import Images, Quantization, Shipment
from eyas.errors import UserError

if TYPE_CHECKING:
    from eyas.deploy.onnx import ModelProto

WEIGHTED = {"Conv": (0, 2, 3), "Gemm": (0,)}  # what holds weights, and all axes of its input but the channels
# What holds weights, and what lies between them in an integer network. Scaling the input, the gates of SiLU and of
# squeeze-and-excitation, and the softmax stay float: they have no weights to save, and with integer gates
# EfficientNet-B0 was no faster than in float32.
INTEGER = (*WEIGHTED, "Add", "Clip", "Relu")


class OnnxInt8:
    """The target "onnx-int8": QDQ, signed weights with one scale a channel, unsigned activations with one a tensor."""

    precision: Precision = "int8"
    file = "model.onnx"
    runs_on_devices = True

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with; at most 256 evenly spaced calibration images are used.

        Raises:
            UserError: there are no calibration images, or the network has no layer that is to stay in floating point.
        """
        images = shipment.calibrating()
        model = quantized(exported(shipment), images, quantization)
        facts = {**made_with(), "quantizer": runtime(), "calibration_images": len(images)}
        return {self.file: packed(model, shipment.labels())}, facts

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind onnxruntime."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers."""
        return runtime()


def quantized(model: "ModelProto", images: Images, quantization: Quantization = Quantization()) -> "ModelProto":
    """The float32 `model` in int8, its ranges chosen on `images`. The biases of `model` are changed on the way.

    Raises:
        UserError: the network has no layer of a name in `quantization.floats`.
    """
    floats = [node for module in quantization.floats for node in _nodes_of(model, module)]
    correct_biases(model, images, floats)
    narrower = None
    if quantization.ranges != "minmax":
        names = _activations(model)
        narrower = spans(lambda: watched(model, names, images), quantization.ranges)
    # Rounded to 256 steps, the scores of many classes would tie: what the classifier puts out stays float.
    smaller = integers(model, INTEGER, ("Gemm",), images, narrower, floats)
    _drop_zeros(smaller)
    return smaller


def _nodes_of(model: "ModelProto", module: str) -> list[str]:
    found = taking(model, (f"network.{module}.",))
    if not found:
        raise UserError(f"the network has no layer {module!r} that could stay in floating point; give one of its own names")
    return found


def _activations(model: "ModelProto") -> list[str]:
    """What passes between the nodes that int8 rounds, by name."""
    constants = {tensor.name for tensor in model.graph.initializer}
    passed: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in INTEGER:
            given = node.input if node.op_type == "Add" else node.input[:1]  # the others are constants: weights, limits
            passed |= dict.fromkeys((*given, *node.output))
    return [name for name in passed if name not in constants]


def correct_biases(model: "ModelProto", images: Images, floats: Sequence[str] = ()) -> None:
    """Add to each bias what rounding the weights takes from the mean output of its channel (in place).

    Rounding moves a weight by up to half a step; over a channel's inputs, which are mostly positive, the errors do not
    cancel and shift the whole channel. The shift is the error times the mean input, measured on `images` (Nagel et al.,
    Data-Free Quantization, 1906.04721, section 4.2, with measured means; zeros padded at the border are not counted).
    Nodes named in `floats` are not rounded.
    """
    constants = tensors(model)
    rounded = [node for node in model.graph.node if node.op_type in WEIGHTED and node.name not in floats]
    nodes = [node for node in rounded if node.input[1] in constants]
    means = channel_means(model, {node.input[0]: WEIGHTED[node.op_type] for node in nodes}, images)
    for node in nodes:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        lost = _shift(constants[node.input[1]], means[node.input[0]], groups)
        bias = constants[node.input[2]] if len(node.input) > 2 else np.float32(0)
        # A tensor of its own: the exporter may share one among nodes with equal biases.
        name = f"{node.output[0]}_bias"
        add_tensor(model, name, (bias + lost).astype(np.float32))
        del node.input[2:]
        node.input.append(name)
    drop_unused(model)


def _shift(weight: Float32[np.ndarray, "o *rest"], mean: Float[np.ndarray, "i"], groups: int) -> Float[np.ndarray, "o"]:
    """What int8 rounding takes from each output channel's mean, given the mean of each input channel."""
    flat = weight.reshape(len(weight), -1)
    step = np.abs(flat).max(1, keepdims=True).clip(np.finfo(np.float32).tiny) / 127
    error = (flat - np.round(flat / step) * step).reshape(*weight.shape[:2], -1).sum(2)
    grouped = error.reshape(groups, len(weight) // groups, -1)
    return np.einsum("goi,gi->go", grouped, mean.reshape(groups, -1)).reshape(-1)


def _drop_zeros(model: "ModelProto") -> None:
    """Leave out the zero points of kernels and their biases: all are 0, which is what a missing one means.

    A Gemm keeps its own: without them onnxruntime 1.31 computes it in float. Convolutions stay integer either way.
    """
    zeros = {name for name, value in tensors(model).items() if value.ndim and not value.any()}
    kernels = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] in kernels and node.input[2] in zeros:
            del node.input[2]
    drop_unused(model)
