"""A whole training from a folder of JPEG files, ours against timm's pieces as its train.py uses them, in wall time.

    python benchmarks/end_to_end.py [--json] [--out benchmarks/results] [--images 5000] [--epochs 3] [--pairs 3] [--side 128]
                                    [--workers 0 1 2 4]

Both are processes of their own, started with nothing prepared but Eyas's kernels, which are compiled once on a machine:
imports, reading, training, an evaluation of the averaged weights on the validation split after each epoch, the best weights
written. Same files (500x375), same network (MobileNetV1 at `--side` pixels), same epochs, batch 32, AdamW, two RandAugment
operations of magnitude 5. Ours is `eyas train`, which also splits off and answers a test split of `--splits.test` of the
images, looks for copies between splits and keeps checkpoints; timm's trains on as many images and evaluates on as many. Of
timm's options (channels-last, AMP in bfloat16, both, neither), then of `--workers`, those are taken that are fastest in an
epoch of a fifth of the images. Runs are made in turn; the ratio is timm's seconds over ours.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import timm
from data import photographs
from kept import Row, keep_row

from eyas.compiled import library
from eyas.data import pixels
from eyas.errors import UserError
from eyas.nn.kernels import kernels
from eyas.run import read_json

ARCH, MODEL = "mobilenet_v1", "mobilenetv1_100"
BATCH = 32
VALIDATION, TEST = 0.2, 0.1
OPTIONS = ([], ["--channels-last"], ["--amp"], ["--channels-last", "--amp"])
HERE = Path(__file__).parent
Option = TypeVar("Option")


def seconds(command: list[str], scratch: Path) -> float:
    """Wall time of a process that must succeed, with a cache of its own that holds nothing but compiled kernels."""
    cache = scratch / "cache"
    with suppress(UserError):  # a machine without a compiler does without
        kernels(scratch / "kernels")
        library(pixels.SOURCE, scratch / "kernels", "images", pixels.EXACT)
        shutil.copytree(scratch / "kernels", cache / "eyas" / "kernels")
    begun = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, capture_output=True, text=True)
    taken = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    shutil.rmtree(cache, ignore_errors=True)
    return taken


def eyas_run(folder: Path, scratch: Path, side: int, images: int, epochs: int) -> float:
    training = round(images * (1 - TEST) * (1 - VALIDATION))
    steps = max(1, training * epochs // BATCH)
    out = scratch / "run"
    told = {"epochs": epochs, "min_steps": 1, "batch": BATCH, "evaluate_every": -(-steps // epochs)}
    options = [word for name, value in told.items() for word in (f"--training.{name}", str(value))]
    shares = ["--splits.validation", str(VALIDATION), "--splits.test", str(TEST)]
    network = ["--arch", f"{ARCH}@{side}", "--weights", "none"]
    command = [sys.executable, "-m", "eyas", "train", str(folder), *network, "--out", str(out)]
    taken = seconds([*command, *options, *shares], scratch)
    shutil.rmtree(out)
    return taken


def timm_run(folder: Path, scratch: Path, side: int, epochs: int, workers: int, options: list[str]) -> float:
    out = scratch / "timm-run"
    out.mkdir()
    told = {"model": MODEL, "side": side, "epochs": epochs, "workers": workers, "batch": BATCH, "out": out}
    words = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    taken = seconds([sys.executable, str(HERE / "timm_train.py"), str(folder), *words, *options], scratch)
    shutil.rmtree(out)
    return taken


def split(folder: Path, to: Path, part: int = 1) -> Path:
    """One file in `part` as links, in the folders that timm looks for, in the shares that ours has."""
    for kind in sorted(folder.iterdir()):
        files = sorted(kind.iterdir())[::part]
        rest = files[: round(len(files) * (1 - TEST))]
        held = round(len(rest) * VALIDATION)
        for name, of in (("validation", rest[:held]), ("train", rest[held:])):
            (to / name / kind.name).mkdir(parents=True)
            for file in of:
                os.link(file, to / name / kind.name / file.name)
    return to


def fastest(among: Sequence[Option], run: Callable[[Option], float]) -> Option:
    """What takes least in a run of each; one alone is not run."""
    return min(among, key=run) if among[1:] else among[0]


def compare(side: int, images: int, epochs: int, pairs: int, workers: list[int]) -> Row:
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        folder = photographs(scratch / "images", images, 375, 500)
        few, theirs = split(folder, scratch / "few", 5), split(folder, scratch / "split")
        options = fastest(OPTIONS, lambda each: timm_run(few, scratch, side, 1, max(workers), each))
        best = fastest(workers, lambda each: timm_run(few, scratch, side, 1, each, options))
        sides: list[Callable[[], float]] = [
            lambda: eyas_run(folder, scratch, side, images, epochs),
            lambda: timm_run(theirs, scratch, side, epochs, best, options),
        ]
        times = np.array([[side() for side in sides] for _ in range(pairs)])
    ratios = times[:, 1] / times[:, 0]
    return {
        "case": f"{ARCH}@{side}, {images} images, {epochs} epochs",
        "peer": f"timm {timm.__version__} {' '.join([MODEL, *options])}, {best} workers",
        "peer_value": round(float(np.median(times[:, 1])), 1),
        "eyas_value": round(float(np.median(times[:, 0])), 1),
        "unit": "s",
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(ratios.min()), 3),
        "high": round(float(ratios.max()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="of timm's loader, to choose from")
    given = parser.parse_args()
    found = compare(given.side, given.images, given.epochs, given.pairs, given.workers)
    sides = f"{found['eyas_value']} s; {found['peer']}: {found['peer_value']} s"
    text = f"{found['case']}: {found['ratio']}x ({found['low']} to {found['high']}), {sides}"
    print(json.dumps(found) if given.json else text)
    if given.out:
        file = given.out / "end_to_end.json"
        others = [row["case"] for row in read_json(file)["rows"]] if file.exists() else []
        keep_row(file, found, [*others, found["case"]])


if __name__ == "__main__":
    main()
