"""Small pictures with boxes, written as COCO: bright squares and bars on noise, which a small detector learns in seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bar", "square")


def write_boxed(folder: Path, count: int, side: int = 48, seed: int = 0, splits: bool = True) -> Path:
    """`count` pictures with none to two things each, and `boxes.json` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(count):
        pixels = rng.integers(0, 60, (side, side, 3), dtype=np.uint8)
        for left in [each for each in (1, side // 2) if rng.random() < 0.7]:
            category = int(rng.integers(2))
            width, height = (6, 20) if category == 0 else (14, 14)
            x, y = left + int(rng.integers(0, 6)), int(rng.integers(1, side - height - 1))
            pixels[y : y + height, x : x + width] = (250, 60, 60) if category == 0 else (60, 60, 250)
            box = {"bbox": [x, y, width, height], "category_id": category, "image_id": number, "iscrowd": 0}
            annotations.append({"id": len(annotations), **box})
        name = f"{seed}-{number:03d}.png"
        Image.fromarray(pixels).save(folder / name)
        split = {"split": ("train", "train", "validation", "test")[number % 4]} if splits else {}
        images.append({"id": number, "file_name": name, "height": side, "width": side, **split})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return folder / "boxes.json"
