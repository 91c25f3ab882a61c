"""Does the pile help? Noisy Student beside its control, its teacher and a training with all labels, over several seeds.

    python benchmarks/noisy_student.py --runs FOLDER [--case CASE ...] [--seeds 3] [--json] [--out FOLDER]

Each case is a data set of which few labels are kept; the other training images are the pile. `eyas fit` is run over the
seeds in a folder of its own under FOLDER, and so is, a seed at a time, `eyas train` with every label, on as many images as
the student saw. The same command goes on where it was stopped. A row is a network's mean accuracy on the test split, with
an interval over trainings and test images alike; `recovered` is how much of the way from the teacher to all labels it went.
"""

import argparse
import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import eyas
from eyas.deploy.measure import machine
from eyas.recipe import Augment, SelfTraining, Training
from eyas.run import Run, write_json
from eyas.studies.fit import Method
from eyas.studies.log import read_log


@dataclass(frozen=True)
class Case:
    """A data set, how many of its labels are kept, and how everything is trained."""

    data: str
    labels: int
    arch: str
    training: Training
    choice: SelfTraining
    method: Method


# Sizes that several seeds of fit an afternoon on two cores; a network that begins with drawn weights needs more (docs/log.md).
CELLS = Training(min_steps=150)
CLOTHES = Training(epochs=100.0, rate=4e-3, augment=Augment(operations=0, crop=0.8))
CASES = {
    "elpv, 400 labels": Case("elpv", 400, "efficientnet_lite0@80", CELLS, SelfTraining(), "noisy-student"),
    "elpv, 200 labels": Case("elpv", 200, "efficientnet_lite0@80", CELLS, SelfTraining(), "noisy-student"),
    "fashion-mnist, 1000 labels": Case(
        "fashion-mnist", 1000, "mobilenet_v1x0.25@32/16", CLOTHES, SelfTraining(rounds=3), "both"
    ),
}


def few_labels(case: Case, run: Path, seeds: int) -> dict[str, dict[str, Any]]:
    """Every network of the fit: its mean accuracy over the seeds, and each seed's."""
    eyas.fit(
        case.data,
        run,
        labels=case.labels,
        arch=case.arch,
        training=case.training,
        self_training=case.choice,
        method=case.method,
        seeds=seeds,
    )
    with Run.open(run) as opened:
        if seeds > 1:
            return opened.done("seeds/test").result
        scores = opened.done("test").result
    return {name: {**one["accuracy"], "each": [one["accuracy"]["value"]]} for name, one in scores.items() if name != "fitted"}


def all_labels(case: Case, run: Path, student: Path, seeds: int) -> dict[str, Any]:
    """The same network with every label, on as many images as the student saw."""
    steps = (read_log(student / "log.jsonl")[-1]["step"] + 1) * (1 + case.choice.plan()[0].ratio)
    training = replace(case.training, epochs=0.01, min_steps=steps)
    found = [eyas.train(case.data, run / str(seed), case.arch, training=training, seed=seed).test for seed in range(seeds)]
    each = [one.value for one in found]
    # Over the seeds the bounds are of a single training's kind: those of the images, around the mean.
    half = float(np.mean([(one.high - one.low) / 2 for one in found]))
    mean = float(np.mean(each))
    return {"value": mean, "low": mean - half, "high": mean + half, "images": found[0].images, "each": each}


def rows(name: str, case: Case, runs: Path, seeds: int) -> list[dict[str, Any]]:
    """A row a network."""
    place = runs / f"{case.data}-{case.labels}"
    scores = few_labels(case, place / "few", seeds)
    scores["all labels"] = all_labels(case, place / "all", place / "few" / "round-1" / "student", seeds)
    start, end = scores["teacher"]["value"], scores["all labels"]["value"]
    return [
        {
            "case": name,
            "network": network,
            "arch": case.arch,
            "eyas_value": round(100 * found["value"], 2),
            "unit": "% of test images",
            "low": round(100 * found["low"], 2),
            "high": round(100 * found["high"], 2),
            "each": [round(100 * value, 2) for value in found["each"]],
            "recovered": round((found["value"] - start) / (end - start), 2) if end > start else None,
        }
        for network, found in scores.items()
    ]


def show(row: dict[str, Any], as_json: bool) -> None:
    recovered = f"{row['recovered']:+.2f} of the way" if row["recovered"] is not None else ""
    each = ", ".join(f"{value:.1f}" for value in row["each"])
    text = f"{row['case']:28s} {row['network']:18s} {row['eyas_value']:5.1f} % ({row['low']:.1f} to {row['high']:.1f})"
    print(json.dumps(row) if as_json else f"{text}  [{each}]  {recovered}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, which are gone on with")
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name in given.case:
        found += rows(name, CASES[name], given.runs, given.seeds)
        for row in found:
            if row["case"] == name:
                show(row, given.json)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {"date": str(date.today()), "machine": machine(), "seeds": given.seeds}
        write_json(given.out / "noisy_student.json", about | {"rows": found})


if __name__ == "__main__":
    main()
