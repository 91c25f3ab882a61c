"""The report's page of augmented images: the same pictures, as they are and as training sees them."""

import numpy as np

from eyas.data.augment import prepare
from eyas.data.batches import Examples, Part, Stream
from eyas.recipe import Augment
from eyas.report.items import Gallery

ACROSS = 8  # pictures in a row of a page
NOTE = "Each row begins with a picture as it is evaluated; the others are what training sees of it, drawn as training draws."


def gallery(
    examples: Examples,
    classes: tuple[str, ...],
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
    some = Examples(examples.store, examples.positions[rows], examples.targets[rows], examples.labelled)
    stream = Stream((Part(some, len(rows)),), choice, flips, resolution, seed)
    shown = []
    views = [dict(zip(stream.rows(0, step), stream.at(step).images.numpy(), strict=True)) for step in range(ACROSS - 1)]
    for row, position in enumerate(some.positions.tolist()):
        name = classes[int(some.targets[row].argmax())]
        shown.append((prepare(some.store[position], resolution, view), f"{name}, as it is"))
        shown += [(view[row], name) for view in views]
    return Gallery("Augmented images", tuple(shown), NOTE)
