"""torch.export (`.pt2`): the network as a program that torch opens without the classes it was made of."""

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.shipment import Quantization, Shipment
from eyas.errors import UserError, first_line

LABELS = "eyas.json"  # the extra file inside: `torch.export.load(path, extra_files={"eyas.json": ""})` fills it


class Pt2:
    """The target "pt2": float32, any number of images at once."""

    precision: Precision = "float32"
    file = "model.pt2"
    runs_on_devices = False

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - what stays float32 needs none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The program, and what it was made with."""
        traced = program(shipment.module(), shipment.side, batches=True)
        return {self.file: saved(traced, shipment.labels())}, {"torch": torch.__version__}

    def open(self, path: Path, threads: int) -> Predictor:
        """The program as torch runs it, operation by operation.

        Args:
            path: the file.
            threads: of torch while it answers; 0 leaves them as they are.

        Raises:
            UserError: the file is damaged, or no program of torch.export.
        """
        loaded = _loaded(path)

        def predict(images: np.ndarray) -> np.ndarray:
            before = torch.get_num_threads()
            torch.set_num_threads(threads or before)
            try:
                with torch.inference_mode():
                    return loaded(torch.from_numpy(np.ascontiguousarray(images))).numpy()
            finally:
                torch.set_num_threads(before)

        return predict

    def runtime(self) -> str:
        """Name and version of what answers: `torch 2.15.0`."""
        return f"torch {torch.__version__}"


def program(module: nn.Module, side: tuple[int, int], batches: bool) -> ExportedProgram:
    """A module that takes uint8 [n, *side, 3], traced; with `batches` for any n, else for one image at a time."""
    example = torch.zeros(2 if batches else 1, *side, 3, dtype=torch.uint8)
    shapes = {"images": {0: Dim("n", min=1)}} if batches else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (example,), dynamic_shapes=shapes)


def saved(traced: ExportedProgram, labels: dict[str, str] | None = None) -> bytes:
    """The bytes of the file that holds a program, and with it its labels as JSON.

    Notes on the source lines of each operation are left out: they name the folders of the machine that exported.
    """
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    extra = {LABELS: json.dumps(labels)} if labels else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(traced, buffer, extra_files=extra)
    return buffer.getvalue()


def _loaded(path: Path) -> nn.Module:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is damaged, or no program of torch.export; export again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path).module()
    except Exception as error:  # of a damaged archive, torch raises anything at all
        raise UserError(f"{path} cannot be opened by torch {torch.__version__} ({first_line(error)}); export again") from None
