"""ExecuTorch (`.pte`): float32 by XNNPACK, for apps that carry that runtime. Nothing else imports its packages."""

import json
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eyas.deploy.parity import Precision, Predictor
from eyas.deploy.pt2 import program
from eyas.deploy.shipment import Quantization, Shipment
from eyas.deploy.silence import silent
from eyas.errors import UserError, first_line

METHOD = "forward"
LABELS = "eyas_labels"  # a second method of the program: it answers with the labels, as JSON


class ExecuTorch:
    """The target "executorch": one image at a time, all of the network in XNNPACK."""

    precision: Precision = "float32"
    file = "model.pte"
    runs_on_devices = True

    def build(
        self,
        shipment: Shipment,
        quantization: Quantization,  # noqa: ARG002 - what stays float32 needs none
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The program, and what it was made with.

        Raises:
            UserError: ExecuTorch is missing.
        """
        with toolkit(), _quiet():
            exir = import_module("executorch.exir")
            xnnpack = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
        # Weights lie channels-last after training, which its converter takes for a change of axes.
        module = shipment.module().to(memory_format=torch.contiguous_format)
        with _quiet():
            lowered = exir.to_edge_transform_and_lower(
                program(module, shipment.side, batches=False),
                partitioner=[xnnpack.XnnpackPartitioner()],
                constant_methods={LABELS: json.dumps(shipment.labels())},
            )
            content = lowered.to_executorch().buffer
        return {self.file: bytes(content)}, {"torch": torch.__version__, "executorch": version("executorch")}

    def open(self, path: Path, threads: int) -> Predictor:
        """The file behind ExecuTorch; it takes one image at a time.

        Args:
            path: the file.
            threads: of all ExecuTorch files in the process, until one is opened with another number.

        Raises:
            UserError: ExecuTorch is missing, or the file is damaged.
        """
        with toolkit(), _quiet():
            runtime = import_module("executorch.runtime")
            pool = import_module("executorch.extension.pybindings.portable_lib")
        try:
            with silent():
                if threads:
                    pool._unsafe_reset_threadpool(threads)  # unsafe while a file answers, which one being opened does not
                opened = runtime.Runtime.get().load_program(path)
                method = opened.load_method(METHOD)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path} cannot be opened by {self.runtime()} ({first_line(error)}); export again") from None

        def predict(images: np.ndarray, _program: object = opened) -> np.ndarray:  # or its memory would be freed
            with silent():
                answers = [method.execute([torch.from_numpy(image[None].copy())])[0].numpy().copy() for image in images]
            return np.concatenate(answers)

        return predict

    def runtime(self) -> str:
        """Name and version of what answers: `executorch 1.5.1`."""
        with toolkit():
            import_module("executorch")
        return f"executorch {version('executorch')}"


@contextmanager
def toolkit() -> Generator[None]:
    """Import ExecuTorch inside this block: where it is missing, a sentence says what to install."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"ExecuTorch files need {error.name}, which is not installed: pip install 'eyas[executorch]'") from None


@contextmanager
def _quiet() -> Generator[None]:
    """Keep the warnings and log lines of the package from the user; exceptions still get out."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), silent():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
