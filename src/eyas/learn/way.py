"""The way in which a step is computed: precision, kernels of our own, compilation and threads, chosen by measuring."""

import copy
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from eyas.arch.cost import cost
from eyas.errors import UserError, first_line
from eyas.learn.device import Device
from eyas.nn.blocks import fuse
from eyas.nn.build import Network
from eyas.nn.kernels import Kernels, kernels
from eyas.places import user_cache
from eyas.progress import say
from eyas.recipe import Training, from_dict
from eyas.run import digest, write_json

Precision = Literal["float32", "bfloat16"]

REPAID = 1e12  # multiply-adds of a run from which on two seconds of measuring are little: a minute at 100 GFLOP/s
SECONDS = 2.0  # for measuring
STEP = 2e9  # multiply-adds forward of a measured step, about; and
FEWEST = 8  # images in it, or the batch where that is smaller
FASTER = 1.1  # what is not faster by this much is not worth leaving float32, or torch's own operations, for
LONG = 1800.0  # seconds of a run from which on it may repay compiling, which takes minutes by itself


@dataclass(frozen=True, slots=True)
class Way:
    """How the steps of a run are computed. A run that goes on in the same way, on the same machine, is exact.

    Attributes:
        precision: of matrix work; weights and losses are float32 in any.
        compiled: whether torch compiles the network.
        threads: that compute; sums depend on them in their last bits.
        fused: whether our kernels compute what lies between matrix products (`eyas.nn.fused`).
    """

    precision: Precision
    compiled: bool
    threads: int
    fused: bool = False

    def device(self, device: Device) -> Device:
        """`device` in this precision."""
        return replace(device, bfloat16=self.precision == "bfloat16")

    def apply(self, network: Network, device: Device) -> None:
        """Have `network` and this process compute in this way; compiling happens at the first step."""
        if self.threads != torch.get_num_threads():
            torch.set_num_threads(self.threads)
        using, trouble = _kernels() if self.fused and device.name == "cpu" else (None, "")
        fuse(network, using)
        if trouble:
            say(f"the network is not fused, as this machine cannot ({trouble}); results may differ in their last digits")
        network._compiled_call_impl = None  # of a phase before
        if not self.compiled:
            return
        if trouble := _no_compiler(device):
            say(f"the network is not compiled, as this machine cannot ({trouble}); results may differ in their last digits")
        else:
            _compile(network, device)


def read(facts: dict[str, object]) -> Way:
    """A way from the JSON that `eyas.run.plain` makes of it.

    Raises:
        UserError: it is none.
    """
    return from_dict(Way, facts)


def choose_way(network: Network, training: Training, batch: int, steps: int, device: Device, cache: Path | None = None) -> Way:
    """The fastest way to take `steps` steps of `batch` images, as far as the recipe leaves it open.

    A short run is not worth measuring for: it takes the precision of `device`. What was measured is kept in `cache`
    (the user's folder unless given), for this machine, version of torch, network and batch.

    Args:
        network: what is trained, on `device`; it is not changed.
        training: with `precision`, `fused` and `compile` possibly given.
        batch: images that go through the network at a time.
        steps: of the run.
        device: where.
        cache: folder for measurements.
    """
    processor = device.name == "cpu"
    usual: Precision = "bfloat16" if device.bfloat16 else "float32"
    precision = usual if training.precision == "auto" else training.precision
    way = Way(precision, training.compile == "on", torch.get_num_threads(), processor and training.fused == "on")
    opens = processor and not way.compiled and "auto" in (training.precision, training.fused)
    compiles = training.compile == "auto" and not way.fused
    if steps * batch * cost(network.arch).madds < REPAID or not (opens or compiles):
        return way
    using = _found_kernels() if processor and training.fused != "off" else None
    way = replace(way, fused=way.fused and using is not None)
    key = _key(network, batch, device, using)
    file = _kept_in(cache, key)
    measured = _kept(file) or _measure(network, batch, device, using)
    if opens:
        precisions: list[Precision] = ["float32", "bfloat16"] if training.precision == "auto" else [precision]
        way = measured.fastest(way, precisions, [False, True] if training.fused == "auto" else [way.fused])
    if training.compile == "auto" and not way.fused:  # compiling gains less than our kernels (docs/log.md), and excludes them
        expected = steps * batch * measured.seconds(way)
        if expected > LONG:
            compiled = _kept_in(cache, f"{key}-{way.precision}")
            found = _kept(compiled) or _measure_compiling(measured, network, batch, way.device(device))
            way = replace(way, compiled=found.repays(expected))
            if found.compiling:  # a compiler that is missing may be there the next time
                _keep(compiled, found)
    _keep(file, measured)
    say(f"steps are computed in {way.precision}{', fused' if way.fused else ''}{', compiled' if way.compiled else ''}")
    return way


@dataclass(frozen=True)
class Measured:
    """What was measured of a network on a machine.

    Attributes:
        float32: seconds an image, forward and backward.
        bfloat16: the same.
        fused_float32: with our kernels; `None` where there are none.
        fused_bfloat16: the same.
        compiling: seconds that compiling took; `None` where it was not tried.
        gain: how many times faster the compiled network is; 1 where it could not be compiled.
    """

    float32: float
    bfloat16: float
    fused_float32: float | None = None
    fused_bfloat16: float | None = None
    compiling: float | None = None
    gain: float = 1.0

    def seconds(self, way: Way) -> float:
        """Of one image, as far as it was measured."""
        plain, fused = (
            (self.float32, self.fused_float32) if way.precision == "float32" else (self.bfloat16, self.fused_bfloat16)
        )
        return fused if way.fused and fused is not None else plain

    def fastest(self, way: Way, precisions: list[Precision], fused: list[bool]) -> Way:
        """`way` with that precision and with or without our kernels; the plainer one where others are hardly faster."""
        every = [replace(way, precision=precision, fused=ours) for precision in precisions for ours in fused]
        found = every[0]
        for other in every[1:]:
            if self.seconds(found) >= FASTER * self.seconds(other):
                found = other
        return found

    def repays(self, expected: float) -> bool:
        """Whether a run of `expected` seconds ends earlier when the network is compiled."""
        return self.compiling is not None and expected * (1 - 1 / self.gain) > self.compiling


def _found_kernels() -> Kernels | None:
    """Our kernels; said where there are none."""
    using, trouble = _kernels()
    if not using:
        say(f"the network is not fused: {trouble}")
    return using


def _kernels() -> tuple[Kernels | None, str]:
    """Our kernels, or why there are none."""
    try:
        return kernels(user_cache() / "kernels"), ""
    except UserError as error:
        return None, str(error)


def _measure(network: Network, batch: int, device: Device, using: Kernels | None) -> Measured:
    """Both precisions without and with our kernels, in turn, for about two seconds, on copies of the network."""
    plain, ours = _copy(network), _copy(network)
    fuse(ours, using)
    fitting = max(FEWEST, round(STEP / cost(network.arch).madds))
    images = _images(network, min(batch, fitting), device)
    every = [
        _step(trial, images, replace(device, bfloat16=bfloat16))
        for trial in ((plain, ours) if using else (plain,))
        for bfloat16 in (False, True)
    ]
    return Measured(*(median(times) / len(images) for times in zip(*_in_turn(every, device), strict=True)))


def _measure_compiling(measured: Measured, network: Network, batch: int, device: Device) -> Measured:
    """How long compiling takes and what it gains, at the batch of the run: another one would be compiled anew."""
    if trouble := _no_compiler(device):
        say(f"the network is not compiled: {trouble}")
        return replace(measured, compiling=0.0)
    plain, trial = _copy(network), _copy(network)
    images = _images(network, batch, device)
    _compile(trial, device)
    step = _step(trial, images, device)
    try:
        compiling = _timed(step, device)
        pairs = _in_turn([_step(plain, images, device), step], device)
    except Exception as error:  # whatever a compiler raises: the plain way is always there
        say(f"the network is not compiled: {first_line(error)}")
        return replace(measured, compiling=0.0)
    return replace(measured, compiling=compiling, gain=median(first / second for first, second in pairs))


def _copy(network: Network) -> Network:
    """To train on, computed as torch does."""
    trial = copy.deepcopy(network).train()
    trial._compiled_call_impl = None
    fuse(trial, None)
    return trial


def _compile(network: Network, device: Device) -> None:
    """Compiled for one shape of batches; on an accelerator as CUDA graphs."""
    network.compile(dynamic=False, mode="reduce-overhead" if device.name == "cuda" else "default")


def _no_compiler(device: Device) -> str:
    """Why nothing can be compiled on this machine; empty where it can."""

    def tiny(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    try:
        torch.compile(tiny, dynamic=False)(torch.zeros(8, device=device.name))
    except Exception as error:  # no compiler, one that fails, a system that torch does not compile on
        return first_line(error)
    return ""


def _images(network: Network, count: int, device: Device) -> torch.Tensor:
    side = network.arch.resolution
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator).to(device.name)


def _step(network: Network, images: torch.Tensor, device: Device) -> Callable[[], None]:
    def step() -> None:
        with device.autocast():
            out = network(images)
        out.float().logsumexp(1).mean().backward()
        network.zero_grad()

    return step


def _in_turn(steps: list[Callable[[], None]], device: Device) -> list[tuple[float, ...]]:
    """Times of each, in turn, after one of each that does not count; two rounds at least."""
    for step in steps:
        step()
    begun, found = time.perf_counter(), []
    while len(found) < 2 or time.perf_counter() - begun < SECONDS:
        found.append(tuple(_timed(step, device) for step in steps))
    return found


def _timed(step: Callable[[], None], device: Device) -> float:
    begun = time.perf_counter()
    step()
    if device.name == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _key(network: Network, batch: int, device: Device, using: Kernels | None) -> str:
    """All that a measurement depends on."""
    of = torch.cuda.get_device_name() if device.name == "cuda" else torch.backends.cpu.get_cpu_capability()
    machine = (platform.node(), platform.machine(), os.cpu_count(), of, torch.get_num_threads(), torch.__version__)
    return digest([machine, repr(network.arch), batch, using.name if using else "plain"])


def _kept_in(cache: Path | None, name: str) -> Path | None:
    """The file of a measurement; none for a user without a home."""
    with suppress(UserError):
        return (cache or user_cache()) / "ways" / f"{name}.json"
    return None


def _kept(file: Path | None) -> Measured | None:
    if file is None:
        return None
    with suppress(OSError, ValueError, TypeError, UserError):  # none yet, or a damaged one
        return from_dict(Measured, json.loads(file.read_bytes()))
    return None


def _keep(file: Path | None, measured: Measured) -> None:
    if file is None:
        return
    with suppress(OSError, UserError):  # a cache that cannot be written costs two seconds each time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(measured))
