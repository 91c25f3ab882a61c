"""Image files to augmented batches, against timm's loader; what the data check holds in memory; what augmenting takes.

    python benchmarks/data.py [--case NAME ...] [--json] [--out benchmarks/results] [--images 1024] [--audited 4000] [--pairs 5]

Everything is timed in turn in one run on the same files, and only ratios hold from one machine, or one minute, to another.

--out keeps the rows of other cases that a file there has.

* first epoch, later epochs: JPEG files of 500x375 to batches of 32 at 224 pixels, in random crops, mirrorings and two
  RandAugment operations of magnitude 9. Ours decodes, checks and keeps every image (`build`), then makes the batches; later
  it only makes them. The peer is timm's `create_loader` with `rand-m9-mstd0.5`, in a process of its own, its workers already
  started, at the best of 0, 1, 2 and 4 of them, with its prefetcher and without. Files are in the system's memory for both.
  Eyas has the C library keep large pieces of memory (`eyas/memory.py`), from which timm may gain too: the peer is timm as its
  users have it, and `kept_ratio` is against timm with that. `processor_ms` is processor time an image, timm's without workers.
* audit memory: a process of its own reads, decodes and checks `--audited` JPEG files of 256x256 (100000 is the size that
  the project answers for; it takes 1 GB of disk for the files and 20 for what is prepared of them). The peer value is the
  rate at a quarter of them: a ratio of 1 is time in proportion. `memory_mb` is the peak.
* threads or processes: batches of later epochs made in threads, as `Stream.run` does, against two worker processes of
  torch's DataLoader that make the same batches and hand them over in shared memory (peer).
* augmentation share: steps of MobileNetV1 0.5 at 128 pixels, computed as a long run would, with one batch that is there (peer
  value), and with batches made meanwhile; `ratio` is the share of the step that goes to making them.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it: threads that wait leave the cores to others soon
import torch
from kept import Row, keep_row
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from eyas.arch.parse import parse
from eyas.data.batches import Batch, Examples, Part, Stream
from eyas.data.manifest import Manifest
from eyas.data.store import Store, build
from eyas.learn.device import choose
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.learn.way import choose_way
from eyas.memory import keep
from eyas.nn.build import build as network_of
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run
from eyas.studies.prepare import prepare, side_of
from eyas.tasks.classify import Classify

FIRST, LATER, WAYS, AUDIT, SHARE = CASES = (
    "first epoch",
    "later epochs",
    "threads or processes",
    "audit memory",
    "augmentation share",
)
BATCH = 32
RESOLUTION = 224
TIMM_POLICY = "rand-m9-mstd0.5"
LIKE_TIMM = Augment(operations=2, magnitude=9, crop=0.08, flips="horizontal")
ARCH = "mobilenet_v1x0.5@128"
STEPS = 10
AUDITED = 256  # pixels a side

Timed = Callable[[], float]  # seconds


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Something like a photograph, uint8 [side, side, 3]: as much in large shapes as in small ones."""
    total = np.zeros((side, side, 3), np.float32)
    cells = 4
    while cells <= side:
        coarse = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        planes = [Image.fromarray(coarse[..., c]).resize((side, side), Image.Resampling.BICUBIC) for c in range(3)]
        total += np.stack([np.asarray(plane) for plane in planes], -1) / cells**0.7
        cells *= 2
    total = (total - total.mean()) / total.std()
    return np.clip(128 + 60 * total, 0, 255).astype(np.uint8)


def photographs(folder: Path, count: int, height: int, width: int) -> Path:
    """JPEG files of different pictures in two class folders: two windows of large pictures, laid over each other."""
    rng = np.random.default_rng(0)
    fields = [texture(rng, 2048) for _ in range(4)]

    def window() -> np.ndarray:
        top, left = rng.integers(2048 - height), rng.integers(2048 - width)
        return fields[rng.integers(4)][top : top + height, left : left + width, rng.permutation(3)]

    for number in range(count):
        file = folder / ("cat", "dog")[number % 2] / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        weight = int(rng.integers(64, 193))
        mixed = ((window().astype(np.uint16) * weight + window().astype(np.uint16) * (256 - weight)) >> 8).astype(np.uint8)
        Image.fromarray(mixed).save(file, quality=92)
    return folder


def manifest_of(folder: Path) -> Manifest:
    files = sorted(folder.rglob("*.jpg"))
    return Manifest.of({"id": [file.name for file in files], "source": [str(file) for file in files]})


def examples_of(store: Store) -> Examples:
    targets = np.eye(2, dtype=np.float32)[np.arange(len(store)) % 2]
    return Examples(store, np.arange(len(store)), targets, labelled=True)


def stream_of(store: Store, augment: Augment, resolution: int) -> Stream:
    return Stream((Part(examples_of(store), BATCH),), augment, "horizontal", resolution, seed=0)


def taken(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


def first_epoch(manifest: Manifest) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        built = build(manifest, Path(folder), side_of(RESOLUTION))
        assert not built.refused
        taken(stream_of(built.store, LIKE_TIMM, RESOLUTION).run(0, len(manifest) // BATCH))
        return time.perf_counter() - start


def later_epochs(stream: Stream, images: int) -> float:
    start = time.perf_counter()
    taken(stream.run(0, images // BATCH))
    return time.perf_counter() - start


@dataclass(frozen=True)
class Way:
    """How timm's loader is used."""

    workers: int
    prefetcher: bool

    def __str__(self) -> str:
        return f"{self.workers} workers{', prefetcher' if self.prefetcher else ''}"


WAYS_OF_TIMM = tuple(Way(workers, prefetcher) for workers in (0, 1, 2, 4) for prefetcher in (False, True))


def timm_epoch(folder: Path, way: Way) -> Timed:
    from timm.data import ImageDataset, create_loader

    loader = create_loader(
        ImageDataset(str(folder)),
        (3, RESOLUTION, RESOLUTION),
        BATCH,
        is_training=True,
        auto_augment=TIMM_POLICY,
        num_workers=way.workers,
        use_prefetcher=way.prefetcher,
        persistent_workers=way.workers > 0,
        device=torch.device("cpu"),
    )

    def epoch() -> float:
        start = time.perf_counter()
        taken(iter(loader))
        return time.perf_counter() - start

    epoch()  # workers start
    return epoch


def serve(folder: Path, kept: bool, pipe: Connection) -> None:
    """timm's epochs, asked for through `pipe`: its seconds, and those of the processor."""
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    if kept:
        keep()
    ways: dict[Way, Timed] = {}
    while asked := pipe.recv():
        if asked not in ways:
            ways[asked] = timm_epoch(folder, asked)
        begun = time.process_time()
        pipe.send((ways[asked](), time.process_time() - begun))


class Peer:
    """timm in a process of its own, where nothing of Eyas is set; with `kept` its memory stays with it, as Eyas has it."""

    def __init__(self, folder: Path, kept: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(folder, kept, other))
        self.process.start()
        times = {way: min(self.epoch(way)[0] for _ in range(2)) for way in WAYS_OF_TIMM}
        self.best = min(times, key=times.__getitem__)

    def epoch(self, way: Way) -> tuple[float, float]:
        """Seconds of an epoch by the clock, and of the processor in this process."""
        self.pipe.send(way)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join()


def epochs(case: str, images: int, pairs: int) -> Row:
    import timm

    with tempfile.TemporaryDirectory() as scratch:
        folder = photographs(Path(scratch) / "in", images, 375, 500)
        manifest = manifest_of(folder)
        if case == FIRST:
            ours: Timed = partial(first_epoch, manifest)
        else:
            store = build(manifest, Path(scratch) / "store", side_of(RESOLUTION)).store
            ours = partial(later_epochs, stream_of(store, LIKE_TIMM, RESOLUTION), images)
        peers = [Peer(folder, kept) for kept in (False, True)]
        ours()
        times = np.array([(ours(), *(peer.epoch(peer.best)[0] for peer in peers)) for _ in range(pairs)])
        work = [(processor_seconds(ours), *(peer.epoch(Way(0, False))[1] for peer in peers)) for _ in range(3)]
        for peer in peers:
            peer.end()
    speed = (images // BATCH * BATCH) / np.median(times, axis=0)
    row = compared(case, times[:, 1] / times[:, 0], speed[1], speed[0], "images/s")
    row["peer"] = f"timm {timm.__version__} {TIMM_POLICY}, {peers[0].best}"
    for name, each in zip(("eyas", "peer", "peer_kept"), np.median(work, axis=0), strict=True):
        row[f"{name}_processor_ms"] = round(1e3 * float(each) / images, 2)
    told = compared(case, times[:, 2] / times[:, 0], speed[2], speed[0], "images/s")
    return row | {f"kept_{name}": told[name] for name in ("peer_value", "ratio", "low", "high")}


def processor_seconds(epoch: Timed) -> float:
    """Of all threads of this process: steadier than the clock on a machine that others use."""
    start = time.process_time()
    epoch()
    return time.process_time() - start


def compared(case: str, ratios: np.ndarray, peer: float, ours: float, unit: str) -> Row:
    """A row with the median ratio and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)]
    low, high = np.percentile(medians, [2.5, 97.5])
    return {
        "case": case,
        "peer_value": round(float(peer), 1),
        "eyas_value": round(float(ours), 1),
        "unit": unit,
        "ratio": round(float(np.median(ratios)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }


class Steps(Dataset[torch.Tensor]):
    """The images of each batch of a stream."""

    def __init__(self, stream: Stream, steps: int) -> None:
        self.stream, self.steps = stream, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> torch.Tensor:
        return self.stream.at(step).images


def threads_or_processes(images: int, pairs: int) -> Row:
    steps = images // BATCH
    with tempfile.TemporaryDirectory() as scratch:
        manifest = manifest_of(photographs(Path(scratch) / "in", images, 375, 500))
        stream = stream_of(build(manifest, Path(scratch) / "store", side_of(RESOLUTION)).store, LIKE_TIMM, RESOLUTION)
        loader = DataLoader(Steps(stream, steps), batch_size=None, num_workers=2, persistent_workers=True)

        def seconds(batches: Iterator[object]) -> float:
            start = time.perf_counter()
            taken(batches)
            return time.perf_counter() - start

        seconds(iter(loader)), later_epochs(stream, images)
        times = np.array([(later_epochs(stream, images), seconds(iter(loader))) for _ in range(pairs)])
        del loader
    speed = steps * BATCH / np.median(times, axis=0)
    return compared(WAYS, times[:, 1] / times[:, 0], speed[1], speed[0], "images/s") | {"peer": "two processes"}


def audit_once(folder: Path) -> None:
    """In a process of its own: seconds and peak megabytes of the data check, as JSON."""
    with tempfile.TemporaryDirectory() as out, Run.open(Path(out) / "run") as run:
        start = time.perf_counter()
        found = prepare(run, str(folder), None, 0, Splits(), RESOLUTION, 0).findings
        seconds = time.perf_counter() - start
    assert found["unreadable"] == 0
    status = Path("/proc/self/status").read_text()  # getrusage would begin with the peak of the process that started this one
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e3
    print(json.dumps({"seconds": seconds, "memory_mb": peak}))


def audited(count: int) -> tuple[float, float]:
    """Images a second, and peak megabytes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = photographs(Path(scratch), count, AUDITED, AUDITED)
        done = subprocess.run([sys.executable, __file__, "--audit", str(folder)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return count / found["seconds"], found["memory_mb"]


def audit_memory(images: int) -> Row:
    (quarter, _), (rate, memory) = audited(images // 4), audited(images)
    row = compared(AUDIT, np.array([rate / quarter]), quarter, rate, "images/s")
    return row | {"peer": f"{images // 4} images", "images": images, "memory_mb": round(memory)}


def augmentation_share(images: int, pairs: int) -> Row:
    arch, recipe, device = parse(ARCH), Training(), choose()
    with tempfile.TemporaryDirectory() as scratch:
        manifest = manifest_of(photographs(Path(scratch) / "in", images, 375, 500))
        store = build(manifest, Path(scratch) / "store", side_of(arch.resolution)).store
        stream = stream_of(store, Augment(), arch.resolution)
        state = State.new(network_of(arch, nn.Linear(arch.features, 2)).to(device.name), recipe, seed=0)
        way = choose_way(state.model, Training(compile="off"), BATCH, 10**6, device)
        way.apply(state.model, device)
        device = way.device(device)

        def seconds(batches: Iterator[Batch]) -> float:
            start = time.perf_counter()
            taken(train(state, Classify(("cat", "dog"), 0.1), batches, recipe, 100_000, device))
            return 1e3 * (time.perf_counter() - start) / STEPS

        def ready() -> float:
            return seconds(islice(cycle([stream.at(0)]), STEPS))

        def made() -> float:
            return seconds(stream.run(0, STEPS))

        ready(), made()
        times = np.array([(ready(), made()) for _ in range(2 * pairs)])
    alone, beside = np.median(times, axis=0)
    found = compared(SHARE, 1 - times[:, 0] / times[:, 1], alone, beside, "ms/step")
    return found | {"peer": "one batch that is there", "precision": way.precision, "fused": way.fused}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", default=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--images", type=int, default=1024, help="files of 500x375")
    parser.add_argument("--audited", type=int, default=4000, help="files of 256x256; 100000 is what the project answers for")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.audit:
        audit_once(given.audit)
        return
    measure: dict[str, Callable[[], Row]] = {
        FIRST: partial(epochs, FIRST, given.images, given.pairs),
        LATER: partial(epochs, LATER, given.images, given.pairs),
        WAYS: partial(threads_or_processes, given.images, given.pairs),
        AUDIT: partial(audit_memory, given.audited),
        SHARE: partial(augmentation_share, given.images, given.pairs),
    }
    for case in given.case:
        row = measure[case]()
        if given.json:
            print(json.dumps(row), flush=True)
        else:
            print(f"{case:20s} {row['ratio']:6.2f} ({row['low']} to {row['high']}): {row['eyas_value']} {row['unit']} against")
            print(f"{'':20s} {row['peer_value']} of {row['peer']}", f"; {row['memory_mb']} MB" if "memory_mb" in row else "")
        if given.out:
            keep_row(given.out / "data.json", row, CASES)


if __name__ == "__main__":
    main()
