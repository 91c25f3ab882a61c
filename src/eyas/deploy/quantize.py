"""Int8 ONNX: the float32 graph with eight-bit weights and activations, calibrated on training images.

Of the ways that were tried on EfficientNet-Lite0 (benchmarks/int8.py), one scale a tensor loses most answers. With one scale
a channel, ranges by the smallest and largest value do as well as by percentile, and better than by entropy: what hurts is
the rounding of the weights. So the plain ranges are taken, and the biases corrected by what the rounding moves the mean of
each channel.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32
from torch import nn

from eyas.deploy.onnx import (
    Images,
    add_tensor,
    channel_means,
    exported,
    integers,
    made_with,
    packed,
    runtime,
    session,
    tensors,
)
from eyas.deploy.parity import Precision, Predictor
from eyas.errors import UserError

if TYPE_CHECKING:
    from eyas.deploy.onnx import ModelProto

WEIGHTED = {"Conv": (0, 2, 3), "Gemm": (0,)}  # what holds weights, and all axes of its input but the channels
# What holds weights, and what lies between them in an integer network. Scaling the input, the gates of SiLU and of
# squeeze-and-excitation, and the softmax stay float: they have no weights to save, and with integer gates
# EfficientNet-B0 was no faster than in float32.
INTEGER = (*WEIGHTED, "Add", "Clip", "Relu")
CALIBRATION = 256  # images


class OnnxInt8:
    """The target "onnx-int8": QDQ, signed weights with one scale a channel, unsigned activations with one a tensor."""

    precision: Precision = "int8"
    file = "model.onnx"
    runs_on_devices = True

    def build(
        self,
        network: nn.Module,
        *,
        arch: str,
        classes: Sequence[str],
        resolution: int,
        crop: float,
        calibration: Images | None,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with; at most 256 evenly spaced calibration images are used.

        Raises:
            UserError: there are no calibration images, or they do not have the network's resolution.
        """
        if calibration is None or not len(calibration):
            raise UserError("int8 needs training images to choose its ranges from, and none were given; give about 256")
        if calibration.shape[1:] != (resolution, resolution, 3):
            raise UserError(f"calibration images are {list(calibration.shape[1:])}; [{resolution}, {resolution}, 3] is needed")
        images = calibration[_spaced(len(calibration))]
        model = quantized(exported(network, classes, resolution), images)
        facts = {**made_with(), "quantizer": runtime(), "calibration_images": len(images)}
        return {self.file: packed(model, arch, classes, resolution, crop)}, facts

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind onnxruntime."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers."""
        return runtime()


def quantized(model: "ModelProto", images: Images) -> "ModelProto":
    """The float32 `model` in int8, its ranges chosen on `images`. The biases of `model` are changed on the way."""
    correct_biases(model, images)
    # Rounded to 256 steps, the scores of many classes would tie: what the classifier puts out stays float.
    smaller = integers(model, INTEGER, ("Gemm",), images)
    _drop_zeros(smaller)
    return smaller


def correct_biases(model: "ModelProto", images: Images) -> None:
    """Add to each bias what rounding the weights takes from the mean output of its channel (in place).

    Rounding moves a weight by up to half a step; over a channel's inputs, which are mostly positive, the errors do not
    cancel and shift the whole channel. The shift is the error times the mean input, measured on `images` (Nagel et al.,
    Data-Free Quantization, 1906.04721, section 4.2, with measured means; zeros padded at the border are not counted).
    """
    constants = tensors(model)
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in constants]
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
    _drop_unused(model)


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
    _drop_unused(model)


def _drop_unused(model: "ModelProto") -> None:
    """Leave out the tensors that no node takes any more."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _spaced(count: int) -> np.ndarray:
    """Positions of at most 256 of `count` images, evenly spaced."""
    return np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(np.int64)
