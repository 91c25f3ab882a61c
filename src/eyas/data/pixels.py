"""Crops and changes of images with the functions of pixels.cpp: byte by byte those of torch, in one call for a batch.

A call of torch's is short for an image, and threads that make batches would wait for each other to begin the next.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int32, UInt8
from torch import Tensor

from eyas.compiled import function, library
from eyas.data.amounts import MOVING, amounts
from eyas.data.cache import user_cache
from eyas.data.noise import SETS, Noise
from eyas.errors import UserError
from eyas.progress import say

SOURCE = Path(__file__).with_name("pixels.cpp")
# Products are rounded before they are added, as torch does; the other two let loops become vectors.
EXACT = ("-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno")

POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
NUMBERS = 6  # of a change, as many as a warp has
KINDS = {  # as pixels.cpp numbers them
    "identity": 0,
    "autocontrast": 1,
    "equalize": 2,
    "solarize": 3,
    "solarize_add": 4,
    "posterize": 5,
    "invert": 6,
    "brightness": 7,
    "contrast": 8,
    "color": 9,
    "sharpness": 10,
    **dict.fromkeys(MOVING, 11),
    "cutout": 12,
}
BOX, MIRROR, TURN_OVER = 12, 13, 14


class PixelKernels:
    """The library, each function with what it takes."""

    def __init__(self, made: Path) -> None:
        found = ctypes.CDLL(str(made))
        # images, their sources, shapes [images, 3], boxes [images, 4], crops, side, channels
        self._crops = function(found, "crops", LONG, *[POINTER] * 4, INT, INT)
        # images, how many, height, width, channels, kinds [images, turns], numbers [images, turns, 6], turns
        self._change = function(found, "change", POINTER, *[LONG] * 4, POINTER, POINTER, LONG)

    def crops(
        self, images: Sequence[UInt8[np.ndarray, "_h _w _c"]], boxes: Int32[np.ndarray, "b 4"], side: int
    ) -> UInt8[Tensor, "b r r c"]:
        """A box of each image (left, top, right, bottom in pixels) at `side` x `side`, all of as many channels."""
        kept = [np.ascontiguousarray(image) for image in images]
        shapes = np.array([image.shape for image in kept], np.int64)
        places = np.array([image.__array_interface__["data"][0] for image in kept], np.uintp)
        channels, boxes = int(shapes[:, 2].max()), np.ascontiguousarray(boxes)
        found = torch.empty((len(kept), side, side, channels), dtype=torch.uint8)
        self._crops(len(kept), places.ctypes.data, shapes.ctypes.data, boxes.ctypes.data, found.data_ptr(), side, channels)
        return found

    def change(self, images: UInt8[Tensor, "b h w c"], noise: Noise, operation_set: str, level: float, erase: bool) -> None:
        """RandAugment, mirrorings and erasing, in place; `images` are dense."""
        kinds, numbers = program(noise, operation_set, level, erase, images.shape[1], images.shape[2])
        self._change(images.data_ptr(), *images.shape, kinds.ctypes.data, numbers.ctypes.data, kinds.shape[1])


def program(
    noise: Noise, operation_set: str, level: float, erase: bool, height: int, width: int
) -> tuple[Int32[np.ndarray, "b t"], Float64[np.ndarray, "b t 6"]]:
    """The kinds and numbers of all that changes images of this size, in its order; `erase` as a choice of the recipe."""
    count, operations = noise.operations.shape
    kinds, numbers = np.zeros((count, operations + 3), np.int32), np.zeros((count, operations + 3, NUMBERS))
    for row, drawn in enumerate(noise.operations.tolist()):
        for turn, (number, sign) in enumerate(zip(drawn, noise.signs[row].tolist(), strict=True)):
            name = SETS[operation_set][number]
            told = amounts(name, level, sign, height, width)
            if name == "cutout":
                place = noise.places[row, turn]
                told = edges(np.concatenate([place - told, place + told])[None], height, width)[0]
            kinds[row, turn] = KINDS[name]
            numbers[row, turn, : len(told)] = told
    kinds[:, -3] = MIRROR * noise.mirrored[:, 0]
    kinds[:, -2] = TURN_OVER * noise.mirrored[:, 1]
    if erase:
        kinds[:, -1], numbers[:, -1, :4] = BOX, edges(noise.erased, height, width)
    return kinds, numbers


def edges(boxes: Float64[np.ndarray, "b 4"], height: int, width: int) -> Float64[np.ndarray, "b 4"]:
    """Boxes of shares in whole pixels."""
    return np.rint(boxes * (width, height, width, height))


@cache
def pixel_kernels() -> PixelKernels | None:
    """The functions for this machine, compiled in a second where they are not yet; `None` where they cannot be."""
    try:
        return PixelKernels(library(SOURCE, user_cache() / "kernels", "images", EXACT))
    except UserError as error:
        say(f"what the processor changes of images, torch does, more slowly: {error}")
        return None
