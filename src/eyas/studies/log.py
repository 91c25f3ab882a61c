"""`log.jsonl`: a line a step, there as soon as the step is done, and never two for one step."""

import json
import os
from pathlib import Path
from typing import Any

from eyas.run import write_atomic
from eyas.team import current


class Log:
    """The log of one training, from a step on: what was written after it is done again, and forgotten."""

    def __init__(self, path: Path, step: int) -> None:
        write_atomic(path, "".join(_until(path, step)).encode())
        self.file = (path if current().first else Path(os.devnull)).open("a")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def add(self, line: dict[str, Any]) -> None:
        """Write a line that whoever follows the file can read at once."""
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def settle(self) -> None:
        """Put all lines on the disk: a checkpoint must not outlive them."""
        if current().first:
            os.fsync(self.file.fileno())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a kill cut short is left out, as are those behind it."""
    found: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
    return found


def _until(path: Path, step: int) -> list[str]:
    return [json.dumps(line) + "\n" for line in read_log(path) if line["step"] <= step]
