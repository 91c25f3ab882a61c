"""`eyas measure`: how fast exported files answer on this machine, and latency tables of this machine and of others.

Nothing here waits for torch unless a format has no other runtime.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from eyas.arch.latency import Table
from eyas.deploy.device_table import table
from eyas.deploy.energy import Energy, energy
from eyas.deploy.kit import write
from eyas.deploy.measure import Comparison, Folder, compare, fresh_process
from eyas.deploy.time_models import FORMAT, Timed, Unusable, time_models
from eyas.errors import UserError
from eyas.progress import say, work
from eyas.run import read_json


@dataclass(frozen=True)
class Measurement:
    """What one artifact takes on this machine.

    Attributes:
        artifact: its folder.
        target: its format.
        arch: its architecture.
        bytes: size of the model.
        median_ms: of a run of `batch` images; `low_ms` to `high_ms` is the 95 % interval.
        low_ms: see `median_ms`.
        high_ms: see `median_ms`.
        p90_ms: what nine of ten runs keep.
        images_per_second: at this batch.
        load_ms: import of the runtime and opening of the file, in a process of its own.
        peak_bytes: the most memory resident in that process, which loads, answers once and does nothing else.
        joules: energy of an image; None where the system does not tell, and `energy_note` says why.
        energy_note: see `joules`.
        ratio: of its time over the fastest artifact's; `ratio_low` to `ratio_high` is the 95 % interval.
        ratio_low: see `ratio`.
        ratio_high: see `ratio`.
        verdict: `fastest`, or `among the fastest` where not every other is slower; `slower`; `no difference could be measured`.
        threads: that the runtime was given; 0 let it choose.
        batch: images in a run.
        repeats: timed runs.
        runtime: name and version.
        processor: model name.
        cores: that this process may use.
    """

    artifact: str
    target: str
    arch: str
    bytes: int
    median_ms: float
    low_ms: float
    high_ms: float
    p90_ms: float
    images_per_second: float
    load_ms: float | None
    peak_bytes: int | None
    joules: float | None
    energy_note: str | None
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: str
    threads: int
    batch: int
    repeats: int
    runtime: str
    processor: str
    cores: int


@dataclass(frozen=True)
class Tabled:
    """A latency table that was written. `error` is the median error on whole networks left out of the fit."""

    path: Path
    device: str
    runtime: str
    target: str
    threads: int
    probes: int
    error: float


@dataclass(frozen=True)
class Kit:
    """A folder that times `models` graphs on a device."""

    folder: Path
    target: str
    models: int


def measure(
    artifacts: list[str] | None = None,
    threads: int = 1,
    batch: int = 1,
    repeats: int = 50,
    device_table: bool = False,
    target: Timed = "onnx",
    kit: str | None = None,
    timings: str | None = None,
    out: str | None = None,
) -> list[Measurement] | Tabled | Kit:
    """Time exported files in turn and compare them, or make a latency table of a device.

    Args:
        artifacts: folders that an export wrote, model files in them, or a run, which stands for all of its accepted artifacts.
        threads: of the processor; 0 lets the runtime choose.
        batch: images in a run.
        repeats: timed runs of each artifact.
        device_table: make the latency table of this machine that eyas plan reads, in some minutes; needs --out.
        target: the format that the table is for.
        kit: write a folder here that makes the timings for a table on another device, with nothing but the runtime.
        timings: the file that the kit's script wrote there; the table is made of it and nothing is timed here.
        out: the file to write the table to.

    Raises:
        UserError: there is no artifact, or the words contradict each other.
    """
    for name, value, least in (("threads", threads, 0), ("batch", batch, 1), ("repeats", repeats, 6)):
        if value < least:
            raise UserError(f"--{name} is {value}; it must be {least} or above")
    if artifacts and (device_table or kit):
        raise UserError("artifacts are timed, or a latency table is made: give folders, or --device-table, or --kit")
    if (timings or out) and not device_table:
        raise UserError("--timings and --out belong to --device-table; give that too, or leave them out")
    if timings and (kit or target != "onnx" or threads != 1):
        raise UserError(f"{timings} tells its own target and threads: leave out --target, --threads and --kit beside --timings")
    if device_table:
        if not out:
            raise UserError("--device-table needs --out FILE.json, the file to write the table to")
        return _tabled(Path(out), target, threads, kit, timings)
    if kit:
        return Kit(Path(kit), target, len(write(Path(kit), target)))
    if not artifacts:
        raise UserError("nothing to measure: give artifact folders, a run, --device-table or --kit")
    return _measured([folder for given in artifacts for folder in folders(Path(given))], threads, batch, repeats)


def folders(given: Path) -> list[Folder]:
    """The artifact in a folder or of a model file, or the accepted ones of a run.

    Raises:
        UserError: there is none.
    """
    if given.is_file() and (given.parent / "artifact.json").is_file():
        return [Folder(given.parent)]
    if not (given / "recipe.json").is_file():
        return [Folder(given)]
    every = [Folder(path.parent) for path in sorted(given.glob("artifacts/*/artifact.json"))]
    accepted = [folder for folder in every if folder.facts["status"] == "accepted"]
    if not accepted:
        found = f"{len(every)} artifacts, none of them accepted" if every else "no artifacts"
        raise UserError(f"the run {given} holds {found}; make some with eyas export {given}")
    return accepted


def _measured(given: list[Folder], threads: int, batch: int, repeats: int) -> list[Measurement]:
    with work("measuring", 2 * len(given) + 1) as progress:
        alone: list[dict[str, float]] = []
        for number, folder in enumerate(given):
            alone.append(fresh_process(folder.path, threads, batch) if folder.alone else {})
            progress.at(number + 1, folder.path.name)
        found = compare(given, threads, batch, repeats)
        spent: list[Energy] = []
        for number, folder in enumerate(given):
            spent.append(_energy(folder, threads, batch))
            progress.at(len(given) + number + 2, folder.path.name)
    return [_row(folder, index, found, alone[index], spent[index]) for index, folder in enumerate(given)]


def _energy(folder: Folder, threads: int, batch: int) -> Energy:
    predict, images = folder.predictor(threads), np.zeros((batch, *folder.side, 3), np.uint8)
    return energy(lambda: predict(images), batch)


def _row(folder: Folder, index: int, found: Comparison, alone: dict[str, float], spent: Energy) -> Measurement:
    latency, ratio, facts = found.latencies[index], found.ratios[index], folder.facts
    peak = alone.get("peak_bytes")
    return Measurement(
        artifact=str(folder.path),
        target=facts["target"],
        arch=facts["arch"],
        bytes=facts["bytes"],
        median_ms=latency.median_ms,
        low_ms=latency.low_ms,
        high_ms=latency.high_ms,
        p90_ms=latency.p90_ms,
        images_per_second=1e3 * latency.batch / latency.median_ms,
        load_ms=alone.get("load_ms"),
        peak_bytes=None if peak is None else int(peak),
        joules=spent.joules,
        energy_note=spent.reason,
        ratio=ratio.median,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        verdict=_verdict(index, found),
        threads=latency.threads,
        batch=latency.batch,
        repeats=latency.repeats,
        runtime=latency.runtime,
        processor=latency.processor,
        cores=latency.cores,
    )


def _verdict(index: int, found: Comparison) -> str:
    if index != found.best:
        return "slower" if found.ratios[index].differs else "no difference could be measured"
    others = [ratio for number, ratio in enumerate(found.ratios) if number != index]
    return "fastest" if all(ratio.differs for ratio in others) else "among the fastest"


def _tabled(out: Path, target: Timed, threads: int, kept: str | None, timings: str | None) -> Tabled:
    if timings:
        made = table(_timings(Path(timings)))
    elif kept:
        made = _timed_here(Path(kept), out, target, threads)
    else:
        with TemporaryDirectory() as scratch:
            made = _timed_here(Path(scratch), out, target, threads)
    made.save(out)
    return Tabled(out, made.device, made.runtime, made.target, made.threads, made.probes, made.error)


def _timed_here(folder: Path, out: Path, target: Timed, threads: int) -> Table:
    """The kit's models timed in this process; what is timed already is kept beside `out`."""
    partly = out.with_suffix(".timings.json")
    if partly.exists():
        say(f"going on with what is timed in {partly}")
    with work("timing layers", total=len(write(folder, target))) as progress:
        try:
            found = time_models(folder, partly, target, threads, lambda done, _, name: progress.at(done, name))
        except Unusable as error:
            raise UserError(str(error)) from None
    return table(found)


def _timings(path: Path) -> dict[str, Any]:
    found: Any = read_json(path) if path.exists() else None
    if found is None:
        raise UserError(f"there are no timings {path}; the script in a folder that eyas measure --kit wrote makes them")
    if not isinstance(found, dict) or found.get("format") != FORMAT or "models" not in found:
        raise UserError(f"{path} is not what the script of eyas measure --kit writes; give the file that it wrote")
    return found
