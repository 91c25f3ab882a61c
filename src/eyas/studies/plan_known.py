"""What a plan knows of its candidates: measured facts, and from these a guess of all that was not measured."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

from eyas.arch.budget import Budget
from eyas.arch.parse import like, parse
from eyas.arch.spec import Arch
from eyas.deploy.measure import measure
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.nn.build import build
from eyas.run import read_json, write_json
from eyas.studies.plan_candidates import Candidate

PACE = 1e8  # MAdds a thread does in a millisecond: a first guess, until something was measured
POWER = 0.8  # time falls more slowly than MAdds do, as every layer costs some by itself
OTHER = 0.7  # of the time in another format: what a format is guessed to take that was not measured at all
SLACK = 1.03  # an estimated size may be over its limit by this much and still be tried
FACTS = "measured.json"

Measure = Callable[[Candidate], tuple[int, float]]
"""Bytes of a candidate's exported file, and milliseconds that it takes for an image on this machine."""


@dataclass(frozen=True)
class Known:
    """What measured candidates say of themselves and of the others.

    Attributes:
        measured: the candidates that were exported and timed.
        threads: that they were timed with.
        elsewhere: whether latency is that of another device, which only a table knows: then what was timed here counts for
            nothing.
    """

    measured: tuple[Candidate, ...] = ()
    threads: int = 1
    elsewhere: bool = False

    def size(self, one: Candidate) -> float:
        """Bytes: measured, or estimated and corrected by what measured ones of its table and format have."""
        if one.measured or not self.measured:
            return one.size
        of = self._sizes
        return one.estimate * of.get((one.table, one.target), of.get((None, one.target), 1.0))

    def latency(self, one: Candidate) -> float:
        """Milliseconds of one image: measured, predicted by the table, or guessed from measured ones of its format."""
        if self.elsewhere and one.predicted is not None:
            return one.predicted
        if one.latency is not None:
            return one.latency
        if one.predicted is not None:
            return one.predicted * self._corrections.get(one.target, 1.0)
        for key, share in ((one.table, one.target), 1.0), ((None, one.target), 1.0), ((None, None), OTHER):
            if points := self._times.get(key):
                return share * _scaled(points, one.madds)
        return one.madds / (PACE * max(1, self.threads))

    @cached_property
    def _sizes(self) -> dict[tuple[str | None, str], float]:
        """Measured bytes over estimated ones, by table (None: of any) and format."""
        ratios = defaultdict[tuple[str | None, str], list[float]](list)
        for one in self.measured:
            for table in (one.table, None):
                ratios[table, one.target].append(one.size / one.estimate)
        return {key: median(found) for key, found in ratios.items()}

    @cached_property
    def _corrections(self) -> dict[str, float]:
        """Measured milliseconds over predicted ones, by format."""
        ratios = defaultdict[str, list[float]](list)
        for one in self.measured:
            if one.latency and one.predicted:
                ratios[one.target].append(one.latency / one.predicted)
        return {key: median(found) for key, found in ratios.items()}

    @cached_property
    def _times(self) -> dict[tuple[str | None, str | None], list[tuple[int, float]]]:
        """MAdds and milliseconds, by table and format (None: of any), both rising."""
        points = defaultdict[tuple[str | None, str | None], list[tuple[int, float]]](list)
        for one in self.measured:
            if one.latency:
                for key in (one.table, one.target), (None, one.target), (None, None):
                    points[key].append((one.madds, one.latency))
        return {key: _rising(found) for key, found in points.items()}

    def all(self, one: Candidate) -> dict[str, float]:
        """Every quantity that a budget limits, as far as it is known."""
        return {"size": self.size(one), "madds": one.madds, "params": one.params, "latency": self.latency(one)}

    def hopeful(self, one: Candidate, limits: Budget) -> bool:
        """Whether it may keep the limits, as far as it is known."""
        if not limits.admits(madds=one.madds, params=one.params):
            return False
        size = self.size(one) / (1 if one.measured else SLACK)
        return limits.admits(size=size) and limits.admits(latency=self.latency(one))

    def judged(self, one: Candidate, limits: Budget) -> Candidate:
        """With its size as it is known and the limits that it breaks; where latency is a guess, a clause says "about"."""
        found = self.all(one)
        refusals = limits.refusals(**found)
        if one.predicted is None and not one.measured:
            refusals = [re.sub("^latency", "latency about", clause) for clause in refusals]
        return replace(one, size=found["size"], refusals=tuple(refusals))


def _rising(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Sorted by MAdds, none slower than one with more: what else ran on the machine only ever adds to a time."""
    quickest = list(accumulate((ms for _, ms in sorted(points, reverse=True)), min))
    return list(zip(sorted(madds for madds, _ in points), reversed(quickest), strict=True))


def _scaled(points: Sequence[tuple[int, float]], madds: int) -> float:
    """Milliseconds at so many MAdds: between two that were timed along a power law through both, else from the nearest."""
    for (low, quick), (high, slow) in pairwise(points):
        if low < madds < high and slow > quick:
            share = math.log(madds / low) / math.log(high / low)
            return quick * (slow / quick) ** share
    nearest, took = min(points, key=lambda point: abs(math.log(point[0] / madds)))
    return took * (madds / nearest) ** POWER


def measuring(teacher: Arch | None, classes: Sequence[str], threads: int) -> Measure:
    """Export the candidate with untrained weights and time it: neither size nor time depends on what the weights are."""

    def measured(one: Candidate) -> tuple[int, float]:
        arch = like(parse(one.arch), teacher) if teacher else parse(one.arch)
        network, side = build(arch, nn.Linear(arch.features, len(classes))), arch.resolution
        images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
        with TemporaryDirectory() as folder:
            shipment = Shipment(network, one.arch, tuple(classes), side, calibration=images)
            artifact = export(shipment, folder, one.target)
            return artifact.bytes, measure(artifact, threads).median_ms

    return measured


def remembering(measure: Measure, folder: Path) -> Measure:
    """`measure`, which writes what it finds into `folder` at once: a plan that was killed finds it there again."""

    def measured(one: Candidate) -> tuple[int, float]:
        file = folder / FACTS
        facts = read_json(file) if file.exists() else {}
        if one.name not in facts:
            facts[one.name] = measure(one)
            write_json(file, facts)
        size, latency = facts[one.name]
        return size, latency

    return measured
