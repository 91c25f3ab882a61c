"""The functions of fused.cpp, compiled on the machine where they run: none fits all processors."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from eyas.errors import UserError, first_line
from eyas.progress import say
from eyas.run import digest

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC")
OPENMP = "-fopenmp"
MINUTES = 5.0  # that compiling may take

POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_long


class Norm(ctypes.Structure):
    """A batch norm, and where its mean and the inverse of its deviation are kept for the backward pass."""

    _fields_ = (
        *(("gamma", POINTER), ("beta", POINTER), ("eps", ctypes.c_float), ("momentum", ctypes.c_float)),
        *(("running_mean", POINTER), ("running_var", POINTER), ("mean", POINTER), ("inverse", POINTER)),
    )


class Shape(ctypes.Structure):
    """Of a depthwise convolution: images, channels, sides in and out, padding above and to the left."""

    _fields_ = tuple((name, LONG) for name in ("n", "c", "h", "w", "oh", "ow", "top", "left"))


class Kernels:
    """The library, each function with what it takes. The first argument of all says whether maps are bfloat16.

    Maps are channels last and dense, everything else float32; `rows` are places of all images.
    """

    def __init__(self, library: Path) -> None:
        """Load it.

        Raises:
            OSError: it is no library of this machine.
        """
        found = ctypes.CDLL(str(library))
        self.name = library.stem  # other kernels have another
        norm, shape = ctypes.POINTER(Norm), ctypes.POINTER(Shape)
        # x, y, rows, channels, norm, activation
        self.norm_forward = _function(found, "norm_forward", POINTER, POINTER, LONG, LONG, norm, INT)
        # x, dy, dx, rows, channels, norm, activation, dgamma, dbeta
        self.norm_backward = _function(found, "norm_backward", *[POINTER] * 3, LONG, LONG, norm, INT, POINTER, POINTER)
        # x, taps [k * k, channels], convolved, y, shape, kernel, stride, norm, activation
        self.depthwise_forward = _function(found, "depthwise_forward", *[POINTER] * 4, shape, INT, INT, norm, INT)
        # x, taps, convolved, dy, dx, dtaps, shape, kernel, stride, norm, activation, dgamma, dbeta
        self.depthwise_backward = _function(
            found, "depthwise_backward", *[POINTER] * 6, shape, INT, INT, norm, INT, POINTER, POINTER
        )
        # x, sums [images, channels], images, places, channels
        self.image_sums = _function(found, "image_sums", POINTER, POINTER, LONG, LONG, LONG)
        # x, dy, sums of their products, images, places, channels
        self.image_products = _function(found, "image_products", *[POINTER] * 3, LONG, LONG, LONG)
        # x, times [images, channels], plus (or nothing), y, images, places, channels
        self.scaled = _function(found, "scaled", *[POINTER] * 4, LONG, LONG, LONG)

    def __deepcopy__(self, _: object) -> "Kernels":
        """Networks that are copied share them."""
        return self


@cache
def kernels(folder: Path) -> Kernels:
    """The kernels for this machine, from `folder` where they were compiled before.

    Raises:
        UserError: this machine cannot compile them, and why.
    """
    # clang++ makes calls of another OpenMP library than torch has with it.
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if not compiler:
        raise UserError("there is no g++ to compile its kernels with")
    library = folder / f"{digest([SOURCE.read_text(), FLAGS, compiler, _processor(), _runtime(), torch.__version__])}.so"
    try:
        if library.exists():
            with suppress(OSError, AttributeError):  # damaged: it is made again
                return Kernels(library)
        _compile(compiler, library)
        return Kernels(library)
    except subprocess.CalledProcessError as error:
        raise UserError(f"{compiler} fails: {(error.stderr.strip() or 'without a word').splitlines()[0]}") from None
    except (OSError, subprocess.TimeoutExpired, AttributeError) as error:
        raise UserError(first_line(error)) from None


def _function(library: ctypes.CDLL, name: str, *takes: Any) -> Callable[..., None]:
    found = library[f"eyas_{name}"]
    found.argtypes, found.restype = (INT, *takes), None
    return found


def _compile(compiler: str, library: Path) -> None:
    """Complete or not at all, also where two processes do it at once."""
    say("kernels for training are compiled for this machine, once")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as place:
        compiled, linked = Path(place, "fused.o"), Path(place, "fused.so")
        runtime = _runtime()
        for command in (
            [compiler, *FLAGS, OPENMP, "-c", str(SOURCE), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), runtime or OPENMP, "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * MINUTES)
        linked.replace(library)


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
