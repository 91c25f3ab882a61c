"""Which network for the budget: candidates costed from their values, the best of them measured on the exported graph."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from eyas.arch.budget import Budget, show
from eyas.arch.cost import cost
from eyas.arch.parse import like, parse
from eyas.arch.scale import at, strided, wider
from eyas.arch.spec import Arch, layers
from eyas.arch.tables import EFFICIENTNET_LITE0, MOBILENET_V1
from eyas.deploy.measure import measure
from eyas.deploy.target import DEVICE_TARGETS, TARGETS, export
from eyas.errors import UserError
from eyas.nn.build import Network, build
from eyas.progress import work
from eyas.run import write_json

FAMILIES = (EFFICIENTNET_LITE0, MOBILENET_V1)
WIDTHS = (1.0, 0.9, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.35, 0.25)
RESOLUTIONS = (1.0, 0.75, 0.5)  # of the teacher's
TRIALS = 6  # candidates that are exported and measured before the plan gives up
SLACK = 1.05  # an estimated size may be over the limit by this much and still be tried


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network in a format. `size` in bytes is estimated until `measured`; `latency` is in milliseconds."""

    arch: str
    target: str
    madds: int
    params: int
    size: float
    family: bool
    measured: bool = False
    latency: float | None = None
    refusals: tuple[str, ...] = ()


def plan(folder: Path, budget: Budget, teacher: Arch, classes: tuple[str, ...], threads: int) -> dict[str, Any]:
    """Choose the most capable candidate that the budget admits, and write `plan.json`.

    Capable: first the teacher's own family, from which a narrower network inherits its weights; then by MAdds, along which
    accuracy grows (MobileNets, Figure 4; EfficientNet, Figure 3); then float32 before int8. Size and latency are those of
    the exported file, with untrained weights: neither depends on what the weights are.

    Raises:
        UserError: no candidate fits; the nearest is named.
    """
    ranked = rank(candidates(teacher, len(classes)))
    judged = [replace(one, refusals=tuple(_refusals(budget, one))) for one in ranked]
    admitted = [index for index, one in enumerate(judged) if not _refusals(budget, replace(one, size=one.size / SLACK))]
    chosen = None
    with TemporaryDirectory() as trial, work("planning", min(TRIALS, len(admitted))) as progress:
        while chosen is None and (index := _next([judged[index] for index in admitted], budget)) is not None:
            one = judged[admitted[index]]
            arch = like(parse(one.arch), teacher)
            network = build(arch, nn.Linear(arch.features, len(classes)))
            one = judged[admitted[index]] = _measured(Path(trial), one, budget, network, classes, threads)
            progress.at(sum(other.measured for other in judged), one.arch)
            chosen = None if one.refusals else one
    if chosen is None:
        raise UserError(_nothing_fits(budget, judged))
    found = {"budget": str(budget), "threads": threads, "chosen": asdict(chosen), "candidates": [asdict(one) for one in judged]}
    write_json(folder / "plan.json", found)
    return found


def candidates(teacher: Arch, classes: int) -> Iterator[Candidate]:
    """The teacher, and every family at every width and resolution where it costs less, each in every format."""
    most = cost(teacher, classes).madds
    for name, arch in _archs(teacher).items():
        spent = cost(arch, classes)
        if spent.madds <= most:  # one that is larger would learn from a weaker one
            for target in DEVICE_TARGETS:
                size = estimate(arch, classes, target)
                yield Candidate(name, target, spent.madds, spent.params, size, arch.name == teacher.name)


def rank(found: Iterator[Candidate]) -> list[Candidate]:
    """The most capable first."""
    order = list(DEVICE_TARGETS)
    return sorted(found, key=lambda one: (not one.family, -one.madds, order.index(one.target)))


def estimate(arch: Arch, classes: int, target: str) -> float:
    """Bytes of the exported file: weights and biases, the scales that int8 adds, and the graph's own text."""
    of = [layer for _, layer in layers(arch, classes)]
    weights, channels = sum(layer.weights for layer in of), sum(layer.outputs for layer in of)
    if TARGETS[target].precision == "int8":
        return weights + 12 * channels + 1600 * len(of)  # a scale, an int32 bias and its scale for each channel
    return 4 * (weights + channels) + 1200 * len(of)


def _archs(teacher: Arch) -> dict[str, Arch]:
    """Architectures by their text, none of a larger resolution than the teacher's."""
    found = {str(teacher): teacher}
    families = {teacher.name: replace(teacher, width=1.0, depth=1.0)} | {arch.name: arch for arch in FAMILIES}
    for family in families.values():
        for resolution in sorted({max(32, round(teacher.resolution * share / 16) * 16) for share in RESOLUTIONS}):
            for width in WIDTHS:
                arch = at(strided(wider(replace(family, output_stride=None), width), _stride(family, teacher)), resolution)
                found.setdefault(str(arch), arch)
    return found


def _next(ranked: list[Candidate], budget: Budget) -> int | None:
    """Which to measure next: the most capable that the measured ones leave a hope for, and last of all the fastest."""
    measured = [one for one in ranked if one.measured]
    untried = [index for index, one in enumerate(ranked) if not one.measured]
    if not untried:
        return None
    fastest = min(range(len(ranked)), key=lambda index: (ranked[index].madds, ranked[index].size))
    hopeful = [index for index in untried if not any(_slower(ranked[index], one, budget, len(measured)) for one in measured)]
    if hopeful and len(measured) < TRIALS - 1:
        return hopeful[0]
    return None if ranked[fastest].measured else fastest


def _slower(one: Candidate, measured: Candidate, budget: Budget, tried: int) -> bool:
    """Whether `one` would break the latency too, judged by one of the same format that was measured.

    Time falls more slowly than MAdds do, as every layer costs some by itself, so each trial asks for a tenth more.
    """
    if budget.latency is None or measured.latency is None or one.target != measured.target:
        return False
    return measured.latency * one.madds / measured.madds > budget.latency * (1 - tried / 10)


def _stride(family: Arch, teacher: Arch) -> int:
    return min(teacher.total_stride, replace(family, output_stride=None).total_stride)


def _measured(
    folder: Path, one: Candidate, budget: Budget, network: Network, classes: tuple[str, ...], threads: int
) -> Candidate:
    side = network.arch.resolution
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    artifact = export(network, folder, one.target, arch=one.arch, classes=classes, resolution=side, calibration=images)
    latency = measure(artifact, threads).median_ms
    measured = replace(one, size=artifact.bytes, latency=latency, measured=True)
    return replace(measured, refusals=tuple(_refusals(budget, measured)))


def _refusals(budget: Budget, one: Candidate) -> list[str]:
    return budget.refusals(size=one.size, madds=one.madds, params=one.params, latency=one.latency)


def _nothing_fits(budget: Budget, judged: list[Candidate]) -> str:
    known = [one for one in judged if one.measured] or judged
    least = min(known, key=lambda one: (len(one.refusals), one.latency or 0, one.size, one.madds))
    numbers = f"{show('size', least.size)}, {show('madds', least.madds)} MAdds, {show('params', least.params)} parameters"
    latency = f", {show('latency', least.latency)}" if least.latency is not None else ""
    why = f" ({'; '.join(least.refusals)})" if least.refusals else ""
    nearest = f"the nearest of {len(judged)} candidates is {least.arch} as {least.target} with {numbers}{latency}{why}"
    return f"nothing fits the budget {budget}: {nearest}; raise the limit"
