"""How fast artifacts answer on this machine, which of them is faster, and what machine this is."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from eyas.deploy import fresh
from eyas.deploy import predict as page
from eyas.deploy.time_models import device
from eyas.errors import UserError

Clock = Callable[[], float]
LEVEL = 0.95  # of the intervals
PATIENCE = 600  # seconds that a fresh process may take


@runtime_checkable
class Answers(Protocol):
    """What can be timed: an `Artifact`, or a `Folder`."""

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the pictures that it takes."""
        ...

    def predictor(self, threads: int = 0) -> Callable[[np.ndarray], Any]:
        """Images uint8 [n, *side, 3] to probabilities, by the real runtime."""
        ...

    def runtime(self) -> str:
        """Name and version of the runtime."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from images in memory to probabilities in memory, `batch` images at once.

    Attributes:
        median_ms: median over the repeats, milliseconds.
        low_ms: where the 95 % interval of the median begins.
        high_ms: where it ends.
        p90_ms: what nine of ten repeats keep, milliseconds.
        repeats: timed runs, after the warm-up.
        threads: that the runtime was given; 0 let it choose.
        batch: images in a run.
        runtime: name and version.
        processor: model name.
        cores: that this process may use.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    p90_ms: float
    repeats: int
    threads: int
    batch: int
    runtime: str
    processor: str
    cores: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long one takes over another: the median of the ratios of runs next to each other, and its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether a difference could be measured: the interval does not hold 1."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Comparison:
    """Artifacts that were timed in turn.

    Attributes:
        latencies: of each, as they were given.
        best: which had the least median.
        ratios: of each over the best; that of the best itself is 1.
    """

    latencies: tuple[Latency, ...]
    best: int
    ratios: tuple[Ratio, ...]


@dataclass(frozen=True)
class Folder:
    """An artifact's folder behind the page that goes with it: what runs on devices is timed without torch in the process."""

    path: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What its `artifact.json` says.

        Raises:
            UserError: there is none.
        """
        try:
            return page.about(self.path)
        except page.Unusable as error:
            raise UserError(str(error)) from None

    @property
    def alone(self) -> bool:
        """Whether the page can open it, with its runtime alone; the others need Eyas itself."""
        return page.family(self.facts["target"]) is not None

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the pictures that it takes."""
        height, width = self.facts["frame"] or [self.facts["resolution"]] * 2
        return height, width

    def predictor(self, threads: int = 0) -> Callable[[np.ndarray], Any]:
        """Images uint8 [n, *side, 3] to probabilities.

        Raises:
            UserError: its runtime is missing, or a file was changed.
        """
        family = page.family(self.facts["target"])
        if family is None or (threads and family in page.CHOOSES):
            return self._artifact().predictor(threads)
        try:
            return page.open_model(self.path, threads)
        except page.Unusable as error:
            raise UserError(str(error)) from None

    def runtime(self) -> str:
        """Name and version of the runtime."""
        family = page.family(self.facts["target"])
        if family is None:
            return self._artifact().runtime()
        package = page.RUNTIMES[family][0]
        return f"{package} {_version(package)}"

    def _artifact(self) -> Any:
        from eyas.deploy.target import Artifact  # it imports torch, which most have no need of

        return Artifact.load(self.path)


def measure(artifact: Answers, threads: int = 1, repeats: int = 50, warmup: int = 10, batch: int = 1) -> Latency:
    """Time the artifact through its real runtime on random images (the time does not depend on what they show).

    Args:
        artifact: what is timed.
        threads: for the runtime; 0 lets it choose.
        repeats: timed runs, each with its own clock reading.
        warmup: runs before them, in which the runtime allocates and the processor gets up to speed.
        batch: images in a run.
    """
    return compare([artifact], threads, batch, repeats, warmup).latencies[0]


def compare(
    artifacts: Sequence[Answers],
    threads: int = 1,
    batch: int = 1,
    repeats: int = 50,
    warmup: int = 10,
    clock: Clock = perf_counter,
) -> Comparison:
    """Time artifacts in turn (A B C A B C ...), so that a slow minute of the machine is a slow minute for each.

    Args:
        artifacts: what is timed, each on random images of its own size.
        threads: for the runtimes; 0 lets them choose.
        batch: images in a run.
        repeats: timed runs of each.
        warmup: runs of each before them.
        clock: seconds.
    """
    runs = []
    for artifact in artifacts:
        images = np.random.default_rng(0).integers(0, 256, (batch, *artifact.side, 3), dtype=np.uint8)
        runs.append((artifact.predictor(threads), images))
    times_ms = 1e3 * _in_turn(runs, repeats, warmup, clock)
    best = int(np.median(times_ms, axis=0).argmin())
    ratios = [Ratio(*_median(times_ms[:, index] / times_ms[:, best])) for index in range(len(runs))]
    facts = {"repeats": repeats, "threads": threads, "batch": batch, "processor": device(), "cores": _cores()}
    latencies = []
    for artifact, times in zip(artifacts, times_ms.T, strict=True):
        median, low, high = _median(times)
        p90 = float(np.percentile(times, 90))
        latencies.append(Latency(median, low, high, p90, runtime=artifact.runtime(), **facts))
    return Comparison(tuple(latencies), best, tuple(ratios))


def fresh_process(folder: Path, threads: int = 1, batch: int = 1) -> dict[str, float]:
    """What loading and answering take in a process that does nothing else, without torch and without Eyas.

    `peak_bytes`: the most memory that was resident. `load_ms`: import of the runtime and opening of the file.
    `first_ms`: the first answer, in which runtimes allocate.

    Raises:
        UserError: the process ended with an error.
    """
    script, words = Path(fresh.__file__), [str(page.__file__), str(folder), str(threads), str(batch)]
    try:
        done = subprocess.run([sys.executable, "-I", script, *words], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise UserError(f"{folder} gave no answer within {PATIENCE} seconds in a process of its own") from None
    if done.returncode == fresh.UNUSABLE:
        raise UserError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UserError(f"{folder} could not answer in a process of its own: {last[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """The facts that a measurement needs beside it: processor, cores, memory (GB) and versions (None: not installed)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": device(),
        "cores": _cores(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "onnxruntime": _version("onnxruntime"),
    }


def _in_turn(
    runs: Sequence[tuple[Callable[[np.ndarray], Any], np.ndarray]], repeats: int, warmup: int, clock: Clock
) -> Float[np.ndarray, "repeats runs"]:
    """Seconds of each run, one row a turn."""
    for _ in range(warmup):
        for predict, images in runs:
            predict(images)
    times = np.zeros((repeats, len(runs)))
    for row in times:
        for index, (predict, images) in enumerate(runs):
            start = clock()
            predict(images)
            row[index] = clock() - start
    return times


def _median(values: Float[np.ndarray, "n"]) -> tuple[float, float, float]:
    """The median and its interval, from order statistics: no distribution is assumed (Conover 1999, section 3.2)."""
    ordered, count = np.sort(values), len(values)
    below, left_out = 0.0, -1  # so many values on either side are left out with the chance of both tails below 5 %
    while (below := below + math.comb(count, left_out + 1) / 2**count) <= (1 - LEVEL) / 2:
        left_out += 1
    low = max(left_out, 0)
    return float(np.median(ordered)), float(ordered[low]), float(ordered[count - 1 - low])


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
