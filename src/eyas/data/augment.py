"""Noise on the input: crops of images, and changes of a whole batch; by pixels.cpp where it is given, with the same result."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from jaxtyping import Int32, UInt8
from torch import Tensor
from torch.nn import functional

from eyas.data.mix import mix
from eyas.data.noise import Noise
from eyas.data.pixels import PixelKernels
from eyas.data.randaugment import changed, fill, randaugment
from eyas.recipe import Augment

Image = UInt8[np.ndarray, "_height _width _channels"]

CHUNK = 5_000_000  # values changed at a time on a processor: fewer, and calls take longer than their work


def prepare(image: Image, resolution: int, view: float = 1.0) -> UInt8[np.ndarray, "r r c"]:
    """The centred box of `view` times the sides at `resolution` x `resolution`, as evaluation and the device see it.

    With 1 it is the whole image, and nothing is cut away.
    """
    height, width = image.shape[:2]
    left, top = (1 - view) / 2 * width, (1 - view) / 2 * height
    box = (left, top, width - left, height - top)
    return _array(_image(image).resize((resolution, resolution), PIL.Image.Resampling.BICUBIC, box))


def crops(images: Sequence[Image], noise: Noise, resolution: int, by: PixelKernels | None = None) -> UInt8[Tensor, "b r r c"]:
    """A box of each image at `resolution` x `resolution`; one channel where all are grey, otherwise three.

    Bilinear and antialiased: Pillow's pixels within a level.
    """
    boxes = _boxes(noise, images)
    if by:
        return by.crops(images, boxes, resolution)
    channels = max(image.shape[2] for image in images)
    found = torch.empty((len(images), resolution, resolution, channels), dtype=torch.uint8)
    for row, (image, box) in enumerate(zip(images, boxes.tolist(), strict=True)):
        found[row] = _crop(image, box, resolution)
    return found


def apply(
    views: UInt8[Tensor, "b r r c"], noise: Noise, choice: Augment, by: PixelKernels | None = None
) -> UInt8[Tensor, "b r r 3"]:
    """RandAugment, mirrorings, erasing and mixing, wherever `views` are; they are used up."""
    level, processor = choice.magnitude / 10, views.device.type == "cpu"
    if by and processor and views.is_contiguous():
        by.change(views, noise, choice.operation_set, level, bool(choice.erase))
    else:
        size = max(1, CHUNK // views[:1].numel()) if processor else len(views)
        for first in range(0, len(views), size):
            some = noise.rows(first, first + size)
            part = _mirror(randaugment(views[first : first + size], some, choice.operation_set, level), some)
            views[first : first + size] = fill(part, some.erased) if choice.erase else part
    mixed = mix(views, noise) if choice.mixup or choice.cutmix else views
    return mixed if mixed.shape[3] == 3 else mixed.repeat(1, 1, 1, 3)


def _boxes(noise: Noise, images: Sequence[Image]) -> Int32[np.ndarray, "b 4"]:
    """What is kept of each image, in pixels, one at least."""
    height, width = np.array([image.shape[:2] for image in images]).T
    left, top, right, bottom = np.rint(noise.crop.T * (width, height, width, height)).astype(np.int32)
    left, top = np.minimum(left, width - 1), np.minimum(top, height - 1)
    return np.stack([left, top, np.clip(right, left + 1, width), np.clip(bottom, top + 1, height)], axis=1, dtype=np.int32)


def _crop(image: Image, box: list[int], resolution: int) -> UInt8[Tensor, "r r c"]:
    left, top, right, bottom = box
    # A copy: torch cannot say of a tensor that it must not be written to, and prepared images must not.
    kept = torch.from_numpy(image[top:bottom, left:right].copy())
    planes = kept[None].permute(0, 3, 1, 2)  # in this order, or torch takes it for another layout, and rearranges it
    return functional.interpolate(planes, (resolution, resolution), mode="bilinear", antialias=True)[0].permute(1, 2, 0)


def _mirror(images: UInt8[Tensor, "b h w c"], noise: Noise) -> UInt8[Tensor, "b h w c"]:
    for axis, flipped in ((2, noise.mirrored[:, 0]), (1, noise.mirrored[:, 1])):
        if flipped.any():
            images = changed(images, np.flatnonzero(flipped).tolist(), torch.flip, (axis,))
    return images


def _image(image: Image) -> PIL.Image.Image:
    return PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(image: PIL.Image.Image) -> Image:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
