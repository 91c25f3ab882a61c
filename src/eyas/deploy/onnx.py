"""ONNX: a network as one file that onnxruntime answers with. Nothing else imports the ONNX packages."""

import copy
import io
import json
import logging
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from eyas.deploy.parity import Precision, Predictor
from eyas.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import SessionOptions

OPSET = 20
INPUT, OUTPUT = "images", "probabilities"
BATCH = 32  # images at once in calibration

Images = UInt8[np.ndarray, "n h w 3"]


class Onnx:
    """The target "onnx": float32 weights."""

    precision: Precision = "float32"
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
        calibration: Images | None,  # noqa: ARG002 - weights that stay float32 need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with."""
        model = exported(network, classes, resolution)
        return {self.file: packed(model, arch, classes, resolution, crop)}, made_with()

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind onnxruntime."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers: `onnxruntime 1.23.0`."""
        return runtime()


class _Shipped(nn.Module):
    """The network as users of the file meet it: probabilities instead of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n k"]:
        return self.network(images).softmax(-1)


def exported(network: nn.Module, classes: Sequence[str], resolution: int) -> "ModelProto":
    """The graph uint8 [n, resolution, resolution, 3] -> probabilities [n, k]; the network itself is not touched.

    The exporter folds every BatchNorm that follows a convolution into its weights, and padding into its attributes.

    Raises:
        UserError: an ONNX package is missing, or the network does not answer as many classes as are named.
    """
    with toolkit():  # asked beforehand: the exporter reports a missing package in words of its own
        import_module("onnx")
        import_module("onnxscript")
    shipped = _Shipped(copy.deepcopy(network)).to("cpu", torch.float32).eval()
    example = torch.zeros(2, resolution, resolution, 3, dtype=torch.uint8)
    with quiet():
        program = torch.onnx.export(
            shipped,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            verbose=False,
        )
    assert program is not None  # only the exporter before dynamo returns nothing
    model = program.model_proto
    answers = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if answers != len(classes):
        raise UserError(f"the network answers {answers} classes and {len(classes)} are named; name one for each answer")
    return model


def packed(model: "ModelProto", arch: str, classes: Sequence[str], resolution: int, crop: float = 1.0) -> bytes:
    """The file's bytes: labelled for whoever finds it alone, and without the exporter's notes.

    The notes (source lines and paths of the machine that exported, shapes that every runtime infers itself) would be a
    tenth of a small int8 file.
    """
    graph = model.graph
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    del model.metadata_props[:]
    labels = {
        "arch": arch,
        "classes": json.dumps(list(classes)),
        "resolution": str(resolution),
        "crop": str(crop),
        "input": f"uint8 [n, {resolution}, {resolution}, 3], RGB",
    }
    for key, value in labels.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString(deterministic=True)


def made_with() -> dict[str, Any]:
    """The facts of an export that its bytes depend on."""
    with toolkit():
        import onnxscript
    return {"opset": OPSET, "torch": torch.__version__, "onnxscript": onnxscript.__version__}


def session(path: Path, threads: int) -> Predictor:
    """Open a model file in onnxruntime on the processor, with `threads` threads (0: one for each core).

    Raises:
        UserError: onnxruntime is missing; later, images that are not what the file takes.
    """
    with toolkit():
        import onnxruntime
    opened = onnxruntime.InferenceSession(str(path), _options(threads), providers=["CPUExecutionProvider"])
    resolution = opened.get_inputs()[0].shape[1]

    def predict(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (resolution, resolution, 3):
            raise UserError(
                f"{path} takes uint8 images [n, {resolution}, {resolution}, 3] and was given {images.dtype} "
                f"{list(images.shape)}; resize them first and do not scale or normalise them"
            )
        return np.asarray(opened.run([OUTPUT], {INPUT: images})[0])

    return predict


def runtime() -> str:
    """Name and version of the runtime."""
    with toolkit():
        import onnxruntime
    return f"onnxruntime {onnxruntime.__version__}"


def tensors(model: "ModelProto") -> dict[str, np.ndarray]:
    """The weights and other constants of a graph, by name."""
    with toolkit():
        from onnx import numpy_helper
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def add_tensor(model: "ModelProto", name: str, value: np.ndarray) -> None:
    """Add a constant to a graph."""
    with toolkit():
        from onnx import numpy_helper
    model.graph.initializer.append(numpy_helper.from_array(value, name))


def channel_means(model: "ModelProto", axes: dict[str, tuple[int, ...]], images: Images) -> dict[str, Float[np.ndarray, "c"]]:
    """The mean over `images` of tensors inside the graph; `axes`: by name, over which axes besides (0 is the images)."""
    with toolkit():
        import onnxruntime
        from onnx import ModelProto, TensorProto, helper
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name, over in axes.items():
        add_tensor(probe, f"axes of {name}", np.array(over))
        probe.graph.node.append(helper.make_node("ReduceMean", [name, f"axes of {name}"], [f"mean of {name}"], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(f"mean of {name}", TensorProto.FLOAT, None))
    opened = onnxruntime.InferenceSession(probe.SerializeToString(), _options(0), providers=["CPUExecutionProvider"])
    sums = [np.zeros(())] * len(axes)
    for batch in _batches(images):
        found = opened.run(None, {INPUT: batch})
        sums = [total + np.asarray(mean, np.float64) * len(batch) for total, mean in zip(sums, found, strict=True)]
    return {name: total / len(images) for name, total in zip(axes, sums, strict=True)}


def integers(model: "ModelProto", kinds: Sequence[str], float_outputs: Sequence[str], images: Images) -> "ModelProto":
    """The graph with the nodes of these `kinds` in eight bits, in QDQ form.

    Weights are signed with one scale a channel, biases int32, activations unsigned with one scale a tensor, which spans
    what is seen on `images`; the outputs of the kinds in `float_outputs` stay float.
    """
    with toolkit():
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = ({INPUT: batch} for batch in _batches(images))

        def get_next(self) -> dict[str, np.ndarray]:
            return next(self.batches, {})

    with TemporaryDirectory() as scratch, quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            model,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(kinds),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": list(float_outputs)},
        )
        return onnx.load(path)


def _batches(images: Images) -> Iterator[np.ndarray]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _options(threads: int) -> "SessionOptions":
    with toolkit():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    return options


@contextmanager
def toolkit() -> Generator[None]:
    """Import ONNX packages inside this block: a missing one becomes a sentence that says what to install."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"ONNX files need {error.name}, which is not installed: pip install 'eyas[export]'") from None


@contextmanager
def quiet() -> Generator[None]:
    """Keep the warnings, log lines and prints of the ONNX packages from the user; exceptions still get out."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
