"""From a trained network to files that may ship: exported, compared with the network, timed, held against the budget."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from eyas.arch.budget import Budget
from eyas.arch.cost import cost
from eyas.data.batches import Examples, stacked
from eyas.deploy.measure import machine, measure
from eyas.deploy.parity import CONTRACTS, breaches, check, reference_of
from eyas.deploy.target import DEVICE_TARGETS, Artifact, export
from eyas.errors import ContractError, UserError
from eyas.nn.weights import load_network
from eyas.progress import work
from eyas.run import Done, Run, write_json
from eyas.studies.answering import confusion, correct
from eyas.studies.learning import MODEL
from eyas.studies.prepare import Data
from eyas.studies.proof import accuracy

CALIBRATION = 256  # training images that int8 ranges are measured on


def ship(run: Run, student: Done, data: Data, budget: Budget, threads: int, targets: list[str]) -> dict[str, Done]:
    """Every target as an artifact of the run, accepted or rejected with the reasons.

    Raises:
        UserError: the number of threads is none.
    """
    sound(threads)
    made: dict[str, Done] = {}
    with work("exporting", len(targets)) as progress:
        for number, target in enumerate(targets):
            made[target] = run.stage(
                f"artifacts/{target}",
                lambda folder, target=target: make(folder, student.folder / MODEL, target, data, budget, threads),
                student=student.digest,
                data=data.digest,
                budget=str(budget),
                threads=threads,
            )
            progress.at(number + 1, target)
    return made


def sound(threads: int) -> None:
    """Whether latency can be measured with so many threads; 0 lets the runtime choose.

    Raises:
        UserError: it cannot.
    """
    if threads < 0:
        raise UserError(f"threads is {threads}; it must be 1 or above, or 0 to let the runtime choose")


def make(folder: Path, model: Path, target: str, data: Data, budget: Budget, threads: int) -> dict[str, Any]:
    """One artifact: `artifact.json` and the model file, `parity.json`, `latency.json`."""
    network, classes = load_network(model)
    arch, resolution, view = str(network.arch), network.arch.resolution, network.arch.preprocessing.view
    calibration = stacked(_spread(data.examples("train"), CALIBRATION), resolution, view)
    facts = {"arch": arch, "classes": classes, "resolution": resolution, "crop": view}
    artifact = export(network, folder, target, calibration=calibration, **facts)
    validation, test = data.examples("validation"), data.examples("test")
    answer = artifact.predictor()
    parity = check(reference_of(network), answer, stacked(validation, resolution, view), validation.targets.argmax(1))
    latency = measure(artifact, threads)
    spent = cost(network.arch, len(classes))
    reasons = breaches(parity, CONTRACTS[artifact.precision])
    if target in DEVICE_TARGETS:
        reasons += budget.refusals(size=artifact.bytes, latency=latency.median_ms, madds=spent.madds, params=spent.params)
    replace(artifact, status="rejected" if reasons else "accepted").save()
    write_json(folder / "parity.json", parity)
    write_json(folder / "latency.json", {**asdict(latency), "machine": machine()})
    given = np.concatenate([answer(batch) for batch in np.array_split(stacked(test, resolution, view), -(-len(test) // 32))])
    return {
        "arch": arch,
        "crop": view,
        "target": target,
        "precision": artifact.precision,
        "bytes": artifact.bytes,
        "reasons": reasons,
        "parity": asdict(parity),
        "latency": asdict(latency),
        "madds": spent.madds,
        "params": spent.params,
        "test": {"accuracy": asdict(accuracy(correct(given, test))), "confusion": confusion(given, test)},
    }


def shipped(made: dict[str, Done], planned: str) -> str:
    """The target that ships: the planned one, else the first that was accepted.

    Raises:
        ContractError: all were rejected.
    """
    accepted = [target for target, done in made.items() if not done.result["reasons"]]
    if not accepted:
        reasons = "; ".join(f"{target}: {', '.join(done.result['reasons'])}" for target, done in made.items())
        raise ContractError(f"no exported file keeps what was promised ({reasons})")
    return planned if planned in accepted else accepted[0]


def load(run: Path, target: str) -> Artifact:
    """An artifact of a run."""
    return Artifact.load(run / "artifacts" / target)


def _spread(examples: Examples, count: int) -> Examples:
    """At most `count` examples, evenly from all."""
    rows = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    return replace(examples, positions=examples.positions[rows], targets=examples.targets[rows])
