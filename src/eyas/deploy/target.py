"""What ships: a folder with a model file and a page of facts about it, whatever the file's format.

A new format is one file with a class that offers what `Target` asks for, and one line in `TARGETS`.
"""

import hashlib
from dataclasses import asdict, dataclass, fields
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from eyas import __version__
from eyas.deploy import predict as page
from eyas.deploy.executorch import ExecuTorch
from eyas.deploy.litert import LiteRT, LiteRTInt8
from eyas.deploy.onnx import Onnx, OnnxFp16
from eyas.deploy.openvino import OpenVino, OpenVinoBf16, OpenVinoInt8
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.pt2 import Pt2
from eyas.deploy.quantize import OnnxInt8
from eyas.deploy.shipment import Quantization, Shipment
from eyas.deploy.timm import Timm
from eyas.errors import UserError, first_line
from eyas.nn.answers import Kind
from eyas.run import write_atomic, write_json

FACTS = "artifact.json"
PAGE = "predict.py"
BOXES = "boxes.py"  # beside it, of a detector

Status = Literal["unchecked", "accepted", "rejected"]


class Target(Protocol):
    """A format that a network can be exported to, and the runtime that answers from it.

    Attributes:
        precision: of the arithmetic where the processor has it.
        file: name of the main file, the one that `open` is given.
        runs_on_devices: whether a budget is about it.
    """

    precision: Precision
    file: str
    runs_on_devices: bool

    def build(self, shipment: Shipment, quantization: Quantization) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files by name, `file` among them, and what they were made with.

        All files together are the model: it takes uint8 [n, *shipment.side, 3] and gives answers (`eyas.nn.answers`), as
        probabilities. What stays in floating point ignores `quantization`.
        """
        ...

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind its real runtime, on `threads` threads (0: the runtime chooses)."""
        ...

    def runtime(self) -> str:
        """Name and version of the runtime."""
        ...


TARGETS: dict[str, Target] = {
    "onnx": Onnx(),
    "onnx-fp16": OnnxFp16(),
    "onnx-int8": OnnxInt8(),
    "openvino": OpenVino(),
    "openvino-bf16": OpenVinoBf16(),
    "openvino-int8": OpenVinoInt8(),
    "litert": LiteRT(),
    "litert-int8": LiteRTInt8(),
    "executorch": ExecuTorch(),
    "pt2": Pt2(),
    "timm": Timm(),
}

# What `eyas fit` chooses among, where it can be made here. Not onnx-fp16: on the processors that train it is no faster.
# Not what is converted in an environment of its own, or made for phones that this machine cannot measure.
_INSTALLED = find_spec("openvino") is not None and find_spec("nncf") is not None
DEVICE_TARGETS = ("onnx", "onnx-int8", *(("openvino", "openvino-bf16", "openvino-int8") if _INSTALLED else ()))


@dataclass(frozen=True)
class Artifact:
    """An exported model: a folder with the model's files and `artifact.json`, which holds all fields but the folder.

    Attributes:
        folder: where it lies.
        target: its name in `TARGETS`.
        precision: of the arithmetic.
        arch: the architecture's name.
        task: what it was trained for.
        classes: names of the answer's numbers in their order; of a detector, of what it finds.
        resolution: side in pixels of the square images that the network sees.
        crop: share of a picture's sides that the centred box keeps which is resized to that; 1 is the whole picture.
        frame: height and width of the pictures that it takes, to crop and resize them by itself; None where it takes
            [n, resolution, resolution, 3].
        threshold: confidence from which on an answer is to be relied on; None where none was chosen.
        boxes: what makes boxes of a detector's answer (`eyas.deploy.boxes`); None of any other.
        file: name of the main file, which the runtime opens.
        files: sha256 checksum of each of the model's files, by name.
        bytes: size of all of them together.
        eyas: version that exported it.
        made_with: opset, versions and calibration that the file's bytes depend on; no dates, so that the same network
            exports to the same bytes.
        status: what the parity contract said; `dataclasses.replace(artifact, status="accepted").save()` records it.
    """

    folder: Path
    target: str
    precision: Precision
    arch: str
    task: Kind
    classes: tuple[str, ...]
    resolution: int
    crop: float
    frame: tuple[int, int] | None
    threshold: float | None
    boxes: dict[str, Any] | None
    file: str
    files: dict[str, str]
    bytes: int
    eyas: str
    made_with: dict[str, Any]
    status: Status = "unchecked"

    @property
    def path(self) -> Path:
        """The main file."""
        return self.folder / self.file

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the pictures that it takes."""
        return self.frame or (self.resolution, self.resolution)

    def save(self) -> None:
        """Write `artifact.json` beside the model's files, whole or not at all."""
        facts = asdict(self)
        del facts["folder"]
        write_json(self.folder / FACTS, facts)

    @classmethod
    def load(cls, folder: str | Path) -> "Artifact":
        """Read an artifact and check its model's files against their checksums.

        Raises:
            UserError: the folder holds no artifact, or one of its files is missing or was changed.
        """
        folder = Path(folder)
        try:
            facts = page.about(folder)
        except page.Unusable as error:
            raise UserError(str(error)) from None
        expected = {field.name for field in fields(cls)} - {"folder"}
        if set(facts) != expected or facts["target"] not in TARGETS or facts["status"] not in get_args(Status):
            raise UserError(f"{folder / FACTS} is not one that this version of Eyas ({__version__}) writes; export again")
        facts["classes"] = tuple(facts["classes"])
        facts["frame"] = tuple(facts["frame"]) if facts["frame"] else None
        artifact = cls(folder=folder, **facts)
        for name, checksum in artifact.files.items():
            _verify(folder / name, checksum)
        return artifact

    def predictor(self, threads: int = 0) -> Predictor:
        """Images uint8 [n, *side, 3] -> answers float32 [n, k], by the real runtime.

        Args:
            threads: 0 lets the runtime choose.

        Raises:
            UserError: the runtime is missing or cannot open the file; later, images that are not what the file takes.
        """
        try:
            opened = TARGETS[self.target].open(self.path, threads)
        except UserError:
            raise
        except Exception as error:  # each runtime has its own, down to bare RuntimeError
            raise UserError(f"{self.path} cannot be opened by {self.runtime()} ({first_line(error)}); export again") from None
        expected = (*self.side, 3)

        def predict(images: np.ndarray) -> np.ndarray:
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
                raise UserError(
                    f"{self.path} takes uint8 images [n, {expected[0]}, {expected[1]}, 3] and was given {images.dtype} "
                    f"{list(images.shape)}; resize them first and do not scale or normalise them"
                )
            return opened(images)

        return predict

    def runtime(self) -> str:
        """Name and version of what `predictor` answers with."""
        return TARGETS[self.target].runtime()


def export(shipment: Shipment, folder: str | Path, target: str, quantization: Quantization = Quantization()) -> Artifact:
    """Write a network as an artifact into `folder`; an artifact that is there already is replaced.

    Args:
        shipment: the network and what is known of it.
        folder: is made if it is not there.
        target: a name in `TARGETS`.
        quantization: how an int8 target rounds.

    Raises:
        UserError: the target is unknown, its packages are missing, or the folder cannot be written.
    """
    if target not in TARGETS:
        raise UserError(f"no export target {target!r}; there are {', '.join(TARGETS)}")
    format_ = TARGETS[target]
    files, made_with = format_.build(shipment, quantization)
    artifact = Artifact(
        folder=Path(folder),
        target=target,
        precision=format_.precision,
        arch=shipment.arch,
        task=shipment.kind,
        classes=shipment.classes,
        resolution=shipment.resolution,
        crop=shipment.crop,
        frame=shipment.frame,
        threshold=shipment.threshold,
        boxes=shipment.boxes,
        file=format_.file,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        bytes=sum(map(len, files.values())),
        eyas=__version__,
        made_with=made_with,
    )
    try:
        artifact.folder.mkdir(parents=True, exist_ok=True)
        # The facts go first and come last: killed in between, the folder is no artifact rather than a wrong one.
        (artifact.folder / FACTS).unlink(missing_ok=True)
        for name, content in files.items():
            write_atomic(artifact.folder / name, content)
        if page.family(target):  # these are no part of the model and of its size
            for name in (PAGE, BOXES) if artifact.boxes else (PAGE,):
                write_atomic(artifact.folder / name, resources.files("eyas.deploy").joinpath(name).read_bytes())
        artifact.save()
    except OSError as error:
        raise UserError(f"cannot write an artifact to {folder}: {error.strerror}; give a directory you may write") from None
    return artifact


def _verify(path: Path, checksum: str) -> None:
    """Whether a file is the one that was exported.

    Raises:
        UserError: it is missing, cannot be read, or was changed.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} is missing, which {FACTS} beside it describes; export again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if found != checksum:
        raise UserError(
            f"{path} was changed after its export: its sha256 checksum is {found[:12]}... and {FACTS} records "
            f"{checksum[:12]}...; export again"
        )
