"""RandAugment on a batch: each image its own operations, all images through the same few kernels.

Held against Pillow's operations, one image at a time, by the tests: point operations, sharpness and colour to one level
of 255. What moves pixels takes the nearest one, as the code of the paper does (tf.contrib.image), and is Pillow's but for
pixels on an edge between two. Whole numbers and elementwise floats only, so the result depends neither on the number of
threads nor on what else is in the batch. A processor goes over bytes and 16-bit numbers many at a time; that is why
values become bytes by way of 16 bits, and why masks are bytes of 0 and 255.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped, UInt8
from torch import Tensor

from eyas.data.amounts import FILL, MOVING, Numbers, amounts
from eyas.data.noise import SETS, Noise

Images = UInt8[Tensor, "b h w c"]
Places = Float64[np.ndarray, "b 2"]

# In 16-bit fractions: all sums are multiples of 2^-16 below 2^8, which floats hold exactly in whichever order they are added.
LUMINANCE = (19595 / 65536, 38470 / 65536, 7471 / 65536)


def randaugment(images: Images, noise: Noise, operation_set: str, level: float) -> Images:
    """The operations that were drawn for each image, in their order, at `level` (`eyas.data.amounts`). `images` are used up."""
    height, width = images.shape[1:3]
    for turn in range(noise.operations.shape[1]):
        drawn: dict[tuple[str, Numbers], list[int]] = defaultdict(list)
        names = [SETS[operation_set][number] for number in noise.operations[:, turn]]
        for row, (name, sign) in enumerate(zip(names, noise.signs[:, turn].tolist(), strict=True)):
            drawn[name, amounts(name, level, sign, height, width)].append(row)
        for (name, numbers), rows in drawn.items():
            if name != "identity":
                images = changed(images, rows, OPERATIONS[name], noise.places[rows, turn], *numbers)
    return images


def changed(images: Images, rows: list[int], change: Callable[..., Tensor], *given: object) -> Images:
    """`images` with those in `rows` changed by `change(images, *given)`; they are used up."""
    if len(rows) == len(images):
        return change(images, *given)
    if len(rows) == 1:
        one = images[rows[0] : rows[0] + 1]
        one.copy_(change(one, *given))
    elif images.device.type == "cpu":
        held = images.numpy()  # copies whole images, where torch goes pixel by pixel
        held[rows] = change(torch.from_numpy(held[rows]), *given).numpy()
    else:
        where = torch.tensor(rows, device=images.device)
        images.index_copy_(0, where, change(images.index_select(0, where), *given))
    return images


def fill(images: Images, boxes: Float64[np.ndarray, "b 4"]) -> Images:
    """Images with a box of each blanked."""
    height, width, channels = images.shape[1:]
    left, top, right, bottom = np.rint(boxes * (width, height, width, height)).T[..., None]
    y, x = np.arange(height), np.repeat(np.arange(width), channels)
    rows, columns = (
        np.where(within, 255, 0).astype(np.uint8) for within in ((y >= top) & (y < bottom), (x >= left) & (x < right))
    )
    mask = torch.from_numpy(rows).to(images.device)[:, :, None] & torch.from_numpy(columns).to(images.device)[:, None]
    return _filled(images.flatten(2), mask).view_as(images)


def inside(boxes: Float64[np.ndarray, "b 4"], height: int, width: int, device: torch.device) -> Bool[Tensor, "b h w"]:
    """Which pixels are in the box of each image; edges are rounded to whole pixels."""
    edges = torch.from_numpy(np.rint(boxes * (width, height, width, height))).to(device, torch.int32)
    left, top, right, bottom = edges[:, :, None].unbind(1)
    x = torch.arange(width, device=device, dtype=torch.int32)
    y = torch.arange(height, device=device, dtype=torch.int32)
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]


def _below(images: Images, edge: int) -> Images:
    """255 where a value is below `edge`, else 0: the sign of the difference, without a comparison's bits."""
    return (images.to(torch.int16).sub_(edge) >> 15).to(torch.uint8)


def _filled(images: UInt8[Tensor, "..."], mask: UInt8[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    return (images & ~mask) | (mask & FILL)


def _bytes(values: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """Values of 0 to 255, fractions cut off."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().astype(np.uint8))  # in one go, where torch takes five times as long
    return values.to(torch.int16).to(torch.uint8)


def _grey(images: Images) -> Float[Tensor, "b h w"]:
    """Luminance in whole levels, as Pillow converts to "L" (ITU-R 601-2)."""
    if images.shape[3] == 1:
        return images[..., 0].float()
    weights = torch.tensor(LUMINANCE, device=images.device)
    return (images.view(-1, 3).float() @ weights).add_(0.5).floor_().view(images.shape[:3])


def _across(values: Shaped[Tensor, "b c"], width: int) -> Shaped[Tensor, "b 1 wc"]:
    """A number for each channel as one for each value of a row: a processor is slow in steps of three."""
    return values.repeat(1, width)[:, None]


def _blend(plain: Float[Tensor, "..."], images: Shaped[Tensor, "..."], factor: float) -> UInt8[Tensor, "..."]:
    """From `plain` at factor 0 to `images` at 1 and beyond."""
    return _bytes(images.float().sub_(plain).mul_(factor).add_(plain).clamp_(0, 255))


# Point operations.


def _autocontrast(images: Images, _places: Places) -> Images:
    low, high = images.amin(1).amin(1), images.amax(1).amax(1)
    low, high = torch.where(high > low, low, 0).float(), torch.where(high > low, high, 255).float()
    moved = images.flatten(2) - _across(low, images.shape[2])
    # And a little more: a whole number must not lose its last level to rounding.
    return _bytes(moved.mul_(_across(255 / (high - low), images.shape[2])).add_(0.001)).view_as(images)


def _equalize(images: Images, _places: Places) -> Images:
    count, channels = len(images), images.shape[3]
    first = torch.arange(0, 256 * count * channels, 256, dtype=torch.int32, device=images.device).view(count, channels)
    cells = (images.flatten(2) + _across(first, images.shape[2])).flatten()  # in one row of tables, one a channel
    counts = torch.bincount(cells, minlength=256 * first.numel()).view(-1, 256)
    last = counts.gather(1, images.amax(1).amax(1).view(-1, 1).long())
    step = (counts.sum(1, keepdim=True) - last) // 255
    below = counts.cumsum(1) - counts
    table = ((step // 2 + below) // step.clamp_min(1)).clamp_max(255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device)).to(torch.uint8)
    return table.flatten().index_select(0, cells).view_as(images)


def _solarize(images: Images, _places: Places, edge: int) -> Images:
    return images ^ ~_below(images, edge)


def _posterize(images: Images, _places: Places, bits: int) -> Images:
    return images & bits


def _contrast(images: Images, _places: Places, factor: float) -> Images:
    grey = _grey(images).to(torch.int16).flatten(1)  # whole numbers: their sum does not depend on the order
    mean = (grey.sum(1).double() / grey.shape[1] + 0.5).floor().float()[:, None, None, None]
    return _blend(mean, images, factor)


def _brightness(images: Images, _places: Places, factor: float) -> Images:
    return _bytes(images.float().mul_(factor).clamp_(max=255))


def _invert(images: Images, _places: Places) -> Images:
    return images ^ 255


def _solarize_add(images: Images, _places: Places, amount: int) -> Images:
    added = images.to(torch.int16).add_(amount).clamp_(max=255).to(torch.uint8)
    dark = _below(images, 128)
    return (images & ~dark) | (added & dark)


# Operations of a pixel and its neighbours, or its other colours.


def _color(images: Images, _places: Places, factor: float) -> Images:
    """Between grey and more than its colour; a grey picture has none to change."""
    if images.shape[3] == 1:
        return images
    grey, plain = _grey(images), torch.empty_like(images, dtype=torch.float32)
    for channel in range(3):
        plain[..., channel] = grey
    return _blend(plain, images, factor)


def _sharpness(images: Images, _places: Places, factor: float) -> Images:
    """Between smoothed (3 x 3, the middle counts 5) and sharper than it is; the outermost pixels stay."""
    whole, step = images.flatten(2).to(torch.int16), images.shape[3]  # rows of values: a pixel's neighbours are a step away
    inner = whole[:, 1:-1, step:-step]
    rows = (whole[:, :-2] + whole[:, 1:-1]).add_(whole[:, 2:])
    sums = (rows[..., : -2 * step] + rows[..., step:-step]).add_(rows[..., 2 * step :]).add_(inner, alpha=4)
    smooth = sums.float().div_(13).add_(0.5).floor_()
    images.flatten(2)[:, 1:-1, step:-step] = _blend(smooth, inner, factor)
    return images


def _cutout(images: Images, places: Places, half: float) -> Images:
    """A square around any point blanked."""
    return fill(images, np.concatenate([places - half, places + half], 1))


# What moves pixels.


def _warp(images: Images, _places: Places, *matrix: float) -> Images:
    """Each pixel takes the value of another, the nearest to where it comes from."""
    index, mask = _sources(matrix, tuple(images.shape[1:]), images.device)
    flat = images.flatten(1)
    return _filled(flat.gather(1, index.expand(len(flat), -1)), mask).view_as(images)


@lru_cache(maxsize=48)
def _sources(
    matrix: Numbers, shape: tuple[int, int, int], device: torch.device
) -> tuple[Int64[Tensor, " n"], UInt8[Tensor, " n"]]:
    """Which value of the image each one is, and a mask of those that come from outside it."""
    height, width, channels = shape
    a, b, c, d, e, f = matrix
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    column, row = np.floor(a * x + b * y + c), np.floor(d * x + e * y + f)
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    pixel = np.where(outside, 0, row * width + column).astype(np.int64)
    values = pixel[..., None] * channels + np.arange(channels)
    masks = np.repeat(outside[..., None], channels, 2).astype(np.uint8) * 255
    return torch.from_numpy(values.reshape(-1)).to(device), torch.from_numpy(masks.reshape(-1)).to(device)


def _translate(images: Images, _places: Places, *matrix: float) -> Images:
    """A warp by whole pixels along an axis, by copying."""
    axis, by = (2, int(matrix[2])) if matrix[2] else (1, int(matrix[5]))
    found, kept = torch.full_like(images, FILL), images.shape[axis] - abs(by)
    found.narrow(axis, max(0, -by), kept).copy_(images.narrow(axis, max(0, by), kept))
    return found


OPERATIONS: dict[str, Callable[..., Images]] = {
    **dict.fromkeys(MOVING, _warp),
    **dict.fromkeys(("translate_x", "translate_y"), _translate),
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "color": _color,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "invert": _invert,
    "cutout": _cutout,
    "solarize_add": _solarize_add,
}
