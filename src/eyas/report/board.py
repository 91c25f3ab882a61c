"""A training as TensorBoard shows it: `with following("runs/a/tensorboard"): eyas.train(...)`."""

import re
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from eyas.errors import UserError
from eyas.progress import Pictures, recording


@contextmanager
def following(folder: str | Path) -> Generator[None]:
    """Write every training inside for TensorBoard, under `folder`: its figures at every step, and images of its first one.

    Raises:
        UserError: TensorBoard is not installed.
    """
    with closing(Board(Path(folder))) as board, recording(board.write):
        yield


class Board:
    """Writes what is recorded under `folder`, a run of TensorBoard's for each training."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing written.

        Raises:
            UserError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("tensorboard is not installed: pip install 'eyas[board]'") from None
        self.folder = folder
        self.new = SummaryWriter
        self.writers: dict[str, Any] = {}

    def close(self) -> None:
        """The files are whole."""
        for writer in self.writers.values():
            writer.close()

    def write(self, label: str, line: dict[str, Any], pictures: Callable[[], Pictures]) -> None:
        """One line of a log: every figure in it as a scalar, and the images of the first step."""
        step = line["step"]
        if label not in self.writers:
            # What an earlier process wrote from this step on is done again: TensorBoard forgets it.
            self.writers[label] = self.new(str(self.folder / re.sub(r"[^\w/]+", "-", label)), purge_step=step)
            self.writers[label].add_images("images", pictures(), step, dataformats="NHWC")
        for name, value in _figures(line).items():
            self.writers[label].add_scalar(name, value, step)
        self.writers[label].flush()


def _figures(line: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures by a path: `validation/accuracy`."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= _figures(value, f"{prefix}{name}/")
        elif name != "step":
            found[prefix + name] = float(value)
    return found
