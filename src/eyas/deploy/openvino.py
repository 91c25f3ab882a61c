"""OpenVINO: a network as two files, `model.xml` and `model.bin`. Nothing else imports openvino or nncf.

The files are made from the ONNX graph, which is the same for all formats: made from the torch module directly they compute
the same, and each would be traced anew.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eyas.deploy.onnx import batches, exported, packed, quiet, taking
from eyas.deploy.onnx import made_with as graph_made_with
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.shipment import Images, Quantization, Shipment
from eyas.errors import UserError

if TYPE_CHECKING:
    from openvino import Model

Hint = Literal["f32", "bf16"]

HINT = ["runtime_options", "INFERENCE_PRECISION_HINT"]  # where the file says what it is to be computed in
LABELS = "model_info"  # where OpenVINO's own tools look for what a model is


class OpenVino:
    """The target "openvino": float32 weights and arithmetic."""

    precision: Precision = "float32"
    file = "model.xml"
    runs_on_devices = True

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - weights that stay in floating point need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The two files, and what they were made with."""
        return saved(converted(shipment), shipment.labels(), "f32"), made_with()

    def open(self, path: Path, threads: int) -> Predictor:
        """The files behind OpenVINO."""
        return opened(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers: `openvino 2026.4.1`."""
        return runtime()


class OpenVinoBf16(OpenVino):
    """The target "openvino-bf16": weights of 16 bits, and a hint to compute in bfloat16.

    A processor without bfloat16 computes in float32: it answers as well, and no faster than "openvino".
    """

    precision: Precision = "bfloat16"

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - weights that stay in floating point need none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The two files, and what they were made with."""
        return saved(converted(shipment), shipment.labels(), "bf16"), made_with()


class OpenVinoInt8(OpenVino):
    """The target "openvino-int8": weights and activations in eight bits by NNCF, ranges chosen on training images."""

    precision: Precision = "int8"

    def build(self, shipment: Shipment, quantization: Quantization) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The two files, and what they were made with.

        Raises:
            UserError: there are no calibration images.
        """
        images = shipment.calibrating()
        model = _rounded(converted(shipment), images, quantization, _floats(shipment, quantization))
        facts = {**made_with(), "nncf": _nncf_version(), "calibration_images": len(images)}
        # What is not in eight bits stays float32: bfloat16 would cost answers and gain little.
        return saved(model, shipment.labels(), "f32"), facts


def converted(shipment: Shipment) -> "Model":
    """The graph uint8 [n, *side, 3] -> probabilities [n, k].

    Raises:
        UserError: a package is missing, or the network does not answer as many classes as are named.
    """
    with toolkit():
        import openvino
        from openvino._offline_transformations import apply_moc_transformations
    # These two are what openvino.convert_model does, which also reports its use to OpenVINO's makers.
    model = openvino.Core().read_model(packed(exported(shipment), {}))
    apply_moc_transformations(model, cf=True, smart_reshape=False)  # without it three times as many nodes
    return model


def saved(model: "Model", labels: dict[str, str], hint: Hint) -> dict[str, bytes]:
    """The two files' bytes; what they are is told within the first. Weights take 16 bits where the hint is bfloat16."""
    with toolkit():
        import openvino
    for key, value in labels.items():
        model.set_rt_info(value, [LABELS, key])
    model.set_rt_info(hint, HINT)
    for number, node in enumerate(model.get_ordered_ops()):
        if re.fullmatch(r"[A-Z]\w*_\d+", node.get_friendly_name()):  # by a count that goes on from export to export
            node.set_friendly_name(f"{node.get_type_name()}_{number}")
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=hint == "bf16")
        text = re.sub(rb">\s+<", b"><", path.read_bytes())  # a sixth of it is white space
        return {"model.xml": text, "model.bin": path.with_suffix(".bin").read_bytes()}


def opened(path: Path, threads: int) -> Predictor:
    """Compile the files for the processor, with `threads` threads (0: OpenVINO chooses).

    Raises:
        UserError: openvino is missing.
    """
    with toolkit():
        import openvino
    core = openvino.Core()
    model = core.read_model(path)
    # Left to itself, OpenVINO computes float32 files in bfloat16 on processors that have it.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", HINT[1]: model.get_rt_info(HINT).astype(str)}
    compiled = core.compile_model(model, "CPU", options | ({"INFERENCE_NUM_THREADS": threads} if threads else {}))

    def predict(images: np.ndarray) -> np.ndarray:
        return compiled(images)[0]

    return predict


def made_with() -> dict[str, Any]:
    """The facts of an export that its bytes depend on."""
    return {**graph_made_with(), "openvino": runtime().split()[1]}


def runtime() -> str:
    """Name and version of the runtime."""
    with toolkit():
        import openvino
    return f"openvino {openvino.__version__.split('-')[0]}"


@contextmanager
def toolkit() -> Generator[None]:
    """Import OpenVINO's packages inside this block: a missing one becomes a sentence that says what to install."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"OpenVINO files need {error.name}, which is not installed: pip install 'eyas[openvino]'") from None


def _floats(shipment: Shipment, quantization: Quantization) -> list[str]:
    """Nodes of the graph that stay in floating point: those that resize frames, and those of the modules that are named."""
    prefixes = ("resize.", *(f"network.{name}." for name in quantization.floats))
    return taking(exported(shipment), prefixes)


def _rounded(model: "Model", images: Images, quantization: Quantization, floats: list[str]) -> "Model":
    with _nncf(), quiet():
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        ranges = {
            "minmax": RangeEstimatorParametersSet.MINMAX,
            "percentile": RangeEstimatorParametersSet.MEAN_QUANTILE,
            "mse": RangeEstimatorParametersSet.HISTOGRAM,
        }[quantization.ranges]
        parts = list(batches(images))
        # OpenVINO splits a node with a bias in two, of which the first has the weights.
        names = [f"{re.escape(name)}(/WithoutBiases)?" for name in floats]
        return nncf.quantize(
            model,
            nncf.Dataset(parts),
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(parts),
            ignored_scope=nncf.IgnoredScope(patterns=names) if names else None,
            advanced_parameters=AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
        )


def _nncf_version() -> str:
    with _nncf():
        import nncf
    return nncf.__version__


@contextmanager
def _nncf() -> Generator[None]:
    """Import NNCF inside this block, without its reports to its makers, which it decides on when it is first imported."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        with toolkit():
            yield
    finally:
        del os.environ["NNCF_CI"]
        if before is not None:
            os.environ["NNCF_CI"] = before
