"""Noise on the input: each image cropped by slicing, all images of a batch changed together as tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from eyas.data.mix import mix
from eyas.data.noise import Noise
from eyas.data.randaugment import changed, fill, randaugment
from eyas.recipe import Augment

Pixels = UInt8[np.ndarray, "_height _width _channels"]

CHUNK = 5_000_000  # values changed at a time on a processor: fewer, and calls take longer than their work


def prepare(image: Pixels, resolution: int, view: float = 1.0) -> UInt8[np.ndarray, "r r c"]:
    """The centred box of `view` times the sides at `resolution` x `resolution`, as evaluation and the device see it.

    With 1 it is the whole image, and nothing is cut away.
    """
    height, width = image.shape[:2]
    left, top = (1 - view) / 2 * width, (1 - view) / 2 * height
    box = (left, top, width - left, height - top)
    return _array(_image(image).resize((resolution, resolution), Image.Resampling.BICUBIC, box))


def crops(images: Sequence[Pixels], noise: Noise, resolution: int) -> UInt8[Tensor, "b r r c"]:
    """A box of each image at `resolution` x `resolution`; one channel where all are grey, otherwise three."""
    channels = max(image.shape[2] for image in images)
    found = torch.empty((len(images), resolution, resolution, channels), dtype=torch.uint8)
    for row, image in enumerate(images):
        found[row] = _crop(image, noise.crop[row], resolution)
    return found


def apply(views: UInt8[Tensor, "b r r c"], noise: Noise, choice: Augment) -> UInt8[Tensor, "b r r 3"]:
    """RandAugment, mirrorings, erasing and mixing, wherever `views` are; they are used up."""
    size = max(1, CHUNK // views[:1].numel()) if views.device.type == "cpu" else len(views)
    for first in range(0, len(views), size):
        some = noise.rows(first, first + size)
        part = randaugment(views[first : first + size], some, choice.operation_set, choice.magnitude / 10)
        part = _mirror(part, some)
        views[first : first + size] = fill(part, some.erased) if choice.erase else part
    mixed = mix(views, noise) if choice.mixup or choice.cutmix else views
    return mixed if mixed.shape[3] == 3 else mixed.repeat(1, 1, 1, 3)


def _crop(image: Pixels, box: Float64[np.ndarray, " 4"], resolution: int) -> UInt8[Tensor, "r r c"]:
    """Bilinear and antialiased: Pillow's pixels within a level."""
    height, width = image.shape[:2]
    left, top, right, bottom = np.rint(box * (width, height, width, height)).astype(int).tolist()
    left, top = min(left, width - 1), min(top, height - 1)
    # A copy: torch cannot say of a tensor that it must not be written to, and prepared images must not.
    kept = torch.from_numpy(image[top : max(bottom, top + 1), left : max(right, left + 1)].copy())
    planes = kept[None].permute(0, 3, 1, 2)  # in this order, or torch takes it for another layout, and rearranges it
    return functional.interpolate(planes, (resolution, resolution), mode="bilinear", antialias=True)[0].permute(1, 2, 0)


def _mirror(images: UInt8[Tensor, "b h w c"], noise: Noise) -> UInt8[Tensor, "b h w c"]:
    for axis, flipped in ((2, noise.mirrored[:, 0]), (1, noise.mirrored[:, 1])):
        if flipped.any():
            images = changed(images, np.flatnonzero(flipped).tolist(), torch.flip, (axis,))
    return images


def _image(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
