"""From the numbers that an exported SSD gives to boxes, in numpy alone: this file is copied to the device beside predict.py.

    found = decode(model(image)[0], facts)   # boxes as shares of the picture's sides, classes, scores: the surest first

It gives what Eyas evaluates with (torchvision's decoding and suppression, class by class); the tests hold one against the
other. Python 3.9 or later; Pillow (10.1 or later) only to draw.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

LOWEST = 0.01  # score of an answer
OVERLAP = 0.5  # above this, the less certain of two boxes of one class is taken for the same thing
CANDIDATES = 400  # of a class, before that
FOUND = 100  # in a picture
LARGEST = np.float32(np.log(1000 / 16))  # of a log side, so that exp cannot overflow
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075", "#e6007e")


def decode(
    raw: np.ndarray,
    facts: dict[str, Any],
    lowest: float = LOWEST,
    overlap: float = OVERLAP,
    candidates: int = CANDIDATES,
    most: int = FOUND,
) -> dict[str, np.ndarray]:
    """What was found in one picture.

    Args:
        raw: the row of numbers that the model gives for the picture, float32.
        facts: what artifact.json has under "boxes": sides and shapes of the default boxes, and the offsets' scale.
        lowest: score of an answer.
        overlap: intersection over union above which two boxes of one class are one thing.
        candidates: of a class, before overlaps are suppressed.
        most: answers to a picture.

    Returns:
        `boxes` [m, 4]: left, top, right and bottom as shares of the picture's sides; `classes` [m], from 0; `scores` [m].
    """
    anchors = default_boxes(facts)
    rows = np.asarray(raw, np.float32).reshape(len(anchors), -1)
    boxes, scores = placed(rows[:, :4], anchors, facts["coordinates"]), rows[:, 5:]
    found = []
    for number in range(scores.shape[1]):
        order = np.argsort(-scores[:, number], kind="stable")[:candidates]
        order = order[scores[order, number] > lowest]
        found += [(scores[row, number], number, row) for row in order[kept(boxes[order], overlap)]]
    found = sorted(found, key=lambda each: -each[0])[:most]
    certain, classes, places = zip(*found) if found else ((), (), ())  # noqa: B905 (strict= is Python 3.10's)
    return {
        "boxes": boxes[np.array(places, np.int64)],
        "classes": np.array(classes, np.int64),
        "scores": np.array(certain, np.float32),
    }


def default_boxes(facts: dict[str, Any]) -> np.ndarray:
    """Centre x and y, width and height of every default box, float32 [n, 4]: by map, row, column, shape."""
    found = []
    for each in facts["maps"]:
        side, shapes = each["side"], np.array(each["shapes"])
        middle = (np.arange(side) + 0.5) / side
        y, x, shape = np.meshgrid(middle, middle, np.arange(len(shapes)), indexing="ij")
        found.append(np.stack([x, y, shapes[shape, 0], shapes[shape, 1]], -1).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)


def placed(offsets: np.ndarray, anchors: np.ndarray, coordinates: Sequence[float]) -> np.ndarray:
    """Default boxes moved and stretched by their offsets, cut at the picture's edge: left, top, right, bottom."""
    moves = offsets / np.array(coordinates, np.float32)
    middle = moves[:, :2] * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(np.minimum(moves[:, 2:], LARGEST)) * anchors[:, 2:] / 2
    return np.concatenate([middle - half, middle + half], 1).clip(0, 1)


def kept(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Which of the boxes, the surest first, stay when those that overlap with a surer one go."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, found = np.arange(len(boxes)), []
    while len(left):
        best, left = left[0], left[1:]
        found.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        common = sides.clip(0).prod(1)
        left = left[common <= overlap * (areas[best] + areas[left] - common)]
    return np.array(found, np.int64)


def listed(
    found: dict[str, np.ndarray], names: Sequence[str], threshold: float | None, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """What was found in a picture of a width and height as predict.py tells it: label, confidence, corners in pixels.

    Each is `sure` where its confidence is the model's threshold or more; None where the model has none.
    """
    return [
        {
            "label": names[number],
            "confidence": round(score, 6),
            "sure": None if threshold is None else score >= threshold,
            "box": [round(float(share) * side, 1) for share, side in zip(box, size * 2)],  # noqa: B905
        }
        for box, number, score in zip(found["boxes"], found["classes"], found["scores"].astype(float).tolist())  # noqa: B905
    ]


def drawn(picture: Any, boxes: list[dict[str, Any]], lowest: float = 0.5) -> Any:
    """A copy of a Pillow picture with a frame, a name and a confidence for each of the listed boxes that is sure.

    Where the model has no threshold, `lowest` is the least confidence of a box that is drawn.
    """
    from PIL import ImageDraw, ImageFont

    made = picture.convert("RGB")
    draw, line = ImageDraw.Draw(made), max(1, round(max(made.size) / 300))
    font = ImageFont.load_default(max(10, round(max(made.size) / 40)))
    names = sorted({each["label"] for each in boxes})
    shown = [each for each in boxes if (each["confidence"] >= lowest if each["sure"] is None else each["sure"])]
    for each in reversed(shown):  # the surest on top
        left, top, right, bottom = (round(place) for place in each["box"])
        colour, text = COLOURS[names.index(each["label"]) % len(COLOURS)], f"{each['label']} {each['confidence']:.2f}"
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        wide, high = draw.textbbox((0, 0), text, font)[2:]
        x, y = max(0, min(left, made.width - wide - 4)), max(0, top - high - 4)
        draw.rectangle((x, y, x + wide + 4, y + high + 4), fill=colour)
        draw.text((x + 2, y + 2), text, "white", font)
    return made


def drawing(folder: str) -> Callable[[str, np.ndarray, list[dict[str, Any]]], None]:
    """Draws boxes on pictures (name, pixels uint8 [h, w, 1 or 3], boxes) into new files of a folder, PICTURE-boxes.png.

    Nothing that is there is written over: a second one is PICTURE-boxes-2.png.
    """
    from PIL import Image

    def draw(name: str, picture: np.ndarray, boxes: list[dict[str, Any]]) -> None:
        content = io.BytesIO()
        drawn(Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture), boxes).save(content, "PNG")
        Path(folder).mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = Path(folder, f"{Path(name).stem}-boxes{f'-{number}' if number > 1 else ''}.png")
            with suppress(FileExistsError), path.open("xb") as file:
                file.write(content.getvalue())
                return

    return draw
