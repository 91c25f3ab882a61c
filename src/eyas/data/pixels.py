"""Images resized, cropped, measured and changed by the functions of pixels.cpp: byte by byte as torch does it, in one call.

A call of torch's is short for an image, and threads that make images ready would wait for each other to begin the next.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int32, UInt8
from torch import Tensor

from eyas.compiled import function, library
from eyas.data.amounts import MOVING, amounts
from eyas.data.noise import SETS, Noise
from eyas.errors import UserError
from eyas.places import user_cache
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
    """The library, each function with what it takes. All raise MemoryError where there is not enough."""

    def __init__(self, made: Path) -> None:
        found = ctypes.CDLL(str(made))
        # images, their sources, shapes [images, 3], boxes [images, 4], crops, side, channels
        self._crops = _function(found, "crops", LONG, *[POINTER] * 4, INT, INT)
        # images, how many, height, width, channels, kinds [images, turns], numbers [images, turns, 6], turns
        self._change = _function(found, "change", POINTER, *[LONG] * 4, POINTER, POINTER, LONG)

        # image, height, width, channels, out, height, width
        self._resize = _function(found, "resize", POINTER, *[LONG] * 3, POINTER, INT, INT)
        # image, height, width, channels, height and width to look at, side, black, white, thumbnail, numbers
        self._look = _function(found, "look", POINTER, *[LONG] * 3, *[INT] * 5, POINTER, POINTER)

    def resize(self, pixels: UInt8[np.ndarray, "_h _w c"], height: int, width: int) -> UInt8[np.ndarray, "{height} {width} c"]:
        """An image at another size, bicubic and antialiased."""
        kept = np.ascontiguousarray(pixels)
        found = np.empty((height, width, kept.shape[2]), np.uint8)
        self._resize(address(kept), *kept.shape, address(found), height, width)
        return found

    def look(
        self, pixels: UInt8[np.ndarray, "_h _w _c"], height: int, width: int, side: int, black: int, white: int
    ) -> tuple[UInt8[np.ndarray, "{side} {side}"], list[int]]:
        """An image's grey self at `side` x `side`, and of that at `height` x `width` what `quality.tally` counts."""
        kept = np.ascontiguousarray(pixels)
        thumbnail, numbers = np.empty((side, side), np.uint8), np.empty(6, np.int64)
        self._look(address(kept), *kept.shape, height, width, side, black, white, address(thumbnail), address(numbers))
        return thumbnail, numbers.tolist()

    def crops(
        self, images: Sequence[UInt8[np.ndarray, "_h _w _c"]], boxes: Int32[np.ndarray, "b 4"], side: int
    ) -> UInt8[Tensor, "b r r c"]:
        """A box of each image (left, top, right, bottom in pixels) at `side` x `side`, all of as many channels."""
        kept = [np.ascontiguousarray(image) for image in images]
        shapes = np.array([image.shape for image in kept], np.int64)
        places = np.array([address(image) for image in kept], np.uintp)
        channels, boxes = int(shapes[:, 2].max()), np.ascontiguousarray(boxes)
        found = torch.empty((len(kept), side, side, channels), dtype=torch.uint8)
        self._crops(len(kept), address(places), address(shapes), address(boxes), found.data_ptr(), side, channels)
        return found

    def change(self, images: UInt8[Tensor, "b h w c"], noise: Noise, operation_set: str, level: float, erase: bool) -> None:
        """RandAugment, mirrorings and erasing, in place; `images` are dense."""
        kinds, numbers = program(noise, operation_set, level, erase, images.shape[1], images.shape[2])
        self._change(images.data_ptr(), *images.shape, address(kinds), address(numbers), kinds.shape[1])


def _function(found: ctypes.CDLL, name: str, *takes: Any) -> Callable[..., None]:
    made: Any = function(found, name, *takes)
    made.restype, made.errcheck = INT, _enough
    return made


def _enough(failed: int, *_: Any) -> None:
    if failed:
        raise MemoryError


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


def address(array: np.ndarray) -> int:
    """Where its values begin; `array.ctypes` takes longer to say."""
    return array.__array_interface__["data"][0]


def edges(boxes: Float64[np.ndarray, "b 4"], height: int, width: int) -> Float64[np.ndarray, "b 4"]:
    """Boxes of shares in whole pixels."""
    return np.rint(boxes * (width, height, width, height))


@cache
def pixel_kernels() -> PixelKernels | None:
    """The functions for this machine, compiled in two seconds where they are not yet; `None` where they cannot be."""
    try:
        return PixelKernels(library(SOURCE, user_cache() / "kernels", "images", EXACT))
    except UserError as error:
        say(f"what the processor changes of images, torch does, more slowly: {error}")
        return None
