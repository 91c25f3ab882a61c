"""The state of a training on disk: the last two moments, each known by its checksum, so that a damaged one is noticed."""

import hashlib
import re
from pathlib import Path

from eyas.errors import UserError
from eyas.learn.state import State
from eyas.progress import say
from eyas.run import write_atomic
from eyas.team import current

KEPT = 2
NAME = ".checkpoint-{step:09}-{checksum}.safetensors"  # the dot: scratch of a stage, no part of its result
PATTERN = re.compile(r"\.checkpoint-(\d{9,})-([0-9a-f]{16})\.safetensors")


class Checkpoints:
    """Those of one training, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[Path]:
        """The newest first."""
        found = [file for file in self.folder.iterdir() if PATTERN.fullmatch(file.name)] if self.folder.exists() else []
        return sorted(found, key=lambda file: _told(file)[0], reverse=True)

    def save(self, state: State) -> None:
        """Write the state, then forget all but the last two.

        Raises:
            UserError: it cannot be written; the earlier ones are still there.
        """
        if not current().first:
            return
        content = state.content()
        name = NAME.format(step=state.step, checksum=hashlib.sha256(content).hexdigest()[:16])
        write_atomic(self.folder / name, content)
        for file in self.files()[KEPT:]:
            file.unlink(missing_ok=True)

    def restore(self, state: State) -> None:
        """Make `state` the newest that is whole, as it is where there is none; what is damaged is said, and removed.

        Training is exact, so going on from an earlier moment, or from none, ends in the same weights, only later.
        """
        for file in self.files():
            wrong = _restored(state, file)
            if not wrong:
                return
            file.unlink(missing_ok=True)
            earlier = f"step {_told(kept[0])[0]}" if (kept := self.files()) else "the beginning"
            say(f"checkpoint {file} is damaged ({wrong}); going on from {earlier}")

    def clear(self) -> None:
        """Forget them all: the training is over."""
        for file in self.files() if current().first else []:
            file.unlink(missing_ok=True)


def _restored(state: State, file: Path) -> str:
    """What is wrong with the file; "" where `state` is now what it holds."""
    checksum = _told(file)[1]
    try:
        with file.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest()[:16] != checksum:
                return "its bytes are not those that were written"
        state.restore(file)
    except OSError as error:
        return error.strerror or str(error)
    except UserError as error:
        return str(error)
    return ""


def _told(file: Path) -> tuple[int, str]:
    """The step and the checksum in a file's name."""
    found = PATTERN.fullmatch(file.name)
    assert found, f"{file} is no checkpoint"
    return int(found[1]), found[2]
