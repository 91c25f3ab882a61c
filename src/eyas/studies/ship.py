"""From a trained network to files that may ship: exported, compared with the network, timed, held against the budget."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget
from eyas.arch.cost import Cost, cost
from eyas.deploy.ladder import Rung, climb, share
from eyas.deploy.measure import compare, machine, measure
from eyas.deploy.parity import Contract, Parity, agreed, breaches
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import DEVICE_TARGETS, TARGETS, Artifact, export
from eyas.errors import ContractError, UserError
from eyas.nn.build import Network
from eyas.nn.detector import Detector, detector_cost
from eyas.progress import work
from eyas.run import INPUTS, MARK, Done, Run, read_json, write_json
from eyas.studies.encoded import Encoded
from eyas.studies.inspection import Inspection
from eyas.studies.learning import MODEL
from eyas.studies.prepare import Data
from eyas.studies.tune import tuned

MAX_DROP = "0.5pt"  # of accuracy, by int8 against the float network
SLOWER = 1.05  # what ships may take so much longer than the fastest
VERSION = 2  # of what is told of a file: those that were told otherwise are made again
TIMING = "timing"  # the stage in which files are timed in turn


def ship(
    run: Run,
    student: Done,
    data: Data,
    budget: Budget,
    threads: int,
    targets: list[str],
    max_drop: str = MAX_DROP,
    frame: tuple[int, int] | None = None,
    columns: tuple[str, ...] = (),
) -> dict[str, Done]:
    """Every target as an artifact of the run, by the name of its folder, accepted or rejected with the reasons.

    Args:
        run: where they go, into `artifacts/TARGET`; of files that take frames into `artifacts/TARGET-HEIGHTxWIDTH`.
        student: the stage of the network.
        data: of the run; files are judged on its validation images, and tested on its test images.
        budget: what files for devices must keep.
        threads: that latency is measured with.
        targets: names in `TARGETS`.
        max_drop: points of accuracy, or of the measure of another task, that an int8 file may lose.
        frame: height and width of what the files take, to crop and resize by themselves.
        columns: of the data that are attributes, where they are no labels.

    Raises:
        UserError: the number of threads is none, or the accuracy that int8 may lose is not written as such.
    """
    sound(threads)
    allowed = share(max_drop)
    made: dict[str, Done] = {}
    inspection = Inspection(student.folder / MODEL, Encoded(data), frame, columns)
    with work("exporting", len(targets)) as progress:
        for number, target in enumerate(targets):
            name = artifact_name(target, frame)
            made[name] = run.stage(
                f"artifacts/{name}",
                lambda folder, target=target: make(folder, inspection, target, budget, threads, allowed),
                version=VERSION,
                student=student.digest,
                data=data.digest,
                budget=str(budget),
                threads=threads,
                **({"max_drop": max_drop} if TARGETS[target].precision == "int8" else {}),
                **({"frame": frame} if frame else {}),
            )
            progress.at(number + 1, target)
    return made


def artifact_name(target: str, frame: tuple[int, int] | None = None) -> str:
    """The folder of an artifact: `onnx`, and `onnx-480x640` of a file that takes frames, which is another one."""
    return f"{target}-{frame[0]}x{frame[1]}" if frame else target


def target_of(name: str) -> str:
    """The format in the folder of an artifact."""
    return re.sub(r"-\d+x\d+$", "", name)


def sound(threads: int) -> None:
    """Whether latency can be measured with so many threads; 0 lets the runtime choose.

    Raises:
        UserError: it cannot.
    """
    if threads < 0:
        raise UserError(f"threads is {threads}; it must be 1 or above, or 0 to let the runtime choose")


def make(folder: Path, inspection: Inspection, target: str, budget: Budget, threads: int, max_drop: float) -> dict[str, Any]:
    """One artifact: `artifact.json` and the model's files, `parity.json`, `latency.json`; of int8, `ladder.json`."""
    shipment = inspection.shipment
    contract = agreed(TARGETS[target].precision, max_drop)
    artifact, parity, rung = _exported(folder, inspection, target, contract, budget)
    latency = measure(artifact, threads)
    spent = _cost(shipment)
    reasons = breaches(parity, contract)
    if TARGETS[target].runs_on_devices:
        reasons += budget.refusals(size=artifact.bytes, latency=latency.median_ms, madds=spent.madds, params=spent.params)
    replace(artifact, status="rejected" if reasons else "accepted").save()
    changes = inspection.changes(artifact)
    write_json(folder / "parity.json", {**asdict(parity), **changes})
    write_json(folder / "latency.json", {**asdict(latency), "machine": machine()})
    return {
        "arch": artifact.arch,
        "task": artifact.task,
        "crop": artifact.crop,
        "frame": artifact.frame,
        "threshold": artifact.threshold,
        "target": target,
        "precision": artifact.precision,
        "rung": rung,
        "bytes": artifact.bytes,
        "reasons": reasons,
        "parity": asdict(parity),
        **changes,
        "latency": asdict(latency),
        "madds": spent.madds,
        "params": spent.params,
        "test": inspection.test(artifact),
    }


def _exported(
    folder: Path, inspection: Inspection, target: str, contract: Contract, budget: Budget
) -> tuple[Artifact, Parity, Rung | None]:
    """The file, how it answers and, of int8, the rung that was taken: a ladder of ways, climbed while too much is lost."""
    if TARGETS[target].precision != "int8":
        artifact = export(inspection.shipment, folder, target)
        return artifact, inspection.parity(artifact), None
    data, task = inspection.encoded.data, inspection.judge.teachable()

    def tune(best: Shipment, floats: tuple[str, ...]) -> Network:
        assert task is not None
        return tuned(best, task, inspection.judge.examples("train"), data.mirrors, floats=floats)

    teaches = tune if task else None
    climbed = climb(inspection.shipment, folder, target, inspection.parity, teaches, contract, budget.size)
    return climbed.artifact, climbed.parity, climbed.steps[climbed.taken].rung


def _cost(shipment: Shipment) -> Cost:
    """Of one image; of a detector with its extra layers and heads."""
    assert isinstance(shipment.network, Network)
    if isinstance(shipment.network, Detector):
        return detector_cost(shipment.network)
    return cost(shipment.network.arch, len(shipment.classes))


def defaults(planned: str) -> list[str]:
    """What `eyas fit` makes where a format was planned: ONNX in both precisions, and OpenVINO's in the planned one.

    The other ONNX file is what ships where no file of the planned precision keeps its promises. OpenVINO's files are made
    where it is installed, as they are mostly the faster ones; not in both precisions, as NNCF takes seconds.
    """
    return [name for name in DEVICE_TARGETS if name.startswith("onnx") or _kind(name) == _kind(planned)]


def timed(run: Run, made: dict[str, Done], threads: int, budget: Budget) -> dict[str, Any]:
    """The accepted files timed in turn, those of a precision together: latency by target, and ratio to the fastest.

    A file that was within the limit of latency when it was made may be over it now: then `reasons` says so.
    """
    accepted = [name for name in made if not made[name].result["reasons"] and TARGETS[name].runs_on_devices]

    def in_turn(folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind in ("float", "int8"):
            alike = [name for name in accepted if _kind(name) == kind]
            if alike:
                compared = compare([load(run.path, name) for name in alike], threads)
                for name, latency, ratio in zip(alike, compared.latencies, compared.ratios, strict=True):
                    late = budget.refusals(latency=latency.median_ms)
                    reasons = [f"timed again beside the other files, {clause}" for clause in late]
                    told = {"ratio": asdict(ratio), "differs": ratio.differs, "reasons": reasons}
                    found[name] = {"latency": asdict(latency), **told}
        write_json(folder / "timing.json", {"targets": found, "machine": machine()})
        return found

    return run.stage(
        TIMING, in_turn, threads=threads, limit=budget.latency, **{name: made[name].digest for name in accepted}
    ).result


def timing_of(run: Run, made: dict[str, Done]) -> dict[str, Any]:
    """What `timed` found when it was last asked, of those files that are still the same."""
    folder = run.path / TIMING
    if not (folder / MARK).is_file():
        return {}
    then = read_json(folder / INPUTS)["inputs"]
    return {name: found for name, found in run.done(TIMING).result.items() if name in made and then[name] == made[name].digest}


def shipped(made: dict[str, Done], planned: str, timing: dict[str, Any] | None = None) -> str:
    """What ships, by its folder: of the accepted files of the planned precision the fastest, else the fastest accepted one.

    A file that `timed` found over the budget is not accepted. Where the planned file takes less than 5 % longer than the
    fastest, it is the one that ships; then the one made first.

    Args:
        made: the artifacts by target.
        planned: the target of the plan; "" where there was none.
        timing: what `timed` found; without it the planned file ships, or the first.

    Raises:
        ContractError: all were rejected.
    """
    broken = {name: broken_by(name, done, timing or {}) for name, done in made.items()}
    accepted = [name for name, why in broken.items() if not why]
    if not accepted:
        reasons = "; ".join(f"{name}: {', '.join(why)}" for name, why in broken.items())
        raise ContractError(f"no exported file keeps what was promised ({reasons})")
    alike = [name for name in accepted if planned in TARGETS and _kind(name) == _kind(planned)] or accepted
    order = sorted(alike, key=lambda name: name != planned)
    return next((name for name in order if _as_fast(name, timing or {})), order[0])


def broken_by(name: str, done: Done, timing: dict[str, Any]) -> list[str]:
    """What a file does not keep: when it was made, and when it was timed in turn."""
    return done.result["reasons"] + timing.get(name, {}).get("reasons", [])  # absent where an earlier version timed


def _kind(name: str) -> str:
    return "int8" if TARGETS[target_of(name)].precision == "int8" else "float"


def _as_fast(target: str, timing: dict[str, Any]) -> bool:
    """Whether no file of its precision was measured to be faster, by more than is worth another format."""
    return target in timing and timing[target]["ratio"]["median"] <= SLOWER


def load(run: Path, target: str) -> Artifact:
    """An artifact of a run."""
    return Artifact.load(run / "artifacts" / target)
