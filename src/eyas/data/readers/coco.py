"""COCO instances: images, the boxes in them, and what the boxes hold (Lin et al. 2014)."""

from collections import defaultdict
from collections.abc import Generator
from typing import Any

from eyas.data.manifest import Manifest
from eyas.data.readers.folders import SPLIT_NAMES
from eyas.data.readers.places import Place, folder_of
from eyas.data.readers.rows import Row, file_row, manifest_of
from eyas.errors import UserError

PARTS = ("images", "annotations", "categories")


def fits(found: Any) -> bool:
    """Whether JSON is COCO: its three lists are there."""
    return isinstance(found, dict) and all(isinstance(found.get(part), list) for part in PARTS)


def read(place: Place, found: dict[str, Any], labelled: bool) -> Manifest:
    """The images with the names of their categories in `labels`, and `label` where there is only one.

    The column `boxes` has a list of `{x, y, width, height, label, crowd}` for each image, in pixels of the picture as it
    is seen (upright), x and y of the upper left corner. An image may say its `split` (train, validation or test) and its
    `group`, as a row of a list may; a `split` of another name is somebody else's, and is not looked at.

    Raises:
        UserError: naming the entry: a file that is not there, an image or a category that no entry has.
    """
    return manifest_of(place, _rows(place, found), labelled, "coco")


def _rows(place: Place, found: dict[str, Any]) -> Generator[Row]:
    names = {
        _of(place, "categories", i, entry, "id"): _of(place, "categories", i, entry, "name")
        for i, entry in enumerate(found["categories"])
    }
    images = [
        (_of(place, "images", i, entry, "id"), _of(place, "images", i, entry, "file_name"), _split(entry), entry.get("group"))
        for i, entry in enumerate(found["images"])
    ]
    boxes = _boxes(place, found["annotations"], {id for id, *_ in images}, names)
    folder = folder_of(place, [name for _, name, *_ in images])
    for i, (id, name, split, group) in enumerate(images):
        labels = sorted({box["label"] for box in boxes[id]})
        cells = {"labels": labels, "boxes": boxes[id], "split": split, "group": group}
        yield file_row(place, folder, f"images[{i}]", name, cells)


def _split(entry: dict[str, Any]) -> str | None:
    given = entry.get("split")
    return given if isinstance(given, str) and given.lower() in SPLIT_NAMES else None


def _boxes(place: Place, annotations: list[Any], images: set[Any], names: dict[Any, str]) -> dict[Any, list[dict[str, Any]]]:
    """Boxes by the id of their image."""
    boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for i, entry in enumerate(annotations):
        image, category = (_of(place, "annotations", i, entry, key) for key in ("image_id", "category_id"))
        if image not in images or category not in names:
            lost = f"image {image}" if image not in images else f"category {category}"
            raise UserError(f"{place}, annotations[{i}]: there is no {lost}; every annotation needs its image and its category")
        x, y, width, height = _corners(place, i, entry)
        box = {"x": x, "y": y, "width": width, "height": height}
        boxes[image].append({**box, "label": names[category], "crowd": bool(entry.get("iscrowd"))})
    return boxes


def _corners(place: Place, i: int, entry: dict[str, Any]) -> list[float]:
    box = _of(place, "annotations", i, entry, "bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
        raise UserError(f"{place}, annotations[{i}]: the bbox {box!r} is not [x, y, width, height] in pixels")
    return [float(value) for value in box]


def _of(place: Place, part: str, i: int, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or entry.get(key) is None:
        raise UserError(f"{place}, {part}[{i}]: no {key!r}; COCO's instances have it in every entry of {part}")
    return entry[key]
