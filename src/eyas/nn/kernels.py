"""The functions of fused.cpp and what they take."""

import ctypes
from functools import cache, partial
from pathlib import Path

from eyas.compiled import OPENMP, function, library

SOURCE = Path(__file__).with_name("fused.cpp")

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

    def __init__(self, made: Path) -> None:
        self.name = made.stem  # other kernels have another
        of = partial(function, ctypes.CDLL(str(made)))
        norm, shape = ctypes.POINTER(Norm), ctypes.POINTER(Shape)
        # x, y, rows, channels, norm, activation
        self.norm_forward = of("norm_forward", INT, POINTER, POINTER, LONG, LONG, norm, INT)
        # x, dy, dx, rows, channels, norm, activation, dgamma, dbeta
        self.norm_backward = of("norm_backward", INT, *[POINTER] * 3, LONG, LONG, norm, INT, POINTER, POINTER)
        # x, taps [k * k, channels], convolved, y, shape, kernel, stride, norm, activation
        self.depthwise_forward = of("depthwise_forward", INT, *[POINTER] * 4, shape, INT, INT, norm, INT)
        # x, taps, convolved, dy, dx, dtaps, shape, kernel, stride, norm, activation, dgamma, dbeta
        self.depthwise_backward = of("depthwise_backward", INT, *[POINTER] * 6, shape, INT, INT, norm, INT, POINTER, POINTER)
        # x, sums [images, channels], images, places, channels
        self.image_sums = of("image_sums", INT, POINTER, POINTER, LONG, LONG, LONG)
        # x, dy, sums of their products, images, places, channels
        self.image_products = of("image_products", INT, *[POINTER] * 3, LONG, LONG, LONG)
        # x, times [images, channels], plus (or nothing), y, images, places, channels
        self.scaled = of("scaled", INT, *[POINTER] * 4, LONG, LONG, LONG)

    def __deepcopy__(self, _: object) -> "Kernels":
        """Networks that are copied share them."""
        return self


@cache
def kernels(folder: Path) -> Kernels:
    """The kernels for this machine, from `folder` where they were compiled before.

    Raises:
        UserError: this machine cannot compile them, and why.
    """
    return Kernels(library(SOURCE, folder, "training", (OPENMP,)))
