"""ONNX: a network as one file that onnxruntime answers with. Nothing else imports the ONNX packages."""

import hashlib
import io
import logging
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.ranges import Spans
from eyas.deploy.shipment import Images, Quantization, Shipment
from eyas.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import SessionOptions

OPSET = 20
INPUT, OUTPUT = "images", "probabilities"
BATCH = 32  # images at once in calibration
FLOAT16_MAX = 65504.0


_GRAPHS: "WeakKeyDictionary[Shipment, tuple[str, bytes]]" = WeakKeyDictionary()


class Onnx:
    """The target "onnx": float32 weights."""

    precision: Precision = "float32"
    file = "model.onnx"
    runs_on_devices = True

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - weights that stay float32 need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with."""
        return {self.file: packed(exported(shipment), shipment.labels())}, made_with()

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind onnxruntime."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers: `onnxruntime 1.23.0`."""
        return runtime()


class OnnxFp16(Onnx):
    """The target "onnx-fp16": float16 weights and arithmetic; images in, their scaling, softmax and answers as in float32.

    Where a processor has no float16 for an operation, as x86 has none for convolutions, onnxruntime computes it in float32.
    """

    precision: Precision = "float16"

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - weights that stay floating point need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with."""
        return {self.file: packed(halved(exported(shipment)), shipment.labels())}, made_with()


def exported(shipment: Shipment) -> "ModelProto":
    """The graph uint8 [n, *side, 3] -> probabilities [n, k]; the network itself is not touched.

    The exporter folds every BatchNorm that follows a convolution into its weights, and padding into its attributes. It
    takes seconds, and files of several formats begin with the same graph: that of a shipment is kept as long as the
    shipment is, and made anew where its weights have changed.

    Raises:
        UserError: an ONNX package is missing, or the network does not answer as many classes as are named.
    """
    with toolkit():  # asked beforehand: the exporter reports a missing package in words of its own
        import_module("onnxscript")
        import onnx
    weights = _digest(shipment.network)
    kept, graph = _GRAPHS.get(shipment, ("", b""))
    if kept != weights:
        graph = _traced(shipment).SerializeToString()
        _GRAPHS[shipment] = weights, graph
    return onnx.load_from_string(graph)


def halved(model: "ModelProto") -> "ModelProto":
    """The float32 `model` in float16 (in place), but for what comes before the first weights and behind the last.

    Of pixels from 0 to 255 the scaling would lose a bit and more, and a softmax's sum of exponentials as much.
    """
    with toolkit():
        from onnx import TensorProto, helper
    weighted = set(taking(model, ("network.",)))
    nodes, converted = list(model.graph.node), dict[tuple[str, int], str]()
    places = [place for place, node in enumerate(nodes) if node.name in weighted and node.op_type in ("Conv", "Gemm")]
    constants = {name: value for name, value in tensors(model).items() if value.dtype == np.float32}
    floating = {each.name for each in model.graph.value_info if each.type.tensor_type.elem_type == TensorProto.FLOAT}
    kinds = {output: TensorProto.FLOAT for node in nodes[: places[0]] for output in node.output if output in floating}
    del model.graph.node[places[0] :]
    del model.graph.value_info[:]  # which say float32 of all
    for place, node in enumerate(nodes[places[0] :], places[0]):
        kind = TensorProto.FLOAT if place > places[-1] else TensorProto.FLOAT16
        for slot, name in enumerate(node.input):
            made = f"{name}_{TensorProto.DataType.Name(kind).lower()}"
            if kind == TensorProto.FLOAT16 and name in constants and (name, kind) not in converted:
                half = constants[name].clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
                add_tensor(model, made, np.asarray(half))
                converted[name, kind] = made
            elif kinds.get(name, kind) != kind and (name, kind) not in converted:
                model.graph.node.append(helper.make_node("Cast", [name], [made], f"cast_{made}", to=kind))
                converted[name, kind] = made
            node.input[slot] = converted.get((name, kind), name)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = kind
        kinds |= {output: kind for output in node.output if output in floating}
        model.graph.node.append(node)
    drop_unused(model)
    return model


def drop_unused(model: "ModelProto") -> None:
    """Leave out the tensors that no node takes any more."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def taking(model: "ModelProto", prefixes: tuple[str, ...]) -> list[str]:
    """Names of the nodes that take a weight whose name begins so; weights are named as in the exported module."""
    constants = {tensor.name for tensor in model.graph.initializer if tensor.name.startswith(prefixes)}
    return [node.name for node in model.graph.node if constants & set(node.input)]


def _traced(shipment: Shipment) -> "ModelProto":
    module = shipment.module()
    example = torch.zeros(2, *shipment.side, 3, dtype=torch.uint8)
    with quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            verbose=False,
        )
    assert program is not None  # only the exporter before dynamo returns nothing
    return program.model_proto


def packed(model: "ModelProto", labels: dict[str, str]) -> bytes:
    """The file's bytes: labelled for whoever finds it alone, and without the exporter's notes.

    The notes (source lines and paths of the machine that exported, shapes that every runtime infers itself) would be a
    tenth of a small int8 file.
    """
    graph = model.graph
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    del model.metadata_props[:]
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
        UserError: onnxruntime is missing.
    """
    with toolkit():
        import onnxruntime
    opened = onnxruntime.InferenceSession(str(path), _options(threads), providers=["CPUExecutionProvider"])

    def predict(images: np.ndarray) -> np.ndarray:
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
    for batch in batches(images):
        found = opened.run(None, {INPUT: batch})
        sums = [total + np.asarray(mean, np.float64) * len(batch) for total, mean in zip(sums, found, strict=True)]
    return {name: total / len(images) for name, total in zip(axes, sums, strict=True)}


def watched(model: "ModelProto", names: Sequence[str], images: Images) -> Iterator[dict[str, np.ndarray]]:
    """What tensors inside the graph hold, by name, a batch of the images at a time."""
    with toolkit():
        import onnxruntime
        from onnx import ModelProto, TensorProto, helper
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    opened = onnxruntime.InferenceSession(probe.SerializeToString(), _options(0), providers=["CPUExecutionProvider"])
    for batch in batches(images):
        yield {name: np.asarray(found) for name, found in zip(names, opened.run(None, {INPUT: batch}), strict=True)}


def integers(
    model: "ModelProto",
    kinds: Sequence[str],
    float_outputs: Sequence[str],
    images: Images,
    narrower: Spans | None = None,
    float_nodes: Sequence[str] = (),
) -> "ModelProto":
    """The graph with the nodes of these `kinds` in eight bits, in QDQ form.

    Weights are signed with one scale a channel, biases int32, activations unsigned with one scale a tensor, which spans
    what is seen on `images`, or what `narrower` says of it. The nodes named in `float_nodes` stay float, and so do the
    outputs of the kinds in `float_outputs`.
    """
    with toolkit():
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = ({INPUT: batch} for batch in batches(images))

        def get_next(self) -> dict[str, np.ndarray]:
            return next(self.batches, {})

    options: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": list(float_outputs)}
    if narrower:
        ends = {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in narrower.items()}
        options["TensorQuantOverrides"] = ends
    with TemporaryDirectory() as scratch, quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            model,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(kinds),
            nodes_to_exclude=list(float_nodes),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        return onnx.load(path)


def batches(images: Images) -> Iterator[np.ndarray]:
    """Images as calibration takes them, 32 at once."""
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _digest(network: nn.Module) -> str:
    """A checksum of a network's weights."""
    state = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        state.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


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
