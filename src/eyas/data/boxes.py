"""Boxes as targets: rows of numbers that move with the image, and how a manifest's `boxes` become them.

The boxes of an image are `m` rows of six numbers one after the other: left, top, right and bottom as shares of the image's
sides, the number of the class, and 1 for a crowd (several things under one box) or 0. Images of one batch have equally many
rows; those that are not needed have class -1. So a batch of boxes is a `Batch` like any other, and an image without things
is one with empty rows only.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from eyas.data.manifest import Manifest
from eyas.data.noise import SETS, Noise, crop_boxes
from eyas.data.store import Store
from eyas.errors import UserError

WIDE = 6  # numbers a box
NONE = -1.0  # the class of an empty row
SMALLEST = 1.0  # pixels of the picture as it is: a box with a side below that shows nothing
TRIES = 20  # crops that are drawn until one shows enough of a thing; then the whole image is taken
COVERED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # share of a thing that a crop must show, one of them drawn
# What changes colours and moves nothing.
COLOURS = ("identity", "autocontrast", "equalize", "solarize", "color", "posterize", "contrast", "brightness", "sharpness")

Rows = Float32[np.ndarray, "_ 6"]


@dataclass(frozen=True, slots=True)
class Read:
    """What became of the boxes of some images.

    Attributes:
        targets: a padded row for each image.
        boxes: how many there are, crowds not counted.
        crowds: boxes around several things at once: nothing is learned from them, and evaluation holds no answer to them
            against a detector, as COCO's does.
        clipped: boxes that reached out of their picture, and were cut at its edge.
        empty: boxes that were left out, as a side of what lies within the picture is below one pixel.
    """

    targets: Float32[np.ndarray, "n k"]
    boxes: int
    crowds: int
    clipped: int
    empty: int

    @property
    def said(self) -> str:
        """A sentence about what is not learned from as it stands; "" where there is nothing to say."""
        counts = {
            "had no area within their picture and are left out": self.empty,
            "reached out of their picture and are cut at its edge": self.clipped,
            "are around crowds: nothing is learned from them": self.crowds,
        }
        told = [f"{count} {what}" for what, count in counts.items() if count]
        return f"of {self.boxes + self.crowds + self.empty} boxes {', '.join(told)}" if told else ""


def classes_of(manifest: Manifest) -> tuple[str, ...]:
    """The names in the boxes, sorted.

    Raises:
        UserError: there are no boxes.
    """
    names = {box["label"] for boxes in _boxes(manifest) for box in boxes}
    if not names:
        raise UserError("no image has a box; a detector learns from boxes, as COCO's JSON has them (see docs/detection.md)")
    return tuple(sorted(names))


def read_boxes(manifest: Manifest, store: Store, classes: Sequence[str]) -> Read:
    """The boxes of the manifest's images, which `store` holds, as targets.

    Raises:
        UserError: a box has a class that is not among `classes`, or a number that is not finite.
    """
    number = {name: index for index, name in enumerate(classes)}
    sizes = {name: store.index[name].to_pylist() for name in ("original_width", "original_height")}
    counts: Counter[str] = Counter()
    found = []
    for id, boxes in zip(manifest.column("id"), _boxes(manifest), strict=True):
        place = store.position(id)
        width, height = sizes["original_width"][place], sizes["original_height"][place]
        found.append(_rows(id, boxes, number, width, height, counts))
    return Read(pack(found), counts["boxes"], counts["crowds"], counts["clipped"], counts["empty"])


def pack(rows: Sequence[Rows], most: int = 0) -> Float32[np.ndarray, "n k"]:
    """Boxes of each image as one padded row; `most` is how many there is room for, 0 for as many as one image has."""
    room = most or max([1, *map(len, rows)])
    found = np.zeros((len(rows), room, WIDE), np.float32)
    found[:, :, 4] = NONE
    for row, boxes in zip(found, rows, strict=True):
        row[: len(boxes)] = boxes[:room]
    return found.reshape(len(rows), room * WIDE)


def unpack(row: Float32[np.ndarray, " k"]) -> Rows:
    """The boxes of one image, without the empty rows."""
    boxes = row.reshape(-1, WIDE)
    return boxes[boxes[:, 4] >= 0]


def fitted(
    noise: Noise,
    targets: Float32[np.ndarray, "b k"],
    smallest: float,
    operation_set: str,
    seeds: Sequence[tuple[int, ...]],
    sizes: Sequence[tuple[int, int]],
) -> Noise:
    """The noise for images with boxes: crops that show something, operations on colours only, nothing erased or mixed.

    A crop has at least `smallest` of the area and shows at least a drawn share of one of the things (the "minimum overlap" of
    SSD, 1512.02325, section 2.2, as the code of Huang et al., 1611.10012, draws it); of an image without things it is any.
    Each image has its own seed, so that what is drawn for it depends on nothing else in the batch. The edges of a crop lie
    between pixels of the image, whose `sizes` (height, width) are given, so that boxes move exactly as pixels do.
    """
    crops, operations = noise.crop.copy(), noise.operations.copy()
    names = SETS[operation_set]
    known = [names.index(name) for name in COLOURS if name in names]
    for row, (seed, size) in enumerate(zip(seeds, sizes, strict=True)):
        rng = np.random.default_rng(seed)
        operations[row] = rng.choice(known, operations.shape[1])
        crops[row] = _whole_pixels(_crop(unpack(targets[row]), smallest, rng), size)
    nowhere = np.zeros_like(noise.erased)
    return replace(noise, crop=crops, operations=operations, erased=nowhere, kept=np.ones(len(noise)), pasted=nowhere)


def moved(targets: Float32[np.ndarray, "b k"], noise: Noise) -> Float32[np.ndarray, "b k"]:
    """Boxes as they lie in the cropped and mirrored images; those whose middle is cut off become empty rows."""
    boxes = targets.reshape(len(targets), -1, WIDE).astype(np.float64)
    left, top, right, bottom = noise.crop.T[..., None]
    within = _middle_inside(boxes, noise.crop[:, None])
    boxes[..., [0, 2]] = ((boxes[..., [0, 2]] - left[..., None]) / (right - left)[..., None]).clip(0, 1)
    boxes[..., [1, 3]] = ((boxes[..., [1, 3]] - top[..., None]) / (bottom - top)[..., None]).clip(0, 1)
    for axis, turned in enumerate(noise.mirrored.T):
        boxes[turned, :, axis], boxes[turned, :, axis + 2] = 1 - boxes[turned, :, axis + 2], 1 - boxes[turned, :, axis]
    boxes[~within] = (0, 0, 0, 0, NONE, 0)
    return boxes.reshape(targets.shape).astype(np.float32)


def _boxes(manifest: Manifest) -> list[list[dict[str, Any]]]:
    if "boxes" not in manifest.extra:
        raise UserError("the data has no boxes; a detector learns from COCO's JSON (see docs/detection.md)")
    return [boxes or [] for boxes in manifest.column("boxes")]


def _rows(id: str, boxes: list[dict[str, Any]], number: dict[str, int], width: int, height: int, counts: Counter[str]) -> Rows:
    """The boxes of one image that have an area within it; what became of them is counted."""
    found = []
    for box in boxes:
        if box["label"] not in number:
            raise UserError(f"{id} has a box of {box['label']!r}, which is not among the classes {', '.join(number)}")
        given = np.array([box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]])
        if not np.isfinite(given).all():
            raise UserError(f"{id} has a box with a number that is not finite; mend it, or take the box out")
        inside = given.clip(0, [width, height, width, height])
        if (inside[2:] - inside[:2]).min() < SMALLEST:
            counts["empty"] += 1
            continue
        crowd = bool(box["crowd"])
        counts["crowds" if crowd else "boxes"] += 1
        counts["clipped"] += not np.allclose(inside, given, atol=0.5)  # half a pixel is how people round
        found.append([*inside / [width, height, width, height], number[box["label"]], crowd])
    return np.array(found, np.float32).reshape(-1, WIDE)


def _crop(boxes: Rows, smallest: float, rng: np.random.Generator) -> Float64[np.ndarray, " 4"]:
    whole = np.array([0.0, 0.0, 1.0, 1.0])
    if smallest == 1:
        return whole
    crops = crop_boxes(smallest, rng.random((TRIES, 4)))
    if not len(boxes):
        return crops[0]
    needed = rng.choice(COVERED, TRIES)[:, None]
    things = boxes[None, :, :4].astype(np.float64)
    overlap = np.minimum(things[..., 2:], crops[:, None, 2:]) - np.maximum(things[..., :2], crops[:, None, :2])
    share = overlap.clip(0).prod(2) / (things[..., 2:] - things[..., :2]).prod(2)
    fits = ((share >= needed) & _middle_inside(things, crops[:, None])).any(1)
    return crops[fits.argmax()] if fits.any() else whole


def _middle_inside(boxes: Float64[np.ndarray, "*b m _"], crops: Float64[np.ndarray, "*c 4"]) -> Bool[np.ndarray, "..."]:
    middle = (boxes[..., :2] + boxes[..., 2:4]) / 2
    return ((middle >= crops[..., :2]) & (middle < crops[..., 2:])).all(-1)


def _whole_pixels(crop: Float64[np.ndarray, " 4"], size: tuple[int, int]) -> Float64[np.ndarray, " 4"]:
    sides = np.array(size[::-1], np.float64)
    first = np.minimum(np.rint(crop[:2] * sides), sides - 1)
    last = np.maximum(np.rint(crop[2:] * sides), first + 1)
    return np.concatenate([first / sides, last / sides])
