"""The folder that times layers on a device: small model files, their list, and a script that needs only the runtime."""

from importlib.resources import files
from pathlib import Path

from eyas.arch.parse import parse
from eyas.deploy import time_models
from eyas.deploy.onnx_bytes import VERSION
from eyas.deploy.probes import Format, Probe, drawing, probes, whole
from eyas.deploy.time_models import Timed
from eyas.errors import UserError
from eyas.run import digest, write_atomic, write_json

REFERENCE = "mobilenet_v1x0.25@128"  # timed in turn with every model: of every kind of layer, and short


def write(folder: Path, target: Timed) -> list[Probe]:
    """Write the kit that times the models of a target, and return what it times.

    Raises:
        UserError: the folder cannot be written.
    """
    every = probes()
    format_: Format = "onnx-int8" if time_models.is_int8(target) else "onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; give --kit a folder that you may write") from None
    reference = whole(parse(REFERENCE), 10)
    listed = [_written(folder, f"{number:03}.onnx", probe, format_) for number, probe in enumerate(every)]
    about = {"kit": version(every), "target": target, "reference": _written(folder, "reference.onnx", reference, format_)}
    script = files("eyas.deploy").joinpath("time_models.py").read_bytes()
    write_atomic(folder / "time_models.py", script)
    write_json(folder / time_models.LIST, about | {"models": listed})
    return every


def version(every: list[Probe]) -> str:
    """What tells this kit from one that times other things."""
    return digest([[probe.name, VERSION, [list(step) for step in probe.steps]] for probe in every])[:12]


def _written(folder: Path, file: str, probe: Probe, format_: Format) -> dict[str, object]:
    write_atomic(folder / file, drawing(probe, format_))
    return {"name": probe.name, "file": file, "shape": list(probe.shape), "kind": probe.kind}
