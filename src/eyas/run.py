"""The run directory: stages that are done once, files that are written whole, work that goes on where it was killed."""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

from eyas.errors import UserError
from eyas.progress import say
from eyas.team import current

MARK = "stage.json"  # written last: a stage is done when it is there
INPUTS = "inputs.json"  # written first: what the work in the folder was begun with
KEPT_APART = (MARK, INPUTS)
ATTIC = "superseded"
PARTIAL = ".partial"  # ends the name of a file that is still being written


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

    Where a team of processes works on a run, each gives the same commands: the first does what there is to do, the others
    wait and read it. Only what is done jointly is done by all, and written by the first.
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
        with ExitStack() as held:
            current().agree(lambda: _hold(folder, held))
            yield cls(folder)

    def stage(self, name: str, make: Callable[[Path], dict[str, Any]], **inputs: Any) -> Done:
        """Do `make(folder)` unless it was done with the same `inputs`; keep the JSON that it returns.

        `make` may find its own unfinished files in the folder, left by a run that was killed. Files and folders whose
        name begins with a dot are its scratch and no part of the result. `name` may hold slashes (`round-1/teacher`),
        but no stage lies within another one: a folder is moved and checked as a whole.
        """
        return self._stage(name, lambda folder: current().agree(lambda: make(folder)), inputs)

    def joint_stage(self, name: str, make: Callable[[Path], dict[str, Any]], **inputs: Any) -> Done:
        """A `stage` for which all processes of a team call `make`; what the first returns and writes is its result."""
        return self._stage(name, make, inputs)

    def _stage(self, name: str, make: Callable[[Path], dict[str, Any]], inputs: dict[str, Any]) -> Done:
        team, asked = current(), digest(inputs)
        begun = team.agree(lambda: self._begun(name, asked, inputs))
        if isinstance(begun, Done):
            return begun
        result = plain(make(begun))
        return team.agree(lambda: _sealed(begun, asked, result))

    def _begun(self, name: str, asked: str, inputs: dict[str, Any]) -> Done | Path:
        """The stage where it is done, else the folder to do it in."""
        folder = self._folder(name)
        done = _finished(folder, asked)
        if done:
            say(f"{name}: done before, kept")
            return done
        if _begun_with(folder) != asked and _holds_something(folder):
            self._supersede(folder, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARK).unlink(missing_ok=True)  # files that it vouched for are gone, or there is none
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror}; make way for it, or give another --out") from None
        write_json(folder / INPUTS, {"digest": asked, "inputs": plain(inputs)})
        return folder

    def finished(self, name: str, **inputs: Any) -> Done | None:
        """A stage that was done with these inputs; none where it is still to be done."""
        return _finished(self._folder(name), digest(inputs))

    def done(self, name: str) -> Done:
        """A stage that was finished before.

        Raises:
            UserError: it was not.
        """
        folder = self._folder(name)
        kept = read_json(folder / MARK)
        return Done(folder, kept["result"], digest({"inputs": kept["digest"], "files": kept["files"]}))

    def _folder(self, name: str) -> Path:
        parts = name.split("/")
        assert parts[0] != ATTIC and all(part and part[0] != "." for part in parts), f"no stage can be named {name!r}"
        folder = self.path / name
        around = [above for above in folder.parents if above.is_relative_to(self.path) and (above / INPUTS).exists()]
        within = [file.parent for file in folder.rglob(INPUTS) if file.parent != folder]
        assert not around + within, f"stage {name!r} would share its files with the stage in {(around + within)[0]}"
        return folder

    def _supersede(self, folder: Path, name: str) -> None:
        attic = self.path / ATTIC
        attic.mkdir(exist_ok=True)
        numbers = [int(entry.name.split("-")[0]) for entry in attic.iterdir() if re.match(r"\d+-", entry.name)]
        kept = attic / f"{max(numbers, default=0) + 1}-{name.replace('/', '-')}"
        folder.rename(kept)
        say(f"{name}: asked with other inputs than before; the earlier result is now in {kept}")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whatever happens to the process or the machine.

    In a team the first process writes for all: what they do jointly gives the same in each.

    Raises:
        UserError: it cannot be written there; what was there before is still there.
    """
    if not current().first:
        return
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror}; mend that and give the same command again") from None
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically.

    Raises:
        ValueError: NaN or infinity is in it; JSON has neither.
        UserError: it cannot be written there.
    """
    try:
        text = json.dumps(plain(value), indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot hold NaN or infinity: {error}") from None
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is not there: is {path.parent} a finished run of Eyas?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def plain(value: Any) -> Any:
    """A value as JSON knows it: dataclasses become objects, tuples and arrays lists, paths and architectures text.

    Raises:
        TypeError: any other type; its text could differ from one process to the next.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        if type(value).__str__ is not object.__str__:
            return str(value)
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars
        return plain(value.tolist())
    raise TypeError(f"a run cannot keep a {type(value).__name__} as JSON: {value!r}")


def digest(value: Any) -> str:
    """A short checksum of any JSON-like value, the same in every process; NaN and infinity raise `ValueError`."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]


def _hold(folder: Path, held: ExitStack) -> None:
    """Make the directory, and lock it until `held` ends."""
    marker = folder / ".eyas-run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and not a run of Eyas; give --out a new or empty directory")
        handle = held.enter_context(marker.open("a"))
    except OSError as error:
        raise UserError(f"cannot write a run to {folder}: {error.strerror}; give --out a directory you may write") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is working in {folder}; wait for it or give another --out") from None
    except OSError as error:
        raise UserError(f"cannot lock {folder}: {error.strerror}; give --out a directory on a local disk") from None
    os.register_at_fork(after_in_child=handle.close)  # or a worker that outlives a killed run would keep the lock


def _sealed(folder: Path, asked: str, result: dict[str, Any]) -> Done:
    """A stage whose work is done, marked as such."""
    for left_by_a_kill in folder.rglob(f".*{PARTIAL}"):
        left_by_a_kill.unlink()
    files = {file.relative_to(folder).as_posix(): _stamp(file) for file in _files(folder)}
    write_json(folder / MARK, {"digest": asked, "result": result, "files": files})
    return Done(folder, result, digest({"inputs": asked, "files": files}))


def _stamp(path: Path) -> dict[str, Any]:
    """What a finished file is known by; flushed first, so that no mark vouches for what a power cut can still take."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _files(folder: Path) -> list[Path]:
    """Files that are the stage's result: all but its own two and scratch."""
    found = []
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and str(name) not in KEPT_APART and not any(part.startswith(".") for part in name.parts):
            found.append(file)
    return sorted(found)


def _holds_something(folder: Path) -> bool:
    """Whether anything but scratch is there; an empty folder is what a kill leaves before the first write."""
    return folder.is_file() or (folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()))


def _finished(folder: Path, asked: str) -> Done | None:
    mark = folder / MARK
    if not mark.exists():
        return None
    kept = read_json(mark)
    if kept["digest"] != asked or not all(_whole(folder / name, stamp) for name, stamp in kept["files"].items()):
        return None
    return Done(folder, kept["result"], digest({"inputs": asked, "files": kept["files"]}))


def _whole(path: Path, stamp: dict[str, Any]) -> bool:
    """Whether a file is there in its length: reading every byte again would make a start as slow as the data is large."""
    return path.is_file() and path.stat().st_size == stamp["bytes"]


def _begun_with(folder: Path) -> str | None:
    begun = folder / INPUTS
    return read_json(begun)["digest"] if begun.exists() else None
