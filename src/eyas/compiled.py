"""C++ compiled on the machine where it runs, as no program fits all processors; without a compiler its users do without."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from eyas.errors import UserError, first_line
from eyas.progress import say
from eyas.run import digest

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC")
OPENMP = "-fopenmp"
MINUTES = 5.0  # that compiling may take


def library(source: Path, folder: Path, what: str, flags: tuple[str, ...] = ()) -> Path:
    """The shared library of a source file, from `folder` where it was compiled before.

    Args:
        source: C++ with `extern "C"` functions.
        folder: where libraries are kept, each named by all that it depends on.
        what: it is for, in words for the user who waits.
        flags: of the compiler, besides the usual ones.

    Raises:
        UserError: this machine cannot compile it, and why.
    """
    # clang++ makes calls of another OpenMP library than torch has with it.
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if not compiler:
        raise UserError("there is no g++ to compile its kernels with")
    every = [*FLAGS, *flags]
    made = folder / f"{digest([_text(source), every, compiler, _processor(), _runtime(), torch.__version__])}.so"
    try:
        if not _loads(made):
            _compile(compiler, every, source, made, what)
            ctypes.CDLL(str(made))
    except subprocess.CalledProcessError as error:
        raise UserError(f"{compiler} fails: {(error.stderr.strip() or 'without a word').splitlines()[0]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(first_line(error)) from None
    return made


def function(found: ctypes.CDLL, name: str, *takes: Any) -> Callable[..., None]:
    """`eyas_NAME` of a library, which takes these and returns nothing."""
    made = found[f"eyas_{name}"]
    made.argtypes, made.restype = takes, None
    return made


def _text(source: Path) -> list[str]:
    """Of the file and of all that it includes from its own folder."""
    text = source.read_text()
    return [
        text,
        *(part for name in re.findall(r'^#include "(.+)"$', text, re.MULTILINE) for part in _text(source.parent / name)),
    ]


def _loads(made: Path) -> bool:
    """Whether it is there and whole: what is damaged is made again."""
    if not made.exists():
        return False
    with suppress(OSError):
        ctypes.CDLL(str(made))
        return True
    return False


def _compile(compiler: str, flags: list[str], source: Path, made: Path, what: str) -> None:
    """Complete or not at all, also where two processes do it at once."""
    say(f"kernels for {what} are compiled for this machine, once")
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as place:
        compiled, linked = Path(place, "kernels.o"), Path(place, "kernels.so")
        for command in (
            [compiler, *flags, "-c", str(source), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), *([_runtime() or OPENMP] if OPENMP in flags else []), "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * MINUTES)
        linked.replace(made)


def _runtime() -> str:
    """The OpenMP library that torch brings along: with a second one the threads of both would fight for the cores."""
    found = sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))
    return str(found[0]) if found else ""


def _processor() -> str:
    """What `-march=native` depends on."""
    with suppress(OSError):
        found = re.search(r"^(flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return f"{platform.machine()} {found[2] if found else ''}"
    return f"{platform.machine()} {platform.processor()}"
