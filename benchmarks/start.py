"""How long one picture's answer takes from the command line, whole processes timed in turn.

    python benchmarks/start.py [--repeats 15] [--json] [--out benchmarks/results]

`eyas predict` on an exported file, and the page that lies beside the file, started as its users start them; the peer is a
process that imports torch and does nothing. Each round asks every variant once; the ratio is the median over the rounds of the
peer's time over the variant's, with the 95 % interval of the median by the binomial.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from runtimes import median
from torch import nn

from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export
from eyas.nn.build import build
from eyas.run import write_json

ARCH = "mobilenet_v1x0.25@128"
PEER = "import torch"


def commands(folder: Path) -> dict[str, list[str]]:
    arch = parse(ARCH)
    network = build(arch, nn.Linear(arch.features, 2))
    artifact = export(Shipment(network, ARCH, ("a", "b"), arch.resolution), folder / "onnx", "onnx").folder
    picture = folder / "picture.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)).save(picture)
    return {
        PEER: [sys.executable, "-c", PEER],
        "eyas predict ARTIFACT picture.jpg": [sys.executable, "-m", "eyas", "predict", str(artifact), str(picture)],
        "python predict.py picture.jpg": [sys.executable, str(artifact / "predict.py"), str(picture)],
    }


def timed(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - start


def rows(repeats: int) -> list[dict[str, Any]]:
    with TemporaryDirectory() as scratch:
        asked = commands(Path(scratch))
        for words in asked.values():  # what is read from the disk once is in memory from then on
            timed(words)
        rounds = [{name: timed(words) for name, words in asked.items()} for _ in range(repeats)]
    found = []
    for name in list(asked)[1:]:
        ratio, low, high = median(np.array([each[PEER] / each[name] for each in rounds]))
        found.append(
            {
                "case": name,
                "peer": PEER,
                "peer_value": round(float(np.median([each[PEER] for each in rounds])), 3),
                "eyas_value": round(float(np.median([each[name] for each in rounds])), 3),
                "unit": "s a process",
                "ratio": round(ratio, 2),
                "low": round(low, 2),
                "high": round(high, 2),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    found = rows(given.repeats)
    for row in found:
        text = "{case}: {eyas_value} s; {peer} alone {peer_value} s; {ratio} times as fast ({low} to {high})"
        print(json.dumps(row) if given.json else text.format(**row))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "start.json", {"date": str(date.today()), "machine": machine(), "rows": found})


if __name__ == "__main__":
    main()
