"""SSD and Faster R-CNN on emoji pasted on photographs: mean average precision on emoji that training never showed.

    python benchmarks/detect.py [--images 2400] [--steps 2000] [--batch 16] [--resolutions 128 192]
        [--forms ssd faster_rcnn] [--arch mobilenet_v1x0.25] [--weights none] [--looks 0]
        [--case ssd@128] [--folder DIR] [--json] [--out FOLDER]

The pictures: random parts of the sample photographs that scikit-learn and scikit-image bring along (320 pixels), on each one
to five emoji of four vendors (benchmarks/emoji.py: fetched by npm, never redistributed), 32 to 128 pixels wide, mirrored and
turned a little. What an emoji is of is its class (smileys, food, animals, travel). The emoji are split, not the pictures: one
that stands in a picture of the test split is in none of the others, by whichever vendor, so that a class is tested on things
of it that were not seen. About one picture in twenty has nothing on it. Photographs are shared by the splits.

Everything is a run of Eyas in --folder: what was stopped goes on there, and what is done is not done again. --out keeps the
rows of other cases that a file there has. Of Faster R-CNN, which looks at 300 regions of every picture, an evaluation takes
as long as a hundred steps: --looks 1 has only the one at the end.
"""

import argparse
import json
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from emoji import VENDORS, Emoji, drawn, fetch, opened
from PIL import Image

from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.errors import UserError
from eyas.nn.detector import Form
from eyas.places import user_cache
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, read_json, write_atomic, write_json
from eyas.studies.detection import Boxed, read_boxed, tested_boxes
from eyas.studies.learning import EVALUATIONS, start
from eyas.studies.prepare import prepare
from eyas.studies.train_detect import train_detect

SIDE = 320  # pixels of a picture
WIDTHS = (32, 128)  # of an emoji on it
MOST = 5  # on a picture
CLASSES = {"Smileys & Emotion": "smiley", "Food & Drink": "food", "Animals & Nature": "animal", "Travel & Places": "travel"}
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}  # of the pictures, and of the emoji of each class
FORMS: tuple[Form, ...] = ("ssd", "ssdlite", "faster_rcnn")

Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A class and its emoji."""

    name: str
    emoji: tuple[Emoji, ...]


def photographs() -> list[Image.Image]:
    """Those that are installed with scikit-learn, and with scikit-image where it is there."""
    found: list[Path] = []
    for package, folder in (("sklearn", "datasets/images"), ("skimage", "data")):
        known = find_spec(package)
        if known and known.origin:
            found += sorted(file for file in (Path(known.origin).parent / folder).iterdir() if file.suffix in (".jpg", ".png"))
    opened_ones = [Image.open(file).convert("RGB") for file in found]
    large = [image for image in opened_ones if min(image.size) >= SIDE]
    if not large:
        raise UserError("no sample photograph is installed; pip install scikit-learn brings two")
    return large


def kinds(cache: Path | None) -> dict[str, list[Kind]]:
    """The emoji of each split, by class."""
    root = fetch(cache)
    entries = json.loads((root / VENDORS[0] / "emoji.json").read_text())
    categories = {entry["unified"]: entry["category"] for entry in entries}
    every = drawn(root)
    found: dict[str, list[Kind]] = {split: [] for split in SHARES}
    for category, name in CLASSES.items():
        of = [each for each in every if categories[each.code] == category]
        order = np.random.default_rng(0).permutation(len(of))
        ends = np.rint(np.cumsum([0, *SHARES.values()]) * len(of)).astype(int)
        for split, first, last in zip(SHARES, ends[:-1], ends[1:], strict=True):
            found[split].append(Kind(name, tuple(of[row] for row in order[first:last])))
    return found


def picture(photos: list[Image.Image], given: list[Kind], rng: np.random.Generator) -> tuple[Image.Image, list[Row]]:
    """A part of a photograph with emoji on it, and what is where: class and x, y, width, height in pixels."""
    photo = photos[rng.integers(len(photos))]
    part = int(rng.integers(SIDE * 2 // 3, min(photo.size) + 1))
    left, top = (int(rng.integers(0, side - part + 1)) for side in photo.size)
    image = photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + part, top + part))
    boxes: list[Row] = []
    for _ in range(rng.integers(1, MOST + 1) if rng.random() > 0.05 else 0):
        number = int(rng.integers(len(given)))
        sticker = _sticker(given[number], rng)
        for _ in range(10):  # places that cover another one are drawn again; then the emoji is left out
            x, y = (int(rng.integers(0, SIDE - side + 1)) for side in sticker.size)
            box = (x, y, *sticker.size)
            if all(_apart(box, other["bbox"]) for other in boxes):
                image.paste(sticker, (x, y), sticker)
                boxes.append({"category_id": number, "bbox": list(box)})
                break
    return image, boxes


def _sticker(kind: Kind, rng: np.random.Generator) -> Image.Image:
    """An emoji at some size, cut to what is seen of it."""
    one = kind.emoji[rng.integers(len(kind.emoji))]
    image = Image.fromarray(opened(one.pictures[rng.integers(len(one.pictures))]))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width = round(float(np.exp(rng.uniform(*np.log(WIDTHS)))))
    image = image.resize((width, width), Image.Resampling.BICUBIC).rotate(
        rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True
    )
    return image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 64)).getbbox())


def _apart(one: tuple[int, ...], other: list[int]) -> bool:
    """Whether two boxes have little in common: less than a tenth of the smaller."""
    sides = [
        max(0, min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])) for axis in (0, 1)
    ]
    return sides[0] * sides[1] < 0.1 * min(one[2] * one[3], other[2] * other[3])


def write_data(folder: Path, images: int, cache: Path | None) -> Path:
    """The pictures, and COCO's JSON beside them, written last."""
    listing = folder / "boxes.json"
    if listing.exists():
        return listing
    folder.mkdir(parents=True, exist_ok=True)
    photos, given = photographs(), kinds(cache)
    ends = np.cumsum([share * images for share in SHARES.values()])
    entries, annotations = [], []
    for number in range(images):
        split = list(SHARES)[int(np.searchsorted(ends, number, side="right").clip(max=len(SHARES) - 1))]
        made, boxes = picture(photos, given[split], np.random.default_rng((1, number)))
        name = f"{number:06d}.jpg"
        made.save(folder / name, quality=92)
        entries.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE, "split": split})
        for box in boxes:
            area = box["bbox"][2] * box["bbox"][3]
            annotations.append({"id": len(annotations), "image_id": number, "iscrowd": 0, "area": area, **box})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES.values())]
    found = {"images": entries, "annotations": annotations, "categories": categories}
    write_atomic(listing, json.dumps(found).encode())
    return listing


def trained(data: Path, out: Path, arch: str, weights: str, form: Form, steps: int, batch: int, looks: int, seed: int) -> Row:
    """One detector: trained, and judged on the test split."""
    value = parse(arch)
    training = Training(
        epochs=0.01,
        min_steps=steps,
        batch=batch,
        rate=3e-3,
        drop_path=0.0,
        weight_decay=0.01,
        precision="float32",
        compile="off",
        checkpoint_every=100,
        evaluate_every=-(-steps // looks) if looks else 0,
        augment=Augment(operations=1, magnitude=3.0, crop=0.5),
    )
    with Run.open(out) as run:
        ready = prepare(run, str(data), None, 0, Splits(), value.resolution, seed, False, to_train=False, reader=read_boxed)
        done = train_detect(run, start(value, weights), ready, training, seed, form)
        tested = tested_boxes(run, "test", done, Boxed.of(ready)).result
    splits = ready.manifest.column("split")
    return {
        "case": f"{form}@{value.resolution}",
        "arch": arch,
        "weights": weights,
        "map": tested["mean"]["value"],
        "low": tested["mean"]["low"],
        "high": tested["mean"]["high"],
        "map_50": tested["at_50"],
        "map_75": tested["at_75"],
        "classes": tested["classes"],
        "images": {split: splits.count(split) for split in SHARES},
        "things": tested["things"],
        "photographs": len(photographs()),
        "madds": done.result["madds"],
        "params": done.result["params"],
        "steps": done.result["steps"],
        "best_step": done.result["best_step"],
        "batch": batch,
        "looks": looks or EVALUATIONS,
    }


def line(row: Row) -> str:
    """A row for the reader of a terminal."""
    figures = (
        f"mAP {100 * row['map']:5.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f}), at 0.5 {100 * row['map_50']:.1f} %"
    )
    cost = f"{row['madds'] / 1e6:.0f} M MAdds, {row['params'] / 1e6:.2f} M parameters"
    return f"{row['case']:16s} {figures}; {cost}; {row['steps']} steps of {row['batch']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2400, help="pictures in all three splits")
    parser.add_argument("--steps", type=int, nargs="+", default=[2000], help="optimizer steps: of all, or of each of --forms")
    parser.add_argument("--batch", type=int, nargs="+", default=[16], help="pictures a step: of all, or of each of --forms")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 192])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["ssd", "faster_rcnn"])
    parser.add_argument("--arch", default="mobilenet_v1x0.25", help="without a resolution")
    parser.add_argument("--weights", default="none", help="what the blocks begin with, as eyas train takes it")
    parser.add_argument("--looks", type=int, default=0, help="evaluations on the way; 0: as many as eyas train has")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="one of them alone, for example ssd@128")
    parser.add_argument("--cache", type=Path, help="folder of the emoji; the user's cache where it is not given")
    parser.add_argument("--folder", type=Path, default=user_cache() / "detect", help="where pictures and runs go, and stay")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    if not all(len(each) in (1, len(given.forms)) for each in (given.steps, given.batch)):
        parser.error("--steps and --batch take one number, or one for each of --forms")
    plan = list(zip(given.forms, cycle(given.steps), cycle(given.batch), strict=False))
    data = write_data(given.folder / f"images-{given.images}", given.images, given.cache)
    rows = []
    for resolution in given.resolutions:
        for form, steps, batch in plan:
            if given.case and given.case != f"{form}@{resolution}":
                continue
            arch = f"{given.arch}@{resolution}"
            parts = (given.images, arch.replace("@", "-"), given.weights, form, steps, batch, given.seed)
            name = "-".join(map(str, (*parts, *([given.looks] if given.looks else []))))
            out = given.folder / name.replace("/", "_")
            rows.append(trained(data, out, arch, given.weights, form, steps, batch, given.looks, given.seed))
            print(json.dumps(rows[-1]) if given.json else line(rows[-1]), flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        kept = read_json(given.out / "detect.json")["rows"] if (given.out / "detect.json").exists() else []
        rows = [*(row for row in kept if row["case"] not in {new["case"] for new in rows}), *rows]
        told = {"date": str(date.today()), "machine": machine(), "rows": sorted(rows, key=lambda row: row["case"])}
        write_json(given.out / "detect.json", told)


if __name__ == "__main__":
    main()
