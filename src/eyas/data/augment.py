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
from eyas.data.randaugment import fill, put, randaugment
from eyas.recipe import Augment

Pixels = UInt8[np.ndarray, "_height _width _channels"]

CHUNK = 32  # images changed at a time on a processor, so that they stay in its caches


def prepare(image: Pixels, resolution: int) -> UInt8[np.ndarray, "r r c"]:
    """The whole image at `resolution` x `resolution`, as evaluation and the device see it; nothing is cut away."""
    return _array(_image(image).resize((resolution, resolution), Image.Resampling.BICUBIC))


def crops(images: Sequence[Pixels], noise: Noise, resolution: int) -> UInt8[Tensor, "b c r r"]:
    """A box of each image at `resolution` x `resolution`; one channel where all are grey, otherwise three."""
    channels = max(image.shape[2] for image in images)
    found = torch.empty((len(images), channels, resolution, resolution), dtype=torch.uint8)
    for row, image in enumerate(images):
        found[row] = _crop(image, noise.crop[row], resolution)
    return found


def apply(views: UInt8[Tensor, "b c r r"], noise: Noise, choice: Augment) -> UInt8[Tensor, "b r r 3"]:
    """RandAugment, mirrorings, erasing and mixing, wherever `views` are; they are used up."""
    size = CHUNK if views.device.type == "cpu" else len(views)
    for first in range(0, len(views), size):
        some = noise.rows(first, first + size)
        part = randaugment(views[first : first + size], some, choice.operation_set, choice.magnitude / 10)
        part = _mirror(part, some)
        views[first : first + size] = fill(part, some.erased) if choice.erase else part
    mixed = mix(views, noise) if choice.mixup or choice.cutmix else views
    found = torch.empty((len(views), *views.shape[2:], 3), dtype=torch.uint8, device=views.device)
    for channel in range(3):
        found[..., channel] = mixed[:, channel % views.shape[1]]
    return found


def _crop(image: Pixels, box: Float64[np.ndarray, " 4"], resolution: int) -> UInt8[Tensor, "c r r"]:
    """Bilinear and antialiased: Pillow's pixels within a level."""
    height, width = image.shape[:2]
    left, top, right, bottom = np.rint(box * (width, height, width, height)).astype(int).tolist()
    left, top = min(left, width - 1), min(top, height - 1)
    # A copy: torch cannot say of a tensor that it must not be written to, and prepared images must not.
    kept = torch.from_numpy(image[top : max(bottom, top + 1), left : max(right, left + 1)].copy()).permute(2, 0, 1)
    return functional.interpolate(kept[None], (resolution, resolution), mode="bilinear", antialias=True)[0]


def _mirror(images: UInt8[Tensor, "b c h w"], noise: Noise) -> UInt8[Tensor, "b c h w"]:
    for axis, flipped in ((3, noise.mirrored[:, 0]), (2, noise.mirrored[:, 1])):
        if flipped.any():
            rows = torch.from_numpy(np.flatnonzero(flipped)).to(images.device)
            put(images, rows, images.index_select(0, rows).flip(axis))
    return images


def _image(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
