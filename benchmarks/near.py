"""Leaks planted and found: copies of real images, changed on the way, looked for among all images of their data set.

    python benchmarks/near.py [--case NAME] [--json] [--out benchmarks/results] [--planted 500]

Three measures. Recall: of the planted images, the share whose original was found. Pairs in the data as it is: near copies
among the untouched images, which are its own duplicates and the false alarms. Time: of measuring an image and of searching.
The peer, where imagehash is installed, is its 64-bit phash: how long it takes, and what it finds when each of the eight
views is hashed and the distance may be at most 4, its share of wrong pairs beside it.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from eyas.data.builtin import elpv, fashion_mnist
from eyas.data.decode import decode
from eyas.data.near import near_copies
from eyas.data.quality import THUMBNAIL, look
from eyas.deploy.measure import machine
from eyas.run import write_json

TURN = Image.Transpose
DATA = {"elpv": elpv, "fashion-mnist": fashion_mnist}
SYNTHETIC = 100_000


def encoded(image: Image.Image, kind: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(file).convert(image.mode)


def cropped(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    width, height = round(image.width * share), round(image.height * share)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def resized(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BILINEAR)


Change = Callable[[Image.Image, np.random.Generator], Image.Image]
CHANGES: dict[str, Change] = {
    "copy": lambda image, _: image,
    "jpeg 30": lambda image, _: encoded(image, "JPEG", 30),
    "jpeg 60": lambda image, _: encoded(image, "JPEG", 60),
    "jpeg 95": lambda image, _: encoded(image, "JPEG", 95),
    "webp 30": lambda image, _: encoded(image, "WEBP", 30),
    "webp 80": lambda image, _: encoded(image, "WEBP", 80),
    "half the size": lambda image, _: resized(image, 0.5),
    "one and a half times the size": lambda image, _: resized(image, 1.5),
    "brighter by 15 %": lambda image, _: image.point(lambda level: min(255, 1.15 * level)),
    "darker by 15 %": lambda image, _: image.point(lambda level: 0.85 * level),
    "mirrored": lambda image, _: image.transpose(TURN.FLIP_LEFT_RIGHT),
    "upside down": lambda image, _: image.transpose(TURN.FLIP_TOP_BOTTOM),
    "quarter turn": lambda image, _: image.transpose(TURN.ROTATE_90),
    "half turn": lambda image, _: image.transpose(TURN.ROTATE_180),
    "transverse and jpeg 60": lambda image, _: encoded(image.transpose(TURN.TRANSVERSE), "JPEG", 60),
    "cropped to 98 % of the sides": lambda image, rng: cropped(image, 0.98, rng),
    "cropped to 95 % of the sides": lambda image, rng: cropped(image, 0.95, rng),
    "cropped to 95 %, mirrored, jpeg 60": lambda image, rng: encoded(
        cropped(image, 0.95, rng).transpose(TURN.FLIP_LEFT_RIGHT), "JPEG", 60
    ),
}
CASES = (*DATA, "synthetic")


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def thumbnail(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return np.frombuffer(look(pixels[..., None] if pixels.ndim == 2 else pixels).thumbnail, np.uint8)


def square(thumbnails: list[np.ndarray]) -> np.ndarray:
    return np.stack(thumbnails).reshape(-1, THUMBNAIL, THUMBNAIL)


def on_data(name: str, planted: int) -> list[dict[str, object]]:
    manifest = DATA[name]()
    images = [picture(decode(source)) for source in manifest.column("source")]
    start = time.perf_counter()
    references = square([thumbnail(image) for image in images])
    measured = time.perf_counter() - start
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(images), min(planted, len(images)), replace=False)
    rows = []
    for change, make in CHANGES.items():
        found = near_copies(square([thumbnail(make(images[row], rng)) for row in chosen]), references)
        recall = len(set(found.query[chosen[found.query] == found.reference].tolist())) / len(chosen)
        rows.append({"case": f"{name}: {change}", "eyas_value": round(recall, 4), "unit": "recall"})
    start = time.perf_counter()
    within = near_copies(references, references, itself=True)
    searched = time.perf_counter() - start
    labels = np.array(manifest.column("label"))
    differ = int((labels[within.query] != labels[within.reference]).sum())
    rows += [
        {"case": f"{name}: pairs among {len(images)} untouched images", "eyas_value": len(within.query), "unit": "pairs"},
        {"case": f"{name}: of which with different labels", "eyas_value": differ, "unit": "pairs"},
        {"case": f"{name}: measuring 1,000 images", "eyas_value": round(1000 * measured / len(images), 3), "unit": "s"},
        {"case": f"{name}: searching all against all", "eyas_value": round(searched, 2), "unit": "s"},
        {"case": f"{name}: searching 1,000 images", "eyas_value": round(1000 * searched / len(images), 3), "unit": "s"},
    ]
    return rows + by_imagehash(name, images, chosen, rng)


def by_imagehash(name: str, images: list[Image.Image], chosen: np.ndarray, rng: np.random.Generator) -> list[dict[str, object]]:
    try:
        from imagehash import phash
    except ImportError:
        return []

    def bits(image: Image.Image) -> np.ndarray:
        return np.packbits(phash(image).hash.reshape(-1)).view(np.uint64)[0]

    start = time.perf_counter()
    known = np.array([bits(image) for image in images])
    spent = time.perf_counter() - start
    rows: list[dict[str, object]] = [
        {"case": f"{name}: imagehash.phash of 1,000 images", "peer_value": round(1000 * spent / len(images), 3), "unit": "s"}
    ]
    for change in ("jpeg 30", "mirrored", "cropped to 95 % of the sides"):
        right = wrong = 0
        for row in chosen:
            image = CHANGES[change](images[row], rng)
            hashes = [bits(image), *(bits(image.transpose(how)) for how in TURN)]
            near = np.min([np.bitwise_count(known ^ each) for each in hashes], 0) <= 4
            right += bool(near[row])
            wrong += int(near.sum()) - bool(near[row])
        case, wrongly = f"{name}: imagehash.phash, {change}", round(wrong / len(chosen), 2)
        rows.append({"case": case, "peer_value": round(right / len(chosen), 4), "unit": "recall"})
        rows.append({"case": f"{case}, other images found for each", "peer_value": wrongly, "unit": "images"})
    return rows


def on_synthetic() -> list[dict[str, object]]:
    """Every image of one lot against those of another: detail at every scale, as in photographs, and no copies."""
    rng = np.random.default_rng(0)
    slope = 1 / np.maximum(np.hypot(*np.meshgrid(np.fft.fftfreq(THUMBNAIL), np.fft.fftfreq(THUMBNAIL))), 1 / THUMBNAIL)
    lots = []
    for _ in range(2):
        lot = np.empty((SYNTHETIC, THUMBNAIL, THUMBNAIL), np.uint8)
        for start in range(0, SYNTHETIC, 1000):
            noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(1000, THUMBNAIL, THUMBNAIL))) * slope).real
            lot[start : start + 1000] = np.clip(128 + 50 * noise / noise.std((1, 2), keepdims=True), 0, 255)
        lots.append(lot)
    lots[0][:1000] = lots[1][:1000, ::-1]  # mirrored copies
    start = time.perf_counter()
    found = near_copies(lots[0], lots[1])
    spent = time.perf_counter() - start
    right = int((found.query == found.reference).sum())
    case = f"synthetic: {SYNTHETIC} against {SYNTHETIC}"
    return [
        {"case": case, "eyas_value": round(spent, 1), "unit": "s"},
        {"case": f"{case}: of 1,000 mirrored copies", "eyas_value": right / 1000, "unit": "recall"},
        {"case": f"{case}: wrong pairs", "eyas_value": len(found.query) - right, "unit": "pairs"},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--planted", type=int, default=500, help="images of each data set that are changed and looked for")
    given = parser.parse_args()
    found = []
    for case in [given.case] if given.case else CASES:
        for row in on_synthetic() if case == "synthetic" else on_data(case, given.planted):
            found.append(row)
            value = row.get("eyas_value", row.get("peer_value"))
            print(json.dumps(row) if given.json else f"{row['case']:62s} {value} {row['unit']}", flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "near.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
