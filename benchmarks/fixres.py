"""Training below the resolution of evaluation, with and without the fine-tune at it and a test crop, on solar cells (ELPV).

    python benchmarks/fixres.py [--case NAME] [--json] [--out benchmarks/results] [--labels 800] [--steps 120] [--seeds 1]

EfficientNet-Lite0 begins with its ImageNet weights and is trained for the same number of steps in every case; the test
split has 656 images. The first case, trained and evaluated at 128 pixels, is what the others are held against: in points of
test accuracy with a paired bootstrap interval (all seeds pooled), and in the processor seconds that the training took. The
cases come in turn within each seed; run it alone on a quiet machine where the seconds matter.
"""

import argparse
import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.nn.weights import load_network
from eyas.recipe import Splits, Training
from eyas.run import Run, write_json
from eyas.studies.answering import correct, probabilities
from eyas.studies.learning import MODEL, start, supervised
from eyas.studies.prepare import Data, prepare
from eyas.studies.proof import accuracy, compare

ARCH = "efficientnet_lite0"
BASE = "trained at 128, tested at 128"
# The resolution of evaluation, and how it is trained for.
CASES: dict[str, tuple[int, dict[str, float]]] = {
    BASE: (128, {}),
    "trained at 96, tested at 96": (96, {}),
    "trained at 96, tested at 128": (128, {"train_resolution": 0.75}),
    "trained at 96, fine-tuned and tested at 128": (128, {"train_resolution": 0.75, "fine_tune": 1.5}),
    "trained at 128, fine-tuned at it": (128, {"fine_tune": 1.5}),
    "trained at 128, tested on a crop of 0.875": (128, {"test_crop": 0.875}),
    "trained at 96, fine-tuned and tested at 128 on a crop of 0.875": (
        128,
        {"train_resolution": 0.75, "fine_tune": 1.5, "test_crop": 0.875},
    ),
}


def taught(case: str, data: Data, training: Training, seed: int, folder: Path) -> tuple[np.ndarray, float]:
    """Which test images the trained network answers rightly, and the processor seconds of its training."""
    resolution, asked = CASES[case]
    folder.mkdir()
    begin, began = start(parse(f"{ARCH}@{resolution}"), "auto"), time.process_time()
    supervised(folder, case, begin, data, replace(training, **asked), seed)
    spent = time.process_time() - began
    network, _ = load_network(folder / MODEL)
    test = data.examples("test")
    return correct(probabilities(network, test), test), spent


def row(case: str, right: dict[str, list[np.ndarray]], spent: dict[str, list[float]]) -> dict[str, object]:
    ours, theirs = np.concatenate(right[case]), np.concatenate(right[BASE])
    gain, times = compare(ours, theirs), [float(np.median(spent[name])) for name in (case, BASE)]
    return {
        "case": case,
        "peer": BASE,
        "peer_value": round(100 * accuracy(theirs).value, 1),
        "eyas_value": round(100 * accuracy(ours).value, 1),
        "unit": "% of test images",
        "points": round(gain.difference, 2),
        "low": round(gain.low, 2),
        "high": round(gain.high, 2),
        "processor_seconds": round(times[0], 1),
        "ratio": round(times[0] / times[1], 3),  # of the processor seconds
    }


def show(result: dict[str, object], as_json: bool) -> None:
    gain = f"{result['points']:+} points ({result['low']:+} to {result['high']:+})"
    text = f"{result['case']:64s} {result['eyas_value']:5} %  {gain:32s} {result['processor_seconds']} processor seconds"
    print(json.dumps(result) if as_json else text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--labels", type=int, default=800)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    cases = list(CASES) if given.case is None else list(dict.fromkeys((BASE, given.case)))
    training = Training(epochs=0.01, min_steps=given.steps, checkpoint_every=10**6, evaluate_every=max(1, given.steps // 4))
    right: dict[str, list[np.ndarray]] = {case: [] for case in cases}
    spent: dict[str, list[float]] = {case: [] for case in cases}
    with TemporaryDirectory() as scratch:
        for seed in range(given.seeds):
            place = Path(scratch) / str(seed)
            with Run.open(place) as run:
                data = prepare(run, "elpv", None, given.labels, Splits(), 128, seed, hidden_joins_pile=False)
            for number, case in enumerate(cases):
                answered, seconds = taught(case, data, training, seed, place / f"case-{number}")
                right[case].append(answered)
                spent[case].append(seconds)
                if seed == given.seeds - 1:
                    show(row(case, right, spent), given.json)
    found = [row(case, right, spent) for case in cases]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {"date": str(date.today()), "machine": machine(), "labels": given.labels, "steps": given.steps}
        write_json(given.out / "fixres.json", about | {"seeds": given.seeds, "rows": found})


if __name__ == "__main__":
    main()
