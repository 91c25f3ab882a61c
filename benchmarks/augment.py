"""Augmented batches: made one image at a time with Pillow or all together as tensors, and held against a training step.

    python benchmarks/augment.py [--case NAME] [--json] [--out benchmarks/results] [--pairs 20]

Everything is timed in turn in one run, and only ratios hold from one machine, or one minute, to another. Both ways draw
the same noise from the same numbers and do the same operations; one thread each, in processor seconds. Shares of a step
are in processor seconds too, of all threads: what the batch takes from the cores that the step needs. The last case is
the time on the clock: steps on batches that are made meanwhile, against the same steps on one batch that is there.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eyas.arch.parse import parse
from eyas.data.batches import Batch, Examples, Part, Stream, three_channels
from eyas.data.noise import draw
from eyas.data.store import SCHEMA, Store
from eyas.deploy.measure import machine
from eyas.learn.device import choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import build
from eyas.recipe import Augment, Training
from eyas.run import write_json
from eyas.tasks.classify import Classify
from tests.data.reference import one

ARCH = "mobilenet_v1x0.5@128"
BATCH = 32
SIDE = 147  # what images are prepared at for 128 pixels
CHOICES = {
    "the defaults": Augment(),
    "magnitude 27": Augment(magnitude=27),
    "the code's 16": Augment(operation_set="code"),
    "crops and mirrors only": Augment(operations=0),
}
BATCHED = [f"{kind}: {name}" for name in CHOICES for kind in ("colour", "grey")]
SHARES = [f"share of a step: {kind}" for kind in ("colour", "grey")]
CLOCK = "steps on batches made meanwhile"
CASES = (*BATCHED, *SHARES, CLOCK)


def photographs(channels: int, count: int = 256) -> list[np.ndarray]:
    """Smooth pictures with some texture: how long an operation takes hardly depends on what is on them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(coarse).astype(int) + rng.integers(-10, 11, (SIDE, SIDE, 3))
        found.append(np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)[..., :channels]))
    return found


def stream(channels: int, choice: Augment) -> Stream:
    images = photographs(channels)
    shape = {"height": SIDE, "width": SIDE, "channels": channels}
    rows = [{"id": str(row), "offset": row * images[0].size, **shape} for row in range(len(images))]
    store = Store(pa.Table.from_pylist(rows, SCHEMA), np.concatenate([image.reshape(-1) for image in images]))
    targets = np.eye(10, dtype=np.float32)[np.arange(len(images)) % 10]
    examples = Examples(store, np.arange(len(images)), targets, labelled=True)
    return Stream((Part(examples, BATCH),), choice, "both", 128, seed=0)


def one_by_one(of: Stream, step: int) -> torch.Tensor:
    """The images of a batch, made with Pillow."""
    examples = of.parts[0].examples
    noise = draw(of.augment, of.flips, BATCH, np.random.default_rng((of.seed, 0, step, 1)))
    made = [one(examples.store[i], noise, row, of.augment, of.resolution) for row, i in enumerate(of.rows(0, step))]
    return torch.from_numpy(np.stack([three_channels(pixels) for pixels in made]))


def stepper() -> Callable[[Batch], None]:
    """A function that trains on one batch."""
    device = choose()
    arch, recipe = parse(ARCH), Training()
    network = build(arch, nn.Linear(arch.features, 10), recipe.dropout, recipe.drop_path).to(device.name)
    state, task = State.new(network, recipe, seed=0), Classify(tuple("0123456789"), 0.1)

    def step(batch: Batch) -> None:
        for _ in train(state, task, [batch], recipe, 10**6, device):
            pass
        if device.name == "cuda":
            torch.cuda.synchronize()

    return step


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def made(case: str, pairs: int) -> dict[str, object]:
    """Images a second of both ways, in one thread."""
    kind, name = case.split(": ")
    of = stream(1 if kind == "grey" else 3, CHOICES[name])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = [
        (seconds(partial(of.at, step), time.process_time), seconds(partial(one_by_one, of, step), time.process_time))
        for step in range(pairs + 2)
    ]
    torch.set_num_threads(threads)
    ours, theirs = np.array(times[2:]).T
    return row(case, "Pillow, one image at a time", BATCH / theirs, BATCH / ours, "images/s", theirs / ours)


def share(case: str, pairs: int) -> dict[str, object]:
    """A batch against the step that it is for."""
    of, step = stream(1 if case.endswith("grey") else 3, Augment()), stepper()
    batch = of.at(0)
    times = [
        (seconds(partial(of.at, number), time.process_time), seconds(partial(step, batch), time.process_time))
        for number in range(pairs + 2)
    ]
    ours, theirs = 1e3 * np.array(times[2:]).T
    return row(case, f"step of {ARCH}", theirs, ours, "processor ms", ours / theirs)


def clock(case: str, pairs: int) -> dict[str, object]:
    of, step = stream(3, Augment()), stepper()
    batch = of.at(0)
    steps = 4
    times = []
    batches = of.run(0, steps * (pairs + 1), device=choose().name)

    def there() -> None:
        for _ in range(steps):
            step(batch)

    def meanwhile() -> None:
        for fresh in islice(batches, steps):
            step(fresh)

    for _ in range(pairs + 1):
        times.append((seconds(meanwhile, time.perf_counter), seconds(there, time.perf_counter)))
    ours, theirs = 1e3 / steps * np.array(times[1:]).T
    return row(case, "one batch that is there", theirs, ours, "ms a step", ours / theirs)


def row(case: str, peer: str, theirs: np.ndarray, ours: np.ndarray, unit: str, ratios: np.ndarray) -> dict[str, object]:
    rng = np.random.default_rng(0)
    low, high = np.percentile([np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)], [2.5, 97.5])
    return {
        "case": case,
        "peer": peer,
        "peer_value": round(float(np.median(theirs)), 1),
        "eyas_value": round(float(np.median(ours)), 1),
        "unit": unit,
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }


def compare(case: str, pairs: int) -> dict[str, object]:
    return (made if case in BATCHED else share if case in SHARES else clock)(case, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--pairs", type=int, default=20)
    given = parser.parse_args()
    found = [compare(case, given.pairs) for case in ([given.case] if given.case else CASES)]
    for result in found:
        values = f"{result['eyas_value']} against {result['peer_value']} {result['unit']}"
        text = f"{result['case']:34s} {result['ratio']:6.3f} ({result['low']} to {result['high']}): {values}, {result['peer']}"
        print(json.dumps(result) if given.json else text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "augment.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
