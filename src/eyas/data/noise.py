"""The noise of a batch as numbers, drawn by numpy from one generator; applying them to images draws nothing more.

So the same numbers give the same batch wherever they are applied, in a thread on the processor or on an accelerator.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from eyas.recipe import Augment

# The 14 of the paper (RandAugment, 1909.13719, section 3), and the 16 of the code that Noisy Student was trained with.
PAPER = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
CODE = (*PAPER[1:], "invert", "cutout", "solarize_add")
SETS = {"paper": PAPER, "code": CODE}


@dataclass(frozen=True, slots=True)
class Noise:
    """What happens to each of `b` images. Places are shares of a side; a box is (left, top, right, bottom).

    Attributes:
        crop: the box that is kept.
        operations: which `n` operations, as numbers in the set they were drawn from, in their order.
        signs: brighter or darker, left or right: 1 or -1.
        places: where an operation has a place (x, y).
        mirrored: left-right, and upside down.
        erased: the box that is blanked; an empty one blanks nothing.
        kept: share of an image in a mixture with its neighbour (mixup); 1 leaves it alone.
        pasted: the box that is taken from its neighbour (cutmix).
    """

    crop: Float64[np.ndarray, "b 4"]
    operations: Int64[np.ndarray, "b n"]
    signs: Float64[np.ndarray, "b n"]
    places: Float64[np.ndarray, "b n 2"]
    mirrored: Bool[np.ndarray, "b 2"]
    erased: Float64[np.ndarray, "b 4"]
    kept: Float64[np.ndarray, " b"]
    pasted: Float64[np.ndarray, "b 4"]

    def __len__(self) -> int:
        return len(self.crop)

    def rows(self, first: int, last: int) -> "Noise":
        """The noise of images `first` to `last`."""
        return Noise(*(getattr(self, name)[first:last] for name in self.__slots__))

    def of(self, rows: Int64[np.ndarray, " m"]) -> "Noise":
        """The noise of the images in these rows."""
        return Noise(*(getattr(self, name)[rows] for name in self.__slots__))

    def mild(self) -> "Noise":
        """The same crops and mirrorings, and nothing else."""
        none = {name: getattr(self, name)[:, :0] for name in ("operations", "signs", "places")}
        nowhere = np.zeros_like(self.crop)
        return replace(self, **none, erased=nowhere, kept=np.ones(len(self)), pasted=nowhere)


def draw(choice: Augment, flips: str, count: int, rng: np.random.Generator) -> Noise:
    """The noise of `count` images: row i is the same however many follow it, but for mixup and cutmix."""
    n = choice.operations
    places, crops, erasing, rest = np.split(rng.random((count, 4 * n + 12)), (4 * n, 4 * n + 4, 4 * n + 9), axis=1)
    operations = places.reshape(count, n, 4)
    flipped = np.array([flips != "none", flips == "both"])
    kept, pasted = _mixture(choice, count, rest[:, 2], rng)
    return Noise(
        crop=crop_boxes(choice.crop, crops),
        operations=(operations[:, :, 0] * len(SETS[choice.operation_set])).astype(np.int64),
        signs=np.where(operations[:, :, 1] < 0.5, 1.0, -1.0),
        places=operations[:, :, 2:].copy(),
        mirrored=(rest[:, :2] < 0.5) & flipped,
        erased=_erased(choice.erase, erasing),
        kept=kept,
        pasted=pasted,
    )


def crop_boxes(smallest: float, uniform: Float64[np.ndarray, "b 4"]) -> Float64[np.ndarray, "b 4"]:
    """Boxes of at least `smallest` of the area, sides 3:4 to 4:3 of the image's own (Szegedy et al. 2015)."""
    area = smallest + (1 - smallest) * uniform[:, 0]
    ratio = np.exp((2 * uniform[:, 1] - 1) * np.log(4 / 3))
    wide = np.minimum(np.maximum(np.sqrt(area * ratio), area), 1.0)  # where the shape does not fit, the area is kept
    return _placed(wide, area / wide, uniform[:, 2:])


def _erased(share: float, uniform: Float64[np.ndarray, "b 5"]) -> Float64[np.ndarray, "b 4"]:
    """Random erasing (1708.04896): 2 to 40 % of the area, sides 3:10 to 10:3, in `share` of the images."""
    area = 0.02 + 0.38 * uniform[:, 1]
    ratio = np.exp((2 * uniform[:, 2] - 1) * np.log(10 / 3))
    wide = np.minimum(np.maximum(np.sqrt(area * ratio), area), 1.0)
    return np.where(uniform[:, :1] < share, _placed(wide, area / wide, uniform[:, 3:]), 0.0)


def _placed(
    wide: Float64[np.ndarray, " b"], high: Float64[np.ndarray, " b"], uniform: Float64[np.ndarray, "b 2"]
) -> Float64[np.ndarray, "b 4"]:
    """Boxes of these sides anywhere inside."""
    left, top = uniform[:, 0] * (1 - wide), uniform[:, 1] * (1 - high)
    return np.stack([left, top, left + wide, top + high], 1)


def _mixture(
    choice: Augment, count: int, coin: Float64[np.ndarray, " b"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, "b 4"]]:
    """Shares of mixup (1710.09412) and boxes of cutmix (1905.04899); where both are on, one of the two by a coin."""
    kept, pasted = np.ones(count), np.zeros((count, 4))
    share = choice.cutmix and (0.5 if choice.mixup else 1.0)
    cut = coin < share
    if choice.mixup:
        kept = np.where(cut, 1.0, rng.beta(choice.mixup, choice.mixup, count))
    if choice.cutmix:
        side = np.sqrt(1 - rng.beta(choice.cutmix, choice.cutmix, count))[:, None]
        centre = rng.random((count, 2))  # anywhere: what reaches out of the image is cut off, as in the paper's code
        box = np.concatenate([centre - side / 2, centre + side / 2], 1).clip(0, 1)
        pasted = np.where(cut[:, None], box, 0.0)
    return kept, pasted
