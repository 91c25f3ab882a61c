"""Noise on the input: crops, mirrorings and RandAugment, each a function of an image and a generator."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

from eyas.recipe import Augment

Pixels = UInt8[np.ndarray, "h w c"]
Operation = Callable[[Image.Image, float, float], Image.Image]

FILL = 128  # what moves in from outside the image, as in the reference code


def prepare(image: Pixels, resolution: int) -> UInt8[np.ndarray, "r r c"]:
    """The whole image at `resolution` x `resolution`, as evaluation and the device see it; nothing is cut away."""
    return _array(_image(image).resize((resolution, resolution), Image.Resampling.BICUBIC))


def augment(
    image: Pixels, choice: Augment, flips: str, resolution: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "r r c"]:
    """A random view of the image: a crop, RandAugment, mirrorings. `rng` decides everything."""
    picture = _image(image)
    box = _crop(picture.size, choice.crop, rng) if choice.crop < 1 else None
    picture = picture.resize((resolution, resolution), Image.Resampling.BILINEAR, box)
    for name in rng.choice(list(OPERATIONS), size=choice.operations):
        sign = 1.0 if rng.random() < 0.5 else -1.0
        picture = OPERATIONS[name](picture, choice.magnitude / 10, sign)
    if flips != "none" and rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    if flips == "both" and rng.random() < 0.5:
        picture = ImageOps.flip(picture)
    return _array(picture)


def _crop(size: tuple[int, int], smallest: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A box of at least `smallest` of the area, sides 3:4 to 4:3 of the image's own (Szegedy et al. 2015)."""
    width, height = size
    area = rng.uniform(smallest, 1.0)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    across = min(max(np.sqrt(area * ratio), area), 1.0)  # where the shape does not fit, the area is kept and not the shape
    wide, high = across * width, area / across * height
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    """Factors from 0.1 up, the reference's lowest: at 0 and below, brightness leaves a black picture, whatever it showed."""
    return lambda image, level, sign: kind(image).enhance(max(0.1, 1 + 0.9 * level * sign))


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    fill = FILL if image.mode == "L" else (FILL, FILL, FILL)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


def _shift(level: float, sign: float) -> float:
    """The share of the side that a picture is moved by; some of it always stays in sight."""
    return min(0.45 * level, 0.9) * sign


def _rotate(image: Image.Image, level: float, sign: float) -> Image.Image:
    fill = FILL if image.mode == "L" else (FILL, FILL, FILL)
    return image.rotate(30 * level * sign, Image.Resampling.BILINEAR, fillcolor=fill)


# The 14 operations of the paper (RandAugment, 1909.13719, Figure 1): image, level in 0..1 and beyond, sign. Ranges are
# AutoAugment's; what brightens or darkens, turns left or right, is drawn by the sign. Levels grow with severity
# everywhere: in the reference code posterize grows milder, and above magnitude 10 leaves its range.
OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, level, sign: image,  # noqa: ARG005 (the form of all operations)
    "autocontrast": lambda image, level, sign: ImageOps.autocontrast(image),  # noqa: ARG005
    "equalize": lambda image, level, sign: ImageOps.equalize(image),  # noqa: ARG005
    "rotate": _rotate,
    "solarize": lambda image, level, sign: ImageOps.solarize(image, max(0, round(256 * (1 - level)))),  # noqa: ARG005
    "color": _enhance(ImageEnhance.Color),
    "posterize": lambda image, level, sign: ImageOps.posterize(image, max(1, 8 - round(4 * level))),  # noqa: ARG005
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": lambda image, level, sign: _affine(image, (1, 0.3 * level * sign, 0, 0, 1, 0)),
    "shear_y": lambda image, level, sign: _affine(image, (1, 0, 0, 0.3 * level * sign, 1, 0)),
    "translate_x": lambda image, level, sign: _affine(image, (1, 0, _shift(level, sign) * image.width, 0, 1, 0)),
    "translate_y": lambda image, level, sign: _affine(image, (1, 0, 0, 0, 1, _shift(level, sign) * image.height)),
}


def _image(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _array(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
