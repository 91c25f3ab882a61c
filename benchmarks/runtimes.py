"""Latency of one image by runtime and precision, the same network in each, timed in turn in one run.

    python benchmarks/runtimes.py [--case NAME] [--threads 1] [--repeats 100] [--json] [--out benchmarks/results]

The peer is torch eager in float32, the network as it was trained. Each round asks every variant once, in an order drawn
anew, so that a slow minute of the machine is a slow minute for each; the ratio is the median over the rounds of torch's
time over the variant's in the same round, with the 95 % interval of the median by the binomial. Files are exported as
`eyas export` does, and answer through the same call. Formats whose packages are missing are left out.

Agreement and largest gap are with torch's answers to 200 photographs of solar cells (ELPV, test split), of which a network
of 1,000 ImageNet classes makes mostly close calls; int8 ranges are chosen on 128 of the training split.

The last lines tell what Eyas would ship by default, of the float files and of the int8 files, and how much longer that
takes than the fastest: at most 5 % is promised.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from int8 import photographs
from torch import nn

from eyas.arch.parse import parse
from eyas.deploy.measure import compare, machine
from eyas.deploy.parity import check, reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import TARGETS, Artifact, export
from eyas.nn.build import build
from eyas.nn.published import installed, load
from eyas.run import Done, write_json
from eyas.studies.ship import defaults, shipped

NETWORKS = {"lite0": "efficientnet_lite0@224", "lite0 at 96": "efficientnet_lite0@96"}
NEEDED = {"onnx": "onnxruntime", "openvino": "nncf", "litert": "ai_edge_litert", "executorch": "executorch", "pt2": "torch"}
PEER = "torch eager float32"
WARMUP = 10
CALIBRATION, ASKED = 128, 200


def network(name: str) -> nn.Module:
    """With its published weights."""
    arch = parse(name)
    made = build(arch, nn.Linear(arch.features, 1000))
    load(made, installed(arch))
    return made.eval()


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)


def files(name: str, scratch: Path) -> dict[str, Artifact]:
    """The network in every format that can be made here."""
    arch, made = parse(name), network(name)
    calibration = photographs("train", CALIBRATION, arch.resolution, scratch)
    ships = Shipment(made, name, tuple(map(str, range(1000))), arch.resolution, calibration=calibration)
    wanted = [target for target in TARGETS if find_spec(NEEDED.get(target.partition("-")[0], "none such")) is not None]
    return {target: export(ships, scratch / target, target) for target in wanted}


def in_turn(asks: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds of each, round by round."""
    order, draw = list(asks), np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for round_ in range(WARMUP + repeats):
        draw.shuffle(order)
        for name in order:
            begun = perf_counter()
            asks[name]()
            if round_ >= WARMUP:
                taken[name].append(1e3 * (perf_counter() - begun))
    return {name: np.array(times) for name, times in taken.items()}


def median(values: np.ndarray) -> tuple[float, float, float]:
    """The median and its 95 % interval, from the ranks that a binomial of half leaves out on either side."""
    ordered, count = np.sort(values), len(values)
    off = round(0.98 * count**0.5)
    low, high = max(0, count // 2 - off), min(count - 1, count // 2 + off)
    return float(np.median(values)), float(ordered[low]), float(ordered[high])


def measure(case: str, threads: int, repeats: int, scratch: Path) -> list[dict[str, Any]]:
    name = NETWORKS[case]
    made = files(name, scratch)
    torch.set_num_threads(threads)
    eager, side = reference_of(network(name)), parse(name).resolution
    one, many = noise(side), photographs("test", ASKED, side, scratch)
    predictors = {target: artifact.predictor(threads) for target, artifact in made.items()}
    asks = {PEER: lambda: eager(one)} | {name: lambda ask=ask: ask(one) for name, ask in predictors.items()}
    times = in_turn(asks, repeats)
    parities = {target: check(eager, ask, many) for target, ask in predictors.items()}
    rows = []
    for target, parity in parities.items():
        ratio, low, high = median(times[PEER] / times[target])
        rows.append(
            {
                "case": case,
                "arch": name,
                "variant": target,
                "runtime": made[target].runtime(),
                "peer": PEER,
                "peer_value": round(float(np.median(times[PEER])), 3),
                "eyas_value": round(float(np.median(times[target])), 3),
                "unit": "ms an image",
                "ratio": round(ratio, 3),
                "low": round(low, 3),
                "high": round(high, 3),
                "agreement": parity.agreement,
                "largest_gap": float(f"{parity.largest_gap:.2g}"),
                "bytes": made[target].bytes,
                "threads": threads,
                "rounds": repeats,
            }
        )
    return rows + [default(case, kind, made, threads, repeats) for kind in ("onnx", "onnx-int8")]


def default(case: str, planned: str, made: dict[str, Artifact], threads: int, repeats: int) -> dict[str, Any]:
    """What ships where `planned` was planned and every file keeps its promises, and how it does in a second race."""
    kept = [name for name in defaults(planned) if name in made and (TARGETS[name].precision == "int8") == ("int8" in planned)]
    first, second = (compare([made[name] for name in kept], threads, repeats=repeats) for _ in range(2))
    timing = {name: {"ratio": asdict(ratio)} for name, ratio in zip(kept, first.ratios, strict=True)}
    taken = shipped({name: Done(Path(), {"reasons": []}, "") for name in kept}, planned, timing)
    found, best = second.ratios[kept.index(taken)], kept[second.best]
    return {
        "case": f"{case}, what ships of {', '.join(kept)}",
        "arch": NETWORKS[case],
        "variant": taken,
        "peer": f"the fastest: {best}",
        "peer_value": round(second.latencies[second.best].median_ms, 3),
        "eyas_value": round(second.latencies[kept.index(taken)].median_ms, 3),
        "unit": "ms an image",
        "ratio": round(found.median, 3),
        "low": round(found.low, 3),
        "high": round(found.high, 3),
        "threads": threads,
        "rounds": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=tuple(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    found = []
    for case in (given.case,) if given.case else NETWORKS:
        with TemporaryDirectory() as scratch:
            found += measure(case, given.threads, given.repeats, Path(scratch))
    for row in found:
        form = "{case:8s} {variant:14s} {eyas_value:8.2f} ms; {peer} {peer_value:.2f} ms: {ratio} ({low} to {high})"
        print(json.dumps(row) if given.json else form.format(**row))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "runtimes.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
