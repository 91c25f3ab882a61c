"""A pile of a million small images, labelled, filtered and balanced: memory, and whether the rate stays even.

    python benchmarks/pile.py [--images 1000000] [--json] [--out benchmarks/results] [--folder DIR]

Synthesises JPEG files of 32x32 pixels in WebDataset shards of 10,000 (2 GB for a million, in a temporary folder unless
--folder keeps them), trains a small network on 1,000 others, and labels the pile with it as `eyas label` does and chooses
from it as a round of `eyas fit` does (temperature, threshold, outliers, balance), in a process of its own.

* memory: the peak of that process (VmHWM) in megabytes, after each stage.
* label: images a second, over all and for each tenth of the pile. `evenness` is the slowest tenth over the fastest by the
  clock, `evenness_processor` by processor time, which other programs on the machine disturb less; `trend` is the slope of
  the latter over the whole pile, as a share of its mean.
* select: seconds for both passes; rows are what a student would train on.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it: threads that wait leave the cores to others soon
from eyas.data.jpeg import encode
from eyas.deploy.measure import machine
from eyas.progress import listening
from eyas.recipe import Augment, SelfTraining, Training
from eyas.run import write_json
from eyas.studies.label import label
from eyas.studies.prepare import load
from eyas.studies.select import choose
from eyas.studies.train import train

SIDE = 32
CLASSES = 10
SHARD = 10_000
LABELLED = 1000
ARCH = "mobilenet_v1x0.25@32/16"
TENTHS = 10
LIMIT_MB = 3000
LABELLING = "labelling the pile"

Row = dict[str, Any]


def pictures(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n, 32, 32, 3] and their classes: one of ten gratings, under noise that is sometimes too strong."""
    classes = rng.choice(CLASSES, count, p=np.arange(1, CLASSES + 1) / np.arange(1, CLASSES + 1).sum())
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    angles = (classes % 5) * np.pi / 5
    periods = np.where(classes < 5, 4.0, 8.0)
    along = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
    waves = np.sin(2 * np.pi * along / periods[:, None, None] + rng.uniform(0, 2 * np.pi, (count, 1, 1)))
    strength = rng.uniform(5, 60, (count, 1, 1))
    colours = rng.uniform(0.3, 1, (count, 1, 1, 3))
    noise = rng.integers(-40, 41, (count, SIDE, SIDE, 1), dtype=np.int16)
    found = 128 + (strength * waves)[..., None] * colours + noise
    return np.clip(found, 0, 255).astype(np.uint8), classes


def write_shards(folder: Path, images: int) -> None:
    """The pile as tar files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, images, SHARD)):
        path = folder / f"pile-{number:05d}.tar"
        if path.exists():
            continue
        rng = np.random.default_rng((1, number))
        part = path.with_suffix(".part")
        with tarfile.open(part, "w") as tar:
            for first in range(0, min(SHARD, images - start), 1000):
                drawn, _ = pictures(rng, min(1000, images - start - first))
                for row, picture in enumerate(drawn):
                    content = encode(picture)
                    member = tarfile.TarInfo(f"{start + first + row:08d}.jpg")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        part.rename(path)


def write_labelled(folder: Path) -> None:
    drawn, classes = pictures(np.random.default_rng(0), LABELLED)
    for number, (picture, name) in enumerate(zip(drawn, classes, strict=True)):
        file = folder / f"class{name}" / f"{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(picture))


class Clock:
    """When each image of a labelling was done, by the clock and by processor time."""

    def __init__(self) -> None:
        self.times: list[tuple[int, float, float]] = []

    def begin(self, label: str, total: int | None) -> None:  # noqa: ARG002 (the protocol's form)
        if label == LABELLING:
            self.advance(label, 0, "")

    def advance(self, label: str, done: int, note: str) -> None:  # noqa: ARG002 (the protocol's form)
        if label == LABELLING:
            self.times.append((done, time.perf_counter(), time.process_time()))

    def end(self, label: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def rates(self) -> tuple[list[float], list[float]]:
        """Images a second of each tenth, by the clock and by processor time."""
        done, clock, processor = (np.array(values, float) for values in zip(*self.times, strict=True))
        edges = np.linspace(0, done[-1], TENTHS + 1)
        found = (np.diff(edges) / np.diff(np.interp(edges, done, seconds)) for seconds in (clock, processor))
        by_clock, by_processor = (np.round(rates).tolist() for rates in found)
        return by_clock, by_processor


def peak_mb() -> int:
    status = Path("/proc/self/status").read_text()  # getrusage would begin with the peak of the process that started this one
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1e3)


@contextmanager
def seconds(told: dict[str, float], name: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    told[name] = round(time.perf_counter() - start, 1)


def labelled_and_chosen(root: Path) -> None:
    """In a process of its own: what is measured, as JSON."""
    told: dict[str, float] = {}
    clock, memory = Clock(), {"start": peak_mb()}
    with listening(clock):
        with seconds(told, "label"):
            found = label(root / "run", root / "shards" / "pile-*.tar", root / "labels")
        memory["label"] = peak_mb()
        (root / "selection").mkdir(exist_ok=True)
        with seconds(told, "select"):
            choice = SelfTraining(outliers=0.01)
            model = root / "run" / "model" / "model.safetensors"
            chosen = choose(root / "selection", model, root / "labels", load(root / "run"), choice)
        memory["select"] = peak_mb()
    by_clock, by_processor = clock.rates()
    kept = {name: chosen[name] for name in ("temperature", "confident", "far", "distinct", "rows")}
    told_of = {"images": found.answered, "unreadable": found.unreadable, "clock": by_clock, "processor": by_processor}
    sys.stdout.write(json.dumps({"seconds": told, "memory": memory, "chosen": kept, **told_of}) + "\n")


def measured(root: Path, images: int) -> list[Row]:
    write_shards(root / "shards", images)
    write_labelled(root / "labelled")
    training = Training(epochs=8, rate=3e-3, norm_momentum=0.1, augment=Augment(operations=0, crop=1.0, flips="none"))
    train(root / "labelled", root / "run", ARCH, "none", training, cache_dir="none")
    done = subprocess.run([sys.executable, __file__, "--child", str(root)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    slope = np.polyfit(np.arange(TENTHS), found["processor"], 1)[0] * TENTHS / np.mean(found["processor"])
    common = {"images": found["images"]}
    return [
        {
            "case": "memory",
            "eyas_value": found["memory"]["select"],
            "unit": "MB",
            "limit": LIMIT_MB,
            **common,
            **found["memory"],
        },
        {
            "case": "label",
            "eyas_value": round(found["images"] / found["seconds"]["label"]),
            "unit": "images/s",
            "seconds": found["seconds"]["label"],
            "evenness": round(min(found["clock"]) / max(found["clock"]), 3),
            "evenness_processor": round(min(found["processor"]) / max(found["processor"]), 3),
            "trend": round(float(slope), 3),
            "tenths": found["clock"],
            "tenths_processor": found["processor"],
            **common,
        },
        {"case": "select", "eyas_value": found["seconds"]["select"], "unit": "s", **common, **found["chosen"]},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--folder", type=Path, help="where the images go, and stay; a run that was stopped goes on there")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        labelled_and_chosen(given.child)
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = measured(given.folder or Path(scratch), given.images)
    for row in rows:
        text = (
            json.dumps(row) if given.json else f"{row['case']:8s} {row['eyas_value']} {row['unit']} of {row['images']} images"
        )
        print(text, flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "pile.json", {"date": str(date.today()), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
