"""Python environments of tools that cannot live beside torch and Eyas: made once, by themselves, and used again.

An environment lies under a name made of everything that its contents depend on, beside the log of its installation. It is
made in a folder next to that and renamed when it is whole, so that none is ever used half made.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from eyas.errors import UserError
from eyas.progress import Progress, say, work
from eyas.run import digest

PLACE = "EYAS_ENVIRONMENTS"  # names the folder of environments where the user's cache is not the place for them
PARTIAL, LOG, LOCK = ".partial", ".log", ".lock"  # behind the name of an environment
_COLLECTED = re.compile(r"Collecting ([\w.-]+)")


@dataclass(frozen=True)
class Environment:
    """What is installed in an environment of its own.

    Attributes:
        name: for the folder.
        title: for people, for example "the LiteRT converter".
        wanted: what pip is asked for.
        pins: the exact version of each package that comes with it, as pip's constraints.
    """

    name: str
    title: str
    wanted: tuple[str, ...]
    pins: str

    @property
    def folder(self) -> Path:
        """Where it lies, whether it is there or not."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        key = digest([self.wanted, self.pins, sys.base_prefix])[:12]
        return _place() / f"{self.name}-py{version}-{key}"

    def python(self) -> Path:
        """Its interpreter; the environment is made when it is not there, which takes minutes and gigabytes.

        Of two processes that want it at once the second waits for the first.

        Raises:
            UserError: it cannot be made; the sentence says why, and where the log of the installation is.
        """
        ready = self.folder / "bin" / "python"
        if ready.exists():  # not when the interpreter that it links to is gone
            return ready
        with self._alone():
            if not ready.exists():
                self._make()
        return ready

    def run(self, script: Path, arguments: Sequence[str], doing: str) -> None:
        """Run a stand-alone script in the environment, away from the user's own packages and settings of Python.

        Args:
            script: a file that imports nothing of Eyas.
            arguments: for it.
            doing: what it does, for the sentence when it fails.

        Raises:
            UserError: the environment cannot be made, or the script failed.
        """
        command = [str(self.python()), "-I", str(script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=_clean(), check=False)
        if done.returncode:
            log = _with_suffix(self.folder, f"-failed{LOG}")
            log.write_text(done.stdout + done.stderr)
            raise UserError(f"{doing} failed in {self.title}: {_reason(done.stderr, done.returncode)}; all it said is in {log}")

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Hold the name against other processes; the lock of one that was killed is free."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with _with_suffix(self.folder, LOCK).open("a") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say(f"another process is installing {self.title}; waiting for it")
                    fcntl.flock(handle, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UserError(
                f"cannot install {self.title} in {self.folder.parent}: {error.strerror}; "
                f"name a folder on a local disk that you may write in the variable {PLACE}"
            ) from None

    def _make(self) -> None:
        half, log = _with_suffix(self.folder, PARTIAL), _with_suffix(self.folder, LOG)
        for left in (half, self.folder):  # by a process that was killed; an environment of a Python that is gone
            shutil.rmtree(left, ignore_errors=True)
        say(f"installing {self.title} in {self.folder}, once: it takes minutes and some gigabytes")
        with work(f"installing {self.title}") as progress, log.open("w") as said:
            self._step([sys.executable, "-I", "-m", "venv", str(half)], said, progress)
            pins = half / "pins.txt"
            pins.write_text(self.pins)
            pip = [str(half / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
            self._step([*pip, "--constraint", str(pins), *self.wanted], said, progress)
        half.rename(self.folder)
        log.unlink()

    def _step(self, command: list[str], log: IO[str], progress: Progress) -> None:
        """A command of the installation: all it says goes to the log, and each package that it names to the progress."""
        found: list[str] = []
        last = ""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=_clean()
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    last = line.strip() if line.startswith("ERROR") or not last.startswith("ERROR") else last
                    if named := _COLLECTED.match(line):
                        found.append(named[1])
                        progress.at(len(found), named[1])
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            log.flush()
            reason = last.removeprefix("ERROR: ").rstrip(".") or f"exit code {process.returncode}"
            raise UserError(
                f"{self.title} could not be installed: {reason}; the log is {log.name}; "
                "it needs a network and some gigabytes of disk, then give the same command again"
            )


def _place() -> Path:
    """The folder of environments: `$EYAS_ENVIRONMENTS`, or the user's cache."""
    if named := os.environ.get(PLACE):
        return Path(named).expanduser().resolve()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "eyas" / "environments"


def _with_suffix(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _clean() -> dict[str, str]:
    """The variables that a process in an environment of its own gets: not those that lead Python elsewhere."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"}


def _reason(said: str, code: int) -> str:
    """The error at the end of a traceback: its last line that is not indented."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line[0].isspace()]
    return lines[-1] if lines else f"exit code {code}"
