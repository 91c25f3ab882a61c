"""Does the latency table predict what networks take? Thirty random networks of three families, predicted and measured.

    python benchmarks/latency.py [--case onnx] [--json] [--out benchmarks/results] [--folder FOLDER]

The kit that `eyas measure --kit` writes and the exported files of thirty networks that are not in it are timed together,
shuffled, on one thread, each in turn with one reference graph (as deploy/time_models.py does); the table is made of the kit's
times alone. The error of a prediction is |predicted / measured - 1|. Peer: the same networks predicted from their MAdds
alone, by the line through the origin that fits the kit's whole networks best.

It takes some minutes. With --folder what was timed is kept there, and the same command goes on where it was stopped.
"""

import argparse
import json
import random
import statistics
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.deploy import device_table, kit
from eyas.deploy.measure import machine
from eyas.deploy.probes import Format, probes
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.deploy.time_models import LIST, time_models
from eyas.nn.build import build
from eyas.run import read_json, write_json

CASES: tuple[Format, ...] = ("onnx", "onnx-int8")
FAMILIES = ("mobilenet_v1", "mobilenet_v2", "efficientnet_lite0")
CLASSES = 10
ASIDE = "benchmark "  # begins the names of what is not in the kit


def networks(count: int = 30, seed: int = 1) -> list[Arch]:
    """Random widths, depths and resolutions of each family in turn."""
    draw = random.Random(seed)
    found = []
    for index in range(count):
        width, depth = round(draw.uniform(0.25, 1.3), 2), draw.choice((0.5, 0.75, 1, 1, 1.25))
        side = draw.randrange(64, 257, 16)
        found.append(parse(f"{FAMILIES[index % len(FAMILIES)]}x{width}d{depth}@{side}"))
    return found


def prepare(folder: Path, case: Format) -> None:
    """The kit, and among its models the exported files."""
    kit.write(folder, case)
    listed = read_json(folder / LIST)
    for index, arch in enumerate(networks()):
        network = build(arch, nn.Linear(arch.features, CLASSES))
        side = arch.resolution
        pictures = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
        shipment = Shipment(network, str(arch), tuple(map(str, range(CLASSES))), side, calibration=pictures)
        made = export(shipment, folder / f"network-{index}", case)
        file = str(made.path.relative_to(folder))
        listed["models"].append({"name": ASIDE + str(arch), "file": file, "shape": [1, side, side, 3], "kind": "uint8"})
    random.Random(2).shuffle(listed["models"])
    write_json(folder / LIST, listed)


def judge(folder: Path, case: Format) -> dict[str, object]:
    """Predicted against measured."""
    if not (folder / LIST).exists():
        prepare(folder, case)

    def tell(done: int, total: int, _: str) -> None:
        if done % 50 == 0:
            print(f"  {done} of {total} timed", flush=True)

    timings = time_models(folder, folder / "timings.json", case, 1, tell)
    table = device_table.table(timings)
    took = {name: found["ratio"] * timings["reference_ms"] for name, found in timings["models"].items()}
    whole = [probe for probe in probes() if probe.resolution]
    pace = statistics.median(took[probe.name] / sum(block.sums[0] for block in probe.blocks) for probe in whole)
    rows: list[dict[str, Any]] = []
    for arch in networks():
        measured, predicted = took[ASIDE + str(arch)], table.predict(arch, CLASSES)
        by_madds = pace * cost(arch, CLASSES).madds
        rows.append({"arch": str(arch), "measured_ms": measured, "predicted_ms": predicted, "by_madds_ms": by_madds})
    error = statistics.median(abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in rows)
    peer = statistics.median(abs(row["by_madds_ms"] / row["measured_ms"] - 1) for row in rows)
    return {
        "case": f"{len(rows)} random networks, {case}, 1 thread",
        "peer": "MAdds alone",
        "peer_value": round(100 * peer, 1),
        "eyas_value": round(100 * error, 1),
        "unit": "% median error",
        "ratio": round(peer / error, 2),
        "left_out": round(100 * table.error, 1),
        "runtime": table.runtime,
        "probes": table.probes,
        "networks": [{name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()} for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--folder", type=Path, help="folder to keep models and timings in, and to go on from")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with TemporaryDirectory() as scratch:
        for case in CASES:
            if given.case in (None, case):
                rows.append(judge((given.folder or Path(scratch)) / case, case))
    for row in rows:
        form = "{case}: {eyas_value} % median error; by {peer} {peer_value} %"
        print(json.dumps(row) if given.json else form.format(**row))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "latency.json", {"date": str(date.today()), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
