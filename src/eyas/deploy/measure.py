"""How fast an artifact answers on this machine, and what machine this is."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from eyas.deploy.target import Artifact


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from images in memory to probabilities in memory, `batch` images at once.

    Attributes:
        median_ms: median over the repeats, milliseconds.
        p90_ms: what nine of ten repeats keep, milliseconds.
        repeats: timed runs, after the warm-up.
        threads: that the runtime was given; 0 let it choose.
        batch: images in a run.
        runtime: name and version.
        processor: model name.
        cores: that this process may use.
    """

    median_ms: float
    p90_ms: float
    repeats: int
    threads: int
    batch: int
    runtime: str
    processor: str
    cores: int


def measure(artifact: Artifact, threads: int = 1, repeats: int = 50, warmup: int = 10, batch: int = 1) -> Latency:
    """Time the artifact through its real runtime on random images (the time does not depend on what they show).

    Args:
        artifact: what is timed.
        threads: for the runtime; 0 lets it choose.
        repeats: timed runs, each with its own clock reading.
        warmup: runs before them, in which the runtime allocates and the processor gets up to speed.
        batch: images in a run.
    """
    predict = artifact.predictor(threads)
    shape = (batch, artifact.resolution, artifact.resolution, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(warmup):
        predict(images)
    times_ms = []
    for _ in range(repeats):
        start = perf_counter()
        predict(images)
        times_ms.append((perf_counter() - start) * 1e3)
    return Latency(
        median_ms=float(np.median(times_ms)),
        p90_ms=float(np.percentile(times_ms, 90)),
        repeats=repeats,
        threads=threads,
        batch=batch,
        runtime=artifact.runtime(),
        processor=_processor(),
        cores=_cores(),
    )


def machine() -> dict[str, Any]:
    """The facts that a measurement needs beside it: processor, cores, memory (GB) and versions (None: not installed)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": _cores(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "onnxruntime": _version("onnxruntime"),
    }


def _processor() -> str:
    """The model name: Linux tells it in /proc, other systems through Python."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
