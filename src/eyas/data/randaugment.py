"""RandAugment on a batch: each image its own operations, all images through the same few kernels.

Held against Pillow's operations, one image at a time, by the tests: point operations, sharpness and colour to one level
of 255, what moves pixels to one level too but at the rim of what moved in. Whole numbers and elementwise floats only, so
the result depends neither on the number of threads nor on what else is in the batch.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from eyas.data.noise import SETS, Noise

Images = UInt8[Tensor, "b c h w"]
Signs = Float64[np.ndarray, " b"]
Tables = Float[Tensor, "b _ 256"]

FILL = 128  # what moves in from outside the image, as in the reference code
LARGEST_SHIFT = 0.9  # of the side, and
LARGEST_CUT = 0.35  # half the side of what is cut out: some of a picture always stays in sight


def randaugment(images: Images, noise: Noise, operation_set: str, level: float) -> Images:
    """The operations that were drawn for each image, in their order. `images` are changed in place.

    `level` is the magnitude in tenths: 1 is the end of AutoAugment's ranges, and more goes beyond. What brightens or
    darkens, turns left or right, is drawn by the sign. Levels grow with severity everywhere: in the reference code
    posterize and solarize grow milder, and above magnitude 10 leave their range.
    """
    names = np.array(SETS[operation_set])
    for turn in range(noise.operations.shape[1]):
        drawn = names[noise.operations[:, turn]]
        for kind in KINDS:
            rows = np.flatnonzero(np.isin(drawn, list(kind.operations)))
            if len(rows):
                where = torch.from_numpy(rows).to(images.device)
                some = noise.signs[rows, turn], noise.places[rows, turn]
                put(images, where, kind.apply(images.index_select(0, where), drawn[rows], level, *some))
    return images


def put(images: Images, rows: Int64[Tensor, " n"], changed: UInt8[Tensor, "n c h w"]) -> None:
    """`images[rows] = changed`; on a processor by numpy, which copies whole images where torch goes pixel by pixel."""
    if images.device.type == "cpu":
        images.numpy()[rows.numpy()] = changed.numpy()
    else:
        images.index_copy_(0, rows, changed)


def fill(images: Images, boxes: Float64[np.ndarray, "b 4"]) -> Images:
    """Images with a box of each blanked."""
    return images.masked_fill(inside(boxes, images.shape[2], images.shape[3], images.device)[:, None], FILL)


def inside(boxes: Float64[np.ndarray, "b 4"], height: int, width: int, device: torch.device) -> Bool[Tensor, "b h w"]:
    """Which pixels are in the box of each image; edges are rounded to whole pixels."""
    edges = torch.from_numpy(np.rint(boxes * (width, height, width, height))).to(device, torch.int32)
    left, top, right, bottom = edges[:, :, None].unbind(1)
    x = torch.arange(width, device=device, dtype=torch.int32)
    y = torch.arange(height, device=device, dtype=torch.int32)
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]


def _factors(level: float, signs: Signs, device: torch.device) -> Float[Tensor, "b 1 1"]:
    """Factors from 0.1 up, the reference's lowest: at 0 and below, brightness leaves a black picture, whatever it showed."""
    return torch.from_numpy(np.maximum(0.1, 1 + 0.9 * level * signs)).to(device, torch.float32)[:, None, None]


def _ramp(images: Images) -> Float[Tensor, " 256"]:
    return torch.arange(256, device=images.device, dtype=torch.float32)


def _grey(images: Images) -> Float[Tensor, "b h w"]:
    """Luminance in whole levels, as Pillow converts to "L" (ITU-R 601-2 in 16-bit fractions)."""
    if images.shape[1] == 1:
        return images[:, 0].float()
    red, green, blue = images.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).float()


def _blend(plain: Float[Tensor, "..."], images: Float[Tensor, "..."], factors: Float[Tensor, "b ..."]) -> Float[Tensor, "..."]:
    """From `plain` at factor 0 to `images` at 1 and beyond, in 0..255; fractions are cut off when it becomes uint8."""
    return torch.addcmul(plain, factors, images - plain).clamp_(0, 255)


# Point operations: each pixel through a table of its image, one for all channels or one each.


def _autocontrast(images: Images, level: float, signs: Signs) -> Tables:  # noqa: ARG001 (the form of all tables)
    low, high = (edge.double()[..., None] for edge in (images.amin((2, 3)), images.amax((2, 3))))
    scale = 255 / (high - low)
    ramp = _ramp(images).double()
    stretched = (ramp * scale - low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, ramp).float()


def _equalize(images: Images, level: float, signs: Signs) -> Tables:  # noqa: ARG001
    counts = _histogram(images)
    last = counts.gather(2, images.flatten(2).amax(2, keepdim=True).long())
    step = (counts.sum(2, keepdim=True) - last) // 255
    below = counts.cumsum(2) - counts
    table = ((step // 2 + below) // step.clamp_min(1)).clamp_max(255)
    return torch.where(step > 0, table, _ramp(images).long()).float()


def _histogram(images: Images) -> Int64[Tensor, "b c 256"]:
    flat = images.flatten(2).long()
    counts = torch.zeros((*flat.shape[:2], 256), dtype=torch.int64, device=images.device)
    return counts.scatter_add_(2, flat, torch.ones(1, dtype=torch.int64, device=images.device).expand_as(flat))


def _solarize(images: Images, level: float, signs: Signs) -> Tables:
    ramp = _ramp(images)
    return torch.where(ramp < max(0, round(256 * (1 - level))), ramp, 255 - ramp).expand(len(signs), 1, 256)


def _posterize(images: Images, level: float, signs: Signs) -> Tables:
    step = 2 ** (8 - max(1, 8 - round(4 * level)))
    return ((_ramp(images) / step).floor() * step).expand(len(signs), 1, 256)


def _contrast(images: Images, level: float, signs: Signs) -> Tables:
    grey = _grey(images).flatten(1).long()  # whole numbers: their sum does not depend on the order
    mean = (grey.sum(1).double() / grey.shape[1] + 0.5).floor().float()[:, None, None]
    return _blend(mean, _ramp(images), _factors(level, signs, images.device))


def _brightness(images: Images, level: float, signs: Signs) -> Tables:
    return (_ramp(images) * _factors(level, signs, images.device)).clamp_(0, 255)


def _invert(images: Images, level: float, signs: Signs) -> Tables:  # noqa: ARG001
    return (255 - _ramp(images)).expand(len(signs), 1, 256)


def _solarize_add(images: Images, level: float, signs: Signs) -> Tables:
    ramp = _ramp(images)
    return torch.where(ramp < 128, (ramp + round(110 * level)).clamp_max(255), ramp).expand(len(signs), 1, 256)


TABLES: dict[str, Callable[[Images, float, Signs], Tables]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "invert": _invert,
    "solarize_add": _solarize_add,
}


def _points(images: Images, names: np.ndarray, level: float, signs: Signs, places: np.ndarray) -> Images:  # noqa: ARG001
    """Every image through its table, in one look-up."""
    tables = torch.empty((*images.shape[:2], 256), dtype=torch.uint8, device=images.device)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        where = torch.from_numpy(rows).to(images.device)
        found = TABLES[str(name)](images.index_select(0, where), level, signs[rows])
        tables[where] = found.expand(-1, images.shape[1], 256).to(torch.uint8)
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def _color(images: Images, names: np.ndarray, level: float, signs: Signs, places: np.ndarray) -> Images:  # noqa: ARG001
    """Between grey and more than its colour; a grey picture has none to change."""
    if images.shape[1] == 1:
        return images
    factors = _factors(level, signs, images.device)[..., None]
    return _blend(_grey(images)[:, None].expand(images.shape), images.float(), factors).to(torch.uint8)


def _sharpness(images: Images, names: np.ndarray, level: float, signs: Signs, places: np.ndarray) -> Images:  # noqa: ARG001
    """Between smoothed (3 x 3, the middle counts 5) and sharper than it is; the outermost pixels stay."""
    whole = images.to(torch.int16)
    rows = whole[:, :, :-2] + whole[:, :, 1:-1] + whole[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * whole[:, :, 1:-1, 1:-1]
    smooth = (sums.float() / 13 + 0.5).floor_()
    factors = _factors(level, signs, images.device)[..., None]
    images[:, :, 1:-1, 1:-1] = _blend(smooth, images[:, :, 1:-1, 1:-1].float(), factors).to(torch.uint8)
    return images


def _cutout(images: Images, names: np.ndarray, level: float, signs: Signs, places: np.ndarray) -> Images:  # noqa: ARG001
    """A square around any point blanked: at level 1 its half side is 40 of 224 pixels, as in the reference code."""
    half = min(level * 40 / 224, LARGEST_CUT)
    return fill(images, np.concatenate([places - half, places + half], 1))


def _warp(images: Images, names: np.ndarray, level: float, signs: Signs, places: np.ndarray) -> Images:  # noqa: ARG001
    """Every image through its matrix, in one bilinear sampling."""
    height, width = images.shape[2:]
    matrices = np.array([matrix(name, level * sign, height, width) for name, sign in zip(names, signs, strict=True)])
    a, b, c, d, e, f = torch.from_numpy(matrices).to(images.device).T[..., None]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device) + 0.5
    grid = torch.empty((len(images), height, width, 2), device=images.device)
    for axis, (across, down, start, side) in enumerate(((a, b, c, width), (d, e, f, height))):  # pixels to -1..1
        by_x, by_y = (across * x * 2 / side).float(), ((down * y + start) * 2 / side - 1).float()
        torch.add(by_x[:, None], by_y[:, :, None], out=grid[..., axis])
    # Less the fill: then what lies outside is the zero that the sampling takes for it.
    moved = functional.grid_sample(images.float().sub_(FILL), grid, align_corners=False)
    return moved.add_(FILL + 0.5).to(torch.uint8)


def matrix(name: str, amount: float, height: int, width: int) -> tuple[float, float, float, float, float, float]:
    """Where a pixel (x, y) comes from: (ax + by + c, dx + ey + f), as Pillow's affine transform has it."""
    if name == "rotate":
        angle = -math.radians(30 * amount)
        cosine, sine = (round(value, 15) for value in (math.cos(angle), math.sin(angle)))
        x, y = width / 2, height / 2
        return cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y
    shift = max(-LARGEST_SHIFT, min(0.45 * amount, LARGEST_SHIFT))
    return {
        "shear_x": (1.0, 0.3 * amount, 0.0, 0.0, 1.0, 0.0),
        "shear_y": (1.0, 0.0, 0.0, 0.3 * amount, 1.0, 0.0),
        "translate_x": (1.0, 0.0, shift * width, 0.0, 1.0, 0.0),
        "translate_y": (1.0, 0.0, 0.0, 0.0, 1.0, shift * height),
    }[name]


class Kind:
    """Operations that one kernel does for many images."""

    def __init__(self, apply: Callable[[Images, np.ndarray, float, Signs, np.ndarray], Images], *operations: str) -> None:
        self.apply = apply
        self.operations = operations


KINDS = (
    Kind(_points, *TABLES),
    Kind(_warp, "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    Kind(_color, "color"),
    Kind(_sharpness, "sharpness"),
    Kind(_cutout, "cutout"),
)
