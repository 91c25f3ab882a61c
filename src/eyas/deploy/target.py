"""What ships: a folder with a model file and a page of facts about it, whatever the file's format.

A new format is one file with a class that offers what `Target` asks for, and one line in `TARGETS`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from torch import nn

from eyas import __version__
from eyas.deploy.onnx import Onnx
from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.quantize import OnnxInt8
from eyas.deploy.timm import Timm
from eyas.errors import UserError
from eyas.run import read_json, write_atomic, write_json

FACTS = "artifact.json"

Status = Literal["unchecked", "accepted", "rejected"]


class Target(Protocol):
    """A format that a network can be exported to, and the runtime that answers from it."""

    precision: Precision
    file: str
    runs_on_devices: bool

    def build(
        self,
        network: nn.Module,
        *,
        arch: str,
        classes: Sequence[str],
        resolution: int,
        crop: float,
        calibration: np.ndarray | None,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files by name, the model among them as `file`, and what they were made with.

        The model takes uint8 [n, resolution, resolution, 3] and gives probabilities.
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
    "onnx-int8": OnnxInt8(),
    "timm": Timm(),
}

# Those that a budget is about: `eyas fit` chooses among them and makes them all.
DEVICE_TARGETS = tuple(name for name, target in TARGETS.items() if target.runs_on_devices)


@dataclass(frozen=True)
class Artifact:
    """An exported model: a folder with the model file and `artifact.json`, which holds all fields but the folder.

    Attributes:
        folder: where it lies.
        target: its name in `TARGETS`.
        precision: of the weights.
        arch: the architecture's name.
        classes: in the order of the probabilities.
        resolution: side in pixels of the square images that it takes.
        crop: share of a picture's sides that the centred box keeps which is resized to that; 1 is the whole picture.
        file: name of the model file.
        bytes: size of the model file.
        sha256: checksum of the model file.
        eyas: version that exported it.
        made_with: opset, versions and calibration that the file's bytes depend on; no dates, so that the same network
            exports to the same bytes.
        status: what the parity contract said; `dataclasses.replace(artifact, status="accepted").save()` records it.
    """

    folder: Path
    target: str
    precision: Precision
    arch: str
    classes: tuple[str, ...]
    resolution: int
    file: str
    bytes: int
    sha256: str
    eyas: str
    made_with: dict[str, Any]
    crop: float = 1.0
    status: Status = "unchecked"

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.file

    def save(self) -> None:
        """Write `artifact.json` beside the model file, whole or not at all."""
        facts = asdict(self)
        del facts["folder"]
        write_json(self.folder / FACTS, facts)

    @classmethod
    def load(cls, folder: str | Path) -> "Artifact":
        """Read an artifact and check its model file against the checksum.

        Raises:
            UserError: the folder holds no artifact, or its model file is missing or was changed.
        """
        folder = Path(folder)
        if not (folder / FACTS).is_file():
            raise UserError(f"{folder} is not an artifact: it has no {FACTS}; give a folder that an export wrote")
        facts: Any = read_json(folder / FACTS)
        expected = {field.name for field in fields(cls)} - {"folder"}
        if isinstance(facts, dict):
            facts.setdefault("crop", 1.0)  # which went without saying before there was a choice
        if not isinstance(facts, dict) or set(facts) != expected or facts["target"] not in TARGETS:
            raise UserError(f"{folder / FACTS} is not one that this version of Eyas ({__version__}) writes; export again")
        classes = tuple(facts.pop("classes"))
        artifact = cls(folder=folder, classes=classes, **facts)
        artifact._verify()
        return artifact

    def predictor(self, threads: int = 0) -> Predictor:
        """Images uint8 [n, resolution, resolution, 3] -> probabilities float32 [n, k], by the real runtime.

        Args:
            threads: 0 lets the runtime choose.
        """
        return TARGETS[self.target].open(self.path, threads)

    def runtime(self) -> str:
        """Name and version of what `predictor` answers with."""
        return TARGETS[self.target].runtime()

    def _verify(self) -> None:
        try:
            found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            raise UserError(f"{self.path} is missing, which {FACTS} beside it describes; export again") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from None
        if found != self.sha256:
            raise UserError(
                f"{self.path} was changed after its export: its sha256 checksum is {found[:12]}... and {FACTS} records "
                f"{self.sha256[:12]}...; export again"
            )


def export(
    network: nn.Module,
    folder: str | Path,
    target: str,
    *,
    arch: str,
    classes: Sequence[str],
    resolution: int,
    crop: float = 1.0,
    calibration: np.ndarray | None = None,
) -> Artifact:
    """Write the network as an artifact into `folder`; an artifact that is there already is replaced.

    Args:
        network: takes uint8 [n, h, w, 3], scales and normalises by itself, and answers logits [n, k].
        folder: is made if it is not there.
        target: a name in `TARGETS`.
        arch: the architecture's name, for the record.
        classes: in the order of the logits.
        resolution: side in pixels; resizing to it is the caller's part.
        crop: share of a picture's sides that the centred box keeps which is resized; 1 is the whole picture.
        calibration: training images uint8 [n, resolution, resolution, 3]; int8 targets need about 256.

    Raises:
        UserError: the target is unknown, its packages are missing, or the folder cannot be written.
    """
    if target not in TARGETS:
        raise UserError(f"no export target {target!r}; there are {', '.join(TARGETS)}")
    format_ = TARGETS[target]
    files, made_with = format_.build(
        network, arch=arch, classes=classes, resolution=resolution, crop=crop, calibration=calibration
    )
    artifact = Artifact(
        folder=Path(folder),
        target=target,
        precision=format_.precision,
        arch=arch,
        classes=tuple(classes),
        resolution=resolution,
        file=format_.file,
        bytes=len(files[format_.file]),
        sha256=hashlib.sha256(files[format_.file]).hexdigest(),
        eyas=__version__,
        made_with=made_with,
        crop=crop,
    )
    try:
        artifact.folder.mkdir(parents=True, exist_ok=True)
        # The facts go first and come last: killed in between, the folder is no artifact rather than a wrong one.
        (artifact.folder / FACTS).unlink(missing_ok=True)
        for name, content in files.items():
            write_atomic(artifact.folder / name, content)
        artifact.save()
    except OSError as error:
        raise UserError(f"cannot write an artifact to {folder}: {error.strerror}; give a directory you may write") from None
    return artifact
