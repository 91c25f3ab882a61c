"""Much noisily labelled data before few clean labels (MobileNets, section 4.3), on Fashion-MNIST with 40 % wrong labels.

    python benchmarks/noisy_labels.py [--case NAME] [--json] [--out benchmarks/results] [--labels 500] [--images 20000]
        [--noise 0.4] [--steps 900] [--seeds 1] [--work FOLDER]

From scratch on the clean labels, for as many steps as fine-tuning has and on as many images as both trainings see;
pretrained on the noisy images, with and without dropping the largest losses of a batch (training.small_loss), and what each
pretrained network knows before it is fine-tuned, one of them without label smoothing. Test accuracy on the 10,000 clean test
images with intervals, and each case against the first by paired bootstrap. A run that was stopped goes on.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from eyas.arch.parse import parse
from eyas.data.label_noise import with_wrong_labels
from eyas.data.manifest import Manifest
from eyas.data.readers import read
from eyas.data.splits import shuffled
from eyas.deploy.measure import machine
from eyas.nn.weights import load_network
from eyas.places import user_cache
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, write_json
from eyas.studies.answering import correct, probabilities
from eyas.studies.learning import MODEL, Start, start, supervised
from eyas.studies.prepare import Data, prepare
from eyas.studies.pretrain import FOLDER, for_clean, for_noisy, pretrained
from eyas.studies.proof import accuracy, compare

ARCH = "mobilenet_v1x0.5@32/8"
BASE = "clean labels only, from scratch"
LONG = "clean labels only, from scratch, as many images as both"
CASES = (
    BASE,
    LONG,
    "noisy labels only, without label smoothing",
    "noisy labels only",
    "noisy labels only, small losses",
    "noisy labels, then clean ones",
    "noisy labels, small losses, then clean ones",
    "noisy labels, small losses, then clean ones at layer-wise rates",
)
DATA = "fashion-mnist"


def taught(
    case: str, run: Run, data: Data, noisy: tuple[int, float], lessons: tuple[Training, Training, Training], seed: int
) -> np.ndarray:
    """Which test images the case's network answers rightly; what was trained before is not trained again."""
    clean, much, long = lessons
    begin: Start = start(parse(ARCH), "none")
    name, model = case.replace(",", "").replace(" ", "-"), None
    if case not in (BASE, LONG):
        small, sharp = "small losses" in case, "without label smoothing" in case
        much = replace(much, small_loss=noisy[1] if small else 0.0, label_smoothing=0.0 if sharp else much.label_smoothing)
        place = Run(run.path / ("small" if small else "sharp" if sharp else "all"))
        place.path.mkdir(exist_ok=True)
        begin = pretrained(place, DATA, begin, data, for_noisy(much), Splits(), seed, None, lambda _: some_noisy(*noisy, seed))
        model = place.path / FOLDER / "model" / MODEL
    if "only" not in case or case in (BASE, LONG):
        lesson = for_clean(replace(long if case == LONG else clean, layer_decay=0.8 if "layer-wise" in case else 1.0))
        done = run.stage(
            name,
            lambda folder: supervised(folder, case, begin, data, lesson, seed),
            start=begin.facts,
            data=data.digest,
            training=lesson,
            seed=seed,
        )
        model = done.folder / MODEL
    assert model
    test = data.examples("test")
    return correct(probabilities(load_network(model)[0], test), test)


def some_noisy(images: int, share: float, seed: int) -> Manifest:
    """So many of the training images, with a share of wrong labels."""
    found = read(DATA)
    found = found.where(split="train")
    chosen = set(shuffled(found.column("id"), "some", seed)[:images])
    return with_wrong_labels(found.where([id in chosen for id in found.column("id")]), share, seed)


def results(given: argparse.Namespace, cases: list[str]) -> Iterator[dict[str, object]]:
    """A row for each case, over all seeds."""
    plain = Augment(operations=0, crop=0.7)
    clean = Training(epochs=0.01, min_steps=max(1, given.steps // 3), dropout=0.1, drop_path=0.0, augment=plain)
    much = replace(clean, min_steps=given.steps, batch=64)
    long = replace(much, min_steps=given.steps + given.steps // 6)
    right: dict[str, list[np.ndarray]] = {case: [] for case in cases}
    for seed in range(given.seeds):
        with Run.open(given.work / f"{given.labels}-{given.images}-{given.noise}-{seed}") as run:
            data = prepare(run, DATA, None, given.labels, Splits(), 32, seed, hidden_joins_pile=False)
            for case in cases:
                right[case].append(taught(case, run, data, (given.images, given.noise), (clean, much, long), seed))
                if seed == given.seeds - 1:
                    yield row(case, right)


def row(case: str, right: dict[str, list[np.ndarray]]) -> dict[str, object]:
    ours, theirs = np.concatenate(right[case]), np.concatenate(right[BASE])
    scored, gain = accuracy(ours), compare(ours, theirs)
    return {
        "case": case,
        "peer": BASE,
        "peer_value": round(100 * accuracy(theirs).value, 2),
        "eyas_value": round(100 * scored.value, 2),
        "unit": "% of test images",
        "low": round(100 * scored.low, 2),
        "high": round(100 * scored.high, 2),
        "points": round(gain.difference, 2),
        "points_interval": [round(gain.low, 2), round(gain.high, 2)],
    }


def show(result: dict, as_json: bool) -> None:
    low, high = result["points_interval"]
    text = (
        f"{result['case']:66s} {result['eyas_value']:5.2f} % ({result['low']} to {result['high']})  "
        f"{result['points']:+} points ({low:+} to {high:+})"
    )
    print(json.dumps(result) if as_json else text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--labels", type=int, default=500, help="clean labels")
    parser.add_argument("--images", type=int, default=20_000, help="noisily labelled images")
    parser.add_argument("--noise", type=float, default=0.4, help="share of wrong labels among them")
    parser.add_argument("--steps", type=int, default=900, help="on the noisy images; a third as many on the clean ones")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=user_cache() / "benchmarks" / "noisy-labels", help="folder of the runs")
    given = parser.parse_args()
    found = []
    for result in results(given, list(CASES) if given.case is None else list(dict.fromkeys((BASE, given.case)))):
        found.append(result)
        show(result, given.json)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {name: getattr(given, name) for name in ("labels", "images", "noise", "steps", "seeds")}
        write_json(given.out / "noisy_labels.json", {"date": str(date.today()), "machine": machine(), **about, "rows": found})


if __name__ == "__main__":
    main()
