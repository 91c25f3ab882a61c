"""What each rung of the int8 ladder gives, and each float format, on networks that were trained for a few minutes.

    python benchmarks/int8_rungs.py [--case NAME] [--runs DIR] [--json] [--out benchmarks/results]

A network is trained from nothing, and every rung is tried whether or not the one before was enough. Each is judged on
validation images that chose nothing, but for the network's best step. The cases "unequal" first divide channels by up to
200 in one layer and multiply them back in the next: the float network answers as before, and plain int8 is broken. Nothing
is timed: the figures do not depend on what else the machine does.
"""

import argparse
import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from eyas.data.batches import Examples, stacked
from eyas.deploy.ladder import climb
from eyas.deploy.measure import machine
from eyas.deploy.parity import Classes, Parity, agreed, check, reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import Artifact, export
from eyas.nn.build import Network
from eyas.nn.equalize import divide, joints, spans
from eyas.nn.fold import folded
from eyas.nn.weights import load_network
from eyas.recipe import Augment, Training
from eyas.run import Run, write_json
from eyas.studies.learning import MODEL
from eyas.studies.prepare import load
from eyas.studies.train import train
from eyas.studies.tune import tuned
from eyas.tasks.classify import Classify

CALIBRATION, ASKED = 256, 500
FLOATS = ("onnx", "onnx-fp16", "openvino", "openvino-bf16", "pt2")
BELOW_CAP = 5.0  # a channel behind ReLU6 that comes nearer to 6 cannot be scaled
ELPV = Training(epochs=15, rate=0.003, augment=Augment(operations=1))
FASHION = Training(epochs=6, rate=0.003, augment=Augment(operations=0))


@dataclass(frozen=True)
class Case:
    data: str
    arch: str
    training: Training
    labels: int = 0
    unequal: bool = False


CASES = {
    "elpv mobilenet_v1": Case("elpv", "mobilenet_v1x0.25@64", ELPV),
    "elpv mobilenet_v1 unequal": Case("elpv", "mobilenet_v1x0.25@64", ELPV, unequal=True),
    "elpv mobilenet_v2": Case("elpv", "mobilenet_v2x0.5@64", ELPV),
    "elpv mobilenet_v2 unequal": Case("elpv", "mobilenet_v2x0.5@64", ELPV, unequal=True),
    "elpv mobilenet_v3_small": Case("elpv", "mobilenet_v3_smallx0.5@64", ELPV),
    "fashion-mnist mobilenet_v1": Case("fashion-mnist", "mobilenet_v1x0.25@32/8", FASHION, 6000),
    "fashion-mnist mobilenet_v1 unequal": Case("fashion-mnist", "mobilenet_v1x0.25@32/8", FASHION, 6000, unequal=True),
}


def evenly(examples: Examples, count: int) -> Examples:
    rows = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    return replace(examples, positions=examples.positions[rows], targets=examples.targets[rows])


def unequal(network: Network, images: np.ndarray) -> Network:
    """The same function with channels of very unequal scale."""
    twin, generator = folded(network), torch.Generator().manual_seed(0)
    found = joints(twin)
    for joint, span in zip(found, spans(twin, found, images), strict=True):
        by = 200.0 ** torch.rand(len(span), generator=generator)
        divide(joint, torch.where(span < BELOW_CAP, by, 1.0) if joint.capped else by)
    return twin


def rungs(name: str, case: Case, runs: Path, scratch: Path) -> list[dict[str, Any]]:
    run = runs / f"{case.data}-{case.arch.replace('/', '_')}"
    if not (run / "model" / MODEL).is_file():
        train(case.data, case.arch, run, weights="none", labels=case.labels, training=case.training)
    network, classes = load_network(run / "model" / MODEL)
    with Run.open(run) as opened:
        data = load(run, opened.done("data").digest)
    side = network.arch.resolution
    calibration = stacked(evenly(data.examples("train"), CALIBRATION), side)
    validation = evenly(data.examples("validation"), ASKED)
    asked, labels = stacked(validation, side), validation.targets.argmax(1)
    shown = unequal(network, calibration) if case.unequal else network

    def judge(artifact: Artifact) -> Parity:
        return check(reference_of(network), artifact.predictor(), asked, Classes(labels))

    ships = Shipment(shown, case.arch, classes, side, calibration=calibration)
    contract = agreed("int8", -1.0)  # which nothing keeps, so that every rung is tried
    climbed = climb(
        ships,
        scratch / name.replace(" ", "-"),
        "onnx-int8",
        judge,
        lambda best, floats: tuned(best, Classify(classes), data.examples("train"), data.mirrors, floats=floats),
        contract,
    )
    found = [row(name, step.rung, step.parity, step.bytes, step.floats) for step in climbed.steps if step.parity is not None]
    for target in () if case.unequal else FLOATS:
        made = export(ships, scratch / name.replace(" ", "-") / target, target)
        found.append(row(name, target, judge(made), made.bytes))
    return found


def row(case: str, rung: str, parity: Parity, size: int, floats: tuple[str, ...] = ()) -> dict[str, Any]:
    before, after = parity.reference or 0.0, parity.artifact or 0.0
    return {
        "case": case,
        "rung": rung,
        "peer": "float network",
        "peer_value": round(before, 4),
        "eyas_value": round(after, 4),
        "unit": "accuracy on validation images",
        "ratio": round(after / (before or 1.0), 4),
        "agreement": round(parity.agreement, 4),
        "images": parity.images,
        "bytes": size,
        "floats": list(floats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--runs", type=Path, help="folder to keep the trained networks in, and to take them from")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as scratch:
        for name in (given.case,) if given.case else CASES:
            for each in rungs(name, CASES[name], given.runs or Path(scratch) / "runs", Path(scratch)):
                rows.append(each)
                told = f"{each['eyas_value']:6.1%} (float {each['peer_value']:.1%}), {each['agreement']:6.1%} the same answer"
                text = f"{name:36s} {each['rung']:14s} {told}, {each['bytes']:,} bytes, {len(each['floats'])} layers in float"
                print(json.dumps(each) if given.json else text, flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "int8_rungs.json", {"date": str(date.today()), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
