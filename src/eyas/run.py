"""The run directory: stages that are done once, files that are written whole, work that goes on where it was killed."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from eyas.errors import UserError
from eyas.progress import say

MARK = "stage.json"  # written last: a stage is done when it is there
INPUTS = "inputs.json"  # written first: what the work in the folder was begun with
KEPT_APART = (MARK, INPUTS)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished stage: its folder, the JSON it returned, and a digest of its inputs and files."""

    folder: Path
    result: dict[str, Any]
    digest: str


class Run:
    """A directory in which every stage leaves its result, once.

    A stage whose result is there, made from the same inputs, is not done again. Work begun with the same inputs goes
    on; results of other inputs are moved to `superseded/`, never deleted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: str | Path) -> Generator["Run"]:
        """Make or reopen the directory and hold it against other processes until the block ends.

        Raises:
            UserError: it cannot be written, holds something else, or another process works in it.
        """
        folder = Path(path)
        marker = folder / ".eyas-run"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists() and any(folder.iterdir()):
                raise UserError(f"{folder} is not empty and not a run of Eyas; give --out a new or empty directory")
            handle = marker.open("a")
        except OSError as error:
            raise UserError(f"cannot write a run to {folder}: {error.strerror}; give --out a directory you may write") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another process is working in {folder}; wait for it or give another --out") from None
            yield cls(folder)

    def stage(self, name: str, make: Callable[[Path], dict[str, Any]], **inputs: Any) -> Done:
        """Do `make(folder)` unless it was done with the same `inputs`; keep the JSON that it returns.

        `make` may find its own unfinished files in the folder, left by a run that was killed.
        """
        folder = self.path / name
        asked = digest(inputs)
        done = _finished(folder, asked)
        if done:
            say(f"{name}: done before, kept")
            return done
        if folder.exists() and _begun_with(folder) != asked:
            self._supersede(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / INPUTS, {"digest": asked, "inputs": plain(inputs)})
        result = plain(make(folder))
        files = {str(file.relative_to(folder)): _checksum(file) for file in _files(folder)}
        mark = {"digest": asked, "result": result, "files": files}
        write_json(folder / MARK, mark)
        return Done(folder, result, digest({"inputs": asked, "files": files}))

    def _supersede(self, folder: Path) -> None:
        attic = self.path / "superseded"
        attic.mkdir(exist_ok=True)
        number = 1 + len(list(attic.iterdir()))
        name = str(folder.relative_to(self.path)).replace("/", "-")
        folder.rename(attic / f"{number}-{name}")
        say(f"{name}: asked with other inputs than before; the earlier result is now in {attic}")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whatever happens to the process or the machine."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary = Path(file.name)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is not there: is {path.parent} a finished run of Eyas?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def plain(value: Any) -> Any:
    """A value as JSON knows it: dataclasses become objects, tuples arrays, paths and architectures text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value)) if type(value).__str__ is object.__str__ else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def digest(value: Any) -> str:
    """A short checksum of any JSON-like value."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:32]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Files that are the stage's result; names that begin with a dot are scratch."""
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".") and file.name not in KEPT_APART
    )


def _finished(folder: Path, asked: str) -> Done | None:
    mark = folder / MARK
    if not mark.exists():
        return None
    kept = read_json(mark)
    if kept["digest"] != asked or not all((folder / name).exists() for name in kept["files"]):
        return None
    return Done(folder, kept["result"], digest({"inputs": asked, "files": kept["files"]}))


def _begun_with(folder: Path) -> str | None:
    begun = folder / INPUTS
    return read_json(begun)["digest"] if begun.exists() else None
