"""Int8 ONNX: the float32 graph with eight-bit weights and activations, calibrated on training images.

What was measured with EfficientNet-Lite0 at 128 px, exported once and quantized in several ways, as the share of images
on which the int8 file gives the float32 file's answer; two classes are solar cells after a short fine-tuning (1,984
images), 1,000 are ImageNet's on the same photographs, where most answers are close calls (800 images):

    way                                              2 classes  1,000 classes
    one scale a tensor                                   70.9 %
    one scale a channel, range by smallest and largest   95.8 %         77.9 %
    the same, range by the 99.999th percentile           96.1 %         77.1 %
    the same, range by entropy                           96.2 %         77.8 %
    smallest and largest, with biases corrected          96.9 %         88.8 %

So the ranges hardly matter and the weights' rounding does: the plain ranges are taken, and the biases corrected.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import nn

from eyas.deploy.onnx import INPUT, exported, made_with, packed, quiet, runtime, session, toolkit
from eyas.deploy.parity import Precision, Predictor
from eyas.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WEIGHTED = ("Conv", "Gemm")
# What holds weights, and what lies between them in an integer network. Scaling the input, the gates of SiLU and of
# squeeze-and-excitation, and the softmax stay float: they have no weights to save and lose most by rounding.
INTEGER = (*WEIGHTED, "Add", "Clip", "Relu")
CALIBRATION = 256  # images; 64 and 512 gave the same agreement within half a point
BATCH = 32


class OnnxInt8:
    """The target "onnx-int8": QDQ, signed weights with one scale a channel, unsigned activations with one a tensor."""

    precision: Precision = "int8"
    file = "model.onnx"

    def build(
        self,
        network: nn.Module,
        *,
        arch: str,
        classes: Sequence[str],
        resolution: int,
        calibration: UInt8[np.ndarray, "n h w 3"] | None,
    ) -> tuple[bytes, dict[str, Any]]:
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
        return packed(model, arch, classes, resolution), facts

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind onnxruntime."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers."""
        return runtime()


def quantized(model: "ModelProto", images: UInt8[np.ndarray, "n h w 3"]) -> "ModelProto":
    """The float32 `model` in int8: weights int8, biases int32, ranges of activations as seen on `images`."""
    with toolkit():
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    correct_biases(model, images)
    with TemporaryDirectory() as scratch, quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            model,
            path,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INTEGER),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Rounded to 256 steps, the scores of many classes would tie.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        smaller = onnx.load(path)
    _drop_zeros(smaller)
    return smaller


def correct_biases(model: "ModelProto", images: UInt8[np.ndarray, "n h w 3"]) -> None:
    """Add to each bias what rounding the weights takes from the mean output of its channel (in place).

    Rounding moves a weight by up to half a step; over a channel's inputs, which are mostly positive, the errors do not
    cancel and shift the whole channel. The shift is the error times the mean input, measured on `images` (Nagel et al.,
    Data-Free Quantization, 1906.04721, section 4.2, with measured means; zeros padded at the border are not counted).
    """
    with toolkit():
        from onnx import numpy_helper
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in weights]
    means = _mean_inputs(model, nodes, images)
    for node in nodes:
        weight = numpy_helper.to_array(weights[node.input[1]])
        lost = _shift(weight, means[node.input[0]], _attribute(node, "group", 1))
        bias = numpy_helper.to_array(weights[node.input[2]]) if len(node.input) > 2 else np.float32(0)
        # A tensor of its own: the exporter may share one among nodes with equal biases.
        name = f"{node.output[0]}_bias"
        model.graph.initializer.append(numpy_helper.from_array((bias + lost).astype(np.float32), name))
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


def _mean_inputs(
    model: "ModelProto", nodes: "list[NodeProto]", images: UInt8[np.ndarray, "n h w 3"]
) -> dict[str, Float[np.ndarray, "i"]]:
    """The mean of each channel that the nodes take, over images and positions."""
    with toolkit():
        import onnxruntime
        from onnx import ModelProto, TensorProto, helper, numpy_helper
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    axes = {"Conv": np.array([0, 2, 3]), "Gemm": np.array([0])}
    for kind, values in axes.items():
        probe.graph.initializer.append(numpy_helper.from_array(values, f"axes of {kind}"))
    taken = {node.input[0]: node.op_type for node in nodes}
    for name, kind in taken.items():
        probe.graph.node.append(helper.make_node("ReduceMean", [name, f"axes of {kind}"], [f"mean of {name}"], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(f"mean of {name}", TensorProto.FLOAT, None))
    opened = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    sums = [np.zeros(())] * len(taken)
    for batch in _batches(images):
        found = opened.run(None, {INPUT: batch})
        sums = [total + np.asarray(mean, np.float64) * len(batch) for total, mean in zip(sums, found, strict=True)]
    return {name: total / len(images) for name, total in zip(taken, sums, strict=True)}


def _drop_zeros(model: "ModelProto") -> None:
    """Leave out the zero points of kernels and their biases: all are 0, which is what a missing one means. 3 % of the file.

    A Gemm keeps its own: without them onnxruntime 1.31 computes it in float. Convolutions stay integer either way.
    """
    with toolkit():
        from onnx import numpy_helper
    zeros = {tensor.name for tensor in model.graph.initializer if tensor.dims and not numpy_helper.to_array(tensor).any()}
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


def _reader(images: UInt8[np.ndarray, "n h w 3"]) -> Any:
    """The images as the quantizer asks for them."""
    with toolkit():
        from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = ({INPUT: batch} for batch in _batches(images))

        def get_next(self) -> dict[str, np.ndarray]:
            return next(self.batches, {})

    return Reader()


def _batches(images: UInt8[np.ndarray, "n h w 3"]) -> Iterator[np.ndarray]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _spaced(count: int) -> np.ndarray:
    """Positions of at most 256 of `count` images, evenly spaced."""
    return np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(np.int64)


def _attribute(node: "NodeProto", name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
