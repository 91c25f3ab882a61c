"""Augmentation one image at a time with Pillow: what the batched operations of `eyas.data` are held against.

Nothing but the random numbers (`eyas.data.noise`) is shared with them.
"""

# ruff: noqa: ARG001, ARG005 (all operations have one form)

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from eyas.data.noise import SETS, Noise
from eyas.recipe import Augment

Operation = Callable[[Image.Image, float, float, tuple[float, float]], Image.Image]
FILL = 128


def fill_of(image: Image.Image) -> int | tuple[int, int, int]:
    return FILL if image.mode == "L" else (FILL, FILL, FILL)


def enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, level, sign, place: kind(image).enhance(max(0.1, 1 + 0.9 * level * sign))


def affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill_of(image))


def shift(level: float, sign: float) -> float:
    return min(0.45 * level, 0.9) * sign


def rotate(image: Image.Image, level: float, sign: float, place: tuple[float, float]) -> Image.Image:
    return image.rotate(30 * level * sign, Image.Resampling.NEAREST, fillcolor=fill_of(image))


def blank(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """A box in shares of the sides, filled."""
    x0, y0, x1, y1 = (int(np.rint(s * side)) for s, side in zip((left, top, right, bottom), image.size * 2, strict=True))
    if x1 > x0 and y1 > y0:
        image = image.copy()
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill_of(image))
    return image


def cutout(image: Image.Image, level: float, sign: float, place: tuple[float, float]) -> Image.Image:
    half = min(level * 40 / 224, 0.35)
    return blank(image, place[0] - half, place[1] - half, place[0] + half, place[1] + half)


def solarize_add(image: Image.Image, level: float, sign: float, place: tuple[float, float]) -> Image.Image:
    added = round(110 * level)
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * len(image.getbands()))


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, level, sign, place: image,
    "autocontrast": lambda image, level, sign, place: ImageOps.autocontrast(image),
    "equalize": lambda image, level, sign, place: ImageOps.equalize(image),
    "rotate": rotate,
    "solarize": lambda image, level, sign, place: ImageOps.solarize(image, max(0, round(256 * (1 - level)))),
    "color": enhance(ImageEnhance.Color),
    "posterize": lambda image, level, sign, place: ImageOps.posterize(image, max(1, 8 - round(4 * level))),
    "contrast": enhance(ImageEnhance.Contrast),
    "brightness": enhance(ImageEnhance.Brightness),
    "sharpness": enhance(ImageEnhance.Sharpness),
    "shear_x": lambda image, level, sign, place: affine(image, (1, 0.3 * level * sign, 0, 0, 1, 0)),
    "shear_y": lambda image, level, sign, place: affine(image, (1, 0, 0, 0.3 * level * sign, 1, 0)),
    "translate_x": lambda image, level, sign, place: affine(image, (1, 0, shift(level, sign) * image.width, 0, 1, 0)),
    "translate_y": lambda image, level, sign, place: affine(image, (1, 0, 0, 0, 1, shift(level, sign) * image.height)),
    "invert": lambda image, level, sign, place: ImageOps.invert(image),
    "cutout": cutout,
    "solarize_add": solarize_add,
}


def one(pixels: np.ndarray, noise: Noise, row: int, choice: Augment, resolution: int) -> np.ndarray:
    """The image with the noise of `row` but for mixtures: uint8 [r, r, c]."""
    height, width, channels = pixels.shape
    left, top, right, bottom = np.rint(noise.crop[row] * (width, height, width, height)).astype(int)
    left, top = min(left, width - 1), min(top, height - 1)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    whole = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    image = whole.crop((left, top, right, bottom)).resize((resolution, resolution), Image.Resampling.BILINEAR)
    for number, sign, place in zip(noise.operations[row], noise.signs[row], noise.places[row], strict=True):
        name = SETS[choice.operation_set][number]
        image = OPERATIONS[name](image, choice.magnitude / 10, float(sign), tuple(place))
    if noise.mirrored[row, 0]:
        image = ImageOps.mirror(image)
    if noise.mirrored[row, 1]:
        image = ImageOps.flip(image)
    return np.asarray(blank(image, *noise.erased[row])).reshape(resolution, resolution, channels)
