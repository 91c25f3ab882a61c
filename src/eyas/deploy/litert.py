"""LiteRT (`.tflite`): the file that phones and small boards answer with. Nothing else imports the LiteRT runtime.

The converter wants another torch than Eyas and lives in an environment of its own (`eyas.deploy.environment`), which gets
the network as a program of torch.export. Calibration is the runtime's own, here.
"""

import re
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from eyas.deploy.biases import correct
from eyas.deploy.environment import Environment
from eyas.deploy.litert_bytes import packed
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.pt2 import program, saved
from eyas.deploy.ranges import Spans, spans
from eyas.deploy.shipment import CropResize, Images, Quantization, Shipment
from eyas.deploy.silence import silent
from eyas.errors import UserError, first_line
from eyas.nn.answers import Kind, answered
from eyas.nn.build import Network
from eyas.nn.fold import folded
from eyas.progress import work
from eyas.run import write_json

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

FLOATS = ("resize", "normalize")  # modules of what is exported that never round: they make the network's input
TOOLS = re.compile(r"(litert-torch|litert-converter|ai-edge-quantizer)==")

CONVERTER = Environment(
    name="litert",
    title="the LiteRT converter",
    wanted=("litert-torch",),
    pins=files("eyas.deploy").joinpath("litert.txt").read_text(),
)


class LiteRT:
    """The target "litert": float32."""

    precision: Precision = "float32"
    file = "model.tflite"
    runs_on_devices = True

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - what stays float32 needs none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with.

        Raises:
            UserError: the runtime is missing, or the converter's environment cannot be made.
        """
        with toolkit():  # asked before the environment is made, which takes minutes
            import ai_edge_litert  # noqa: F401
        with TemporaryDirectory() as scratch:
            made = _converted(convertible(shipment), shipment.side, Path(scratch)).read_bytes()
        return {self.file: packed(made, shipment.labels(), _schema())}, made_with()

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind the LiteRT interpreter."""
        return session(path, threads)

    def runtime(self) -> str:
        """Name and version of what answers: `ai-edge-litert 2.3.0`."""
        return runtime()


class LiteRTInt8(LiteRT):
    """The target "litert-int8": convolutions in integers; signed weights with one scale a channel."""

    precision: Precision = "int8"

    def build(self, shipment: Shipment, quantization: Quantization) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The model file, and what it was made with; at most 256 evenly spaced calibration images are used.

        Raises:
            UserError: there are no calibration images, or see `LiteRT.build`.
        """
        with toolkit():
            import ai_edge_litert  # noqa: F401
        images = shipment.calibrating()
        module = convertible(shipment)
        correct(module, images, _floats(quantization))
        with TemporaryDirectory() as scratch:
            source = _converted(module, shipment.side, Path(scratch))
            made = _rounded(source, spans(lambda: activations(source, images), quantization.ranges), quantization).read_bytes()
        facts = {**made_with(), "calibration_images": len(images)}
        return {self.file: packed(made, shipment.labels(), _schema())}, facts


class Convertible(nn.Module):
    """A network as the converter makes the least of it: batch normalisation folded, and the input normalised in its own layout.

    Attributes:
        resize: frames to the network's images; None where the file takes those.
        normalize: uint8 to what the network was trained on.
        network: what was trained, folded.
        kind: what it was trained for.
    """

    def __init__(self, network: Network, resize: CropResize | None, kind: Kind) -> None:
        super().__init__()
        self.resize = resize
        self.normalize = _Normalize(network)
        self.network = folded(network)
        self.kind: Kind = kind

    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n k"]:
        """Images uint8 [n, *side, 3] to answers float32 [n, k]."""
        if self.resize is not None:
            images = self.resize(images)
        # Changed to channels first behind the arithmetic, where the converter takes the change out again.
        return answered(self.network.classify(self.normalize(images).permute(0, 3, 1, 2)), self.kind)


class _Normalize(nn.Module):
    """Pixels times a number a channel, plus one a channel: in bytes, channels last."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.scale = nn.Buffer((1 / (255 * network.std)).detach().flatten().cpu().float())
        self.offset = nn.Buffer((-network.mean / network.std).detach().flatten().cpu().float())

    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n h w 3"]:
        return images.float() * self.scale + self.offset


def convertible(shipment: Shipment) -> nn.Module:
    """What the converter is given: a copy of the network, uint8 [n, *side, 3] to probabilities."""
    shipped = shipment.module()
    network = shipped.network
    return Convertible(network, shipped.resize, shipped.kind).eval() if isinstance(network, Network) else shipped


def activations(source: Path, images: Images) -> Iterator[dict[str, np.ndarray]]:
    """What every float tensor inside a float32 file holds, by name, image after image."""
    interpreter = _interpreter(source, 0, keep=True)
    asked = interpreter.get_input_details()[0]["index"]
    made = {index for step in interpreter._get_ops_details() for index in step["outputs"]}
    tensors = [each for each in interpreter.get_tensor_details() if each["index"] in made and each["dtype"] is np.float32]
    with work("calibrating", len(images)) as progress:
        for number, image in enumerate(images):
            interpreter.set_tensor(asked, image[None])
            interpreter.invoke()
            yield {each["name"]: interpreter.get_tensor(each["index"]) for each in tensors}
            progress.at(number + 1)


def session(path: Path, threads: int) -> Predictor:
    """Open a file in the LiteRT interpreter on the processor; it takes one image at a time.

    Args:
        path: the file.
        threads: 0 lets the runtime choose.

    Raises:
        UserError: the runtime is missing, or the file is damaged or takes something else than an image.
    """
    with toolkit():
        import ai_edge_litert  # noqa: F401
    try:
        interpreter = _interpreter(path, threads)
        asked, answered = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{path} cannot be opened by {runtime()} ({first_line(error)}); export again") from None
    if asked["dtype"] is not np.uint8 or list(asked["shape"][[0, -1]]) != [1, 3] or answered["dtype"] is not np.float32:
        raise UserError(f"{path} is of another program: it does not take images uint8 [1, h, w, 3]; give a file of eyas export")
    alone = threading.Lock()  # an interpreter holds one image and one answer

    def predict(images: np.ndarray) -> np.ndarray:
        answers = np.empty((len(images), answered["shape"][1]), np.float32)
        with alone:
            for answer, image in zip(answers, images, strict=True):
                interpreter.set_tensor(asked["index"], image[None])
                interpreter.invoke()
                answer[:] = interpreter.get_tensor(answered["index"])[0]
        return answers

    return predict


def runtime() -> str:
    """Name and version of the runtime."""
    with toolkit():
        import ai_edge_litert  # noqa: F401
    return f"ai-edge-litert {version('ai-edge-litert')}"


def made_with() -> dict[str, Any]:
    """The facts of an export that its bytes depend on."""
    return {"torch": torch.__version__, **dict(line.split("==") for line in CONVERTER.pins.splitlines() if TOOLS.match(line))}


def _converted(module: nn.Module, side: tuple[int, int], scratch: Path) -> Path:
    """A module as a LiteRT file in float32, in the folder `scratch`."""
    source, target = scratch / "network.pt2", scratch / "float32.tflite"
    source.write_bytes(saved(program(module, side, batches=False)))
    _convert("convert", source, target)
    return target


def _rounded(source: Path, spans: Spans, quantization: Quantization) -> Path:
    """The int8 file beside a float32 one."""
    job, target = source.with_name("job.json"), source.with_name("int8.tflite")
    write_json(job, {"ranges": spans, "floats": [*FLOATS, *_floats(quantization)]})
    _convert("quantize", source, job, target)
    return target


def _floats(quantization: Quantization) -> list[str]:
    """The layers that stay float, by their names in what is exported."""
    return [f"network.{name}" for name in quantization.floats]


def _convert(step: str, *paths: Path) -> None:
    CONVERTER.python()
    with as_file(files("eyas.deploy").joinpath("litert_converter.py")) as script, work(f"LiteRT converter: {step}"):
        CONVERTER.run(script, [step, *map(str, paths)], f"the step {step!r} of the LiteRT export")


def _interpreter(path: Path, threads: int, keep: bool = False) -> "Interpreter":
    """An interpreter that is ready; with `keep`, every tensor can be read after an image."""
    with toolkit():
        from ai_edge_litert.interpreter import Interpreter
    with silent(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that keeping takes
        interpreter = Interpreter(str(path), num_threads=threads or None, experimental_preserve_all_tensors=keep)
        interpreter.allocate_tensors()
    return interpreter


def _schema() -> ModuleType:
    with toolkit():
        from ai_edge_litert import schema_py_generated
    return schema_py_generated


@contextmanager
def toolkit() -> Generator[None]:
    """Import the runtime inside this block: where it is missing, a sentence says what to install."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"LiteRT files need {error.name}, which is not installed: pip install 'eyas[litert]'") from None
