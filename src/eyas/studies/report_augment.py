"""The report's page of augmented images: the same pictures, as they are and as training sees them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt8

from eyas.data.augment import prepare
from eyas.data.batches import Examples, Part, Stream
from eyas.recipe import Augment
from eyas.report.items import Gallery

ACROSS = 8  # pictures in a row of a page
NOTE = "Each row begins with a picture as it is evaluated; the others are what training sees of it, drawn as training draws."

Pixels = UInt8[np.ndarray, "_ _ _"]
Target = Float32[np.ndarray, " k"]


@dataclass(frozen=True)
class Shown:
    """How a picture is shown with what is to be learned from it.

    Attributes:
        caption: what its target says.
        drawn: the picture with what its target says where.
    """

    caption: Callable[[Target], str]
    drawn: Callable[[Pixels, Target], Pixels] = lambda pixels, _: pixels


def of_classes(names: tuple[str, ...]) -> Shown:
    """Under each picture its class."""
    return Shown(lambda target: names[int(target.argmax())])


def gallery(
    examples: Examples,
    shown: Shown,
    choice: Augment,
    flips: str,
    resolution: int,
    seed: int,
    pictures: int = 4,
    view: float = 1.0,
) -> Gallery:
    """`pictures` of the examples, evenly from all: each as it is, and seven times with the noise that `choice` asks for.

    `flips` is `none`, `horizontal` or `both`, as `Data.mirrors` says, and `view` the share of the sides that evaluation sees.
    Where images are mixed, they are with each other.
    """
    rows = np.unique(np.linspace(0, len(examples) - 1, min(pictures, len(examples))).round().astype(np.int64))
    some = replace(examples, positions=examples.positions[rows], targets=examples.targets[rows])
    stream = Stream((Part(some, len(rows)),), choice, flips, resolution, seed)
    views = [_drawn(stream, step, shown) for step in range(ACROSS - 1)]
    pages = []
    for row, (position, target) in enumerate(zip(some.positions.tolist(), some.targets, strict=True)):
        name, whole = shown.caption(target), prepare(some.store[position], resolution, view)
        pages.append((shown.drawn(whole, target), f"{name}, as it is"))
        pages += [(of[row], name) for of in views]
    return Gallery("Augmented images", tuple(pages), NOTE)


def _drawn(stream: Stream, step: int, shown: Shown) -> dict[int, Pixels]:
    """The pictures of a batch by their place among the examples, with the targets that they have there."""
    batch = stream.at(step)
    pairs = zip(batch.images.numpy(), batch.targets.numpy(), strict=True)
    return {row: shown.drawn(*pair) for row, pair in zip(stream.rows(0, step), pairs, strict=True)}
