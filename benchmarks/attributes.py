"""Attributes of solar cells (ELPV) by distillation, in the manner of MobileNets' Table 12: students of several sizes.

    python benchmarks/attributes.py [--case NAME ...] [--json] [--out benchmarks/results] [--labels 800] [--steps 300]
        [--work FOLDER]

A teacher, EfficientNet-Lite0 with its ImageNet weights, learns three attributes of each cell (defective, mono, uncertain) from
some labels. MobileNets drawn from scratch learn its answers on the labelled and the unlabelled cells, without weight decay; as
controls the same networks learn from the labels. Mean average precision over the attributes on the 656 test cells, with 95 %
bootstrap intervals. A run that was stopped goes on.
"""

import argparse
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.places import user_cache
from eyas.recipe import Splits, Training
from eyas.run import Run, write_json
from eyas.studies.attributes import Attributed, measured_attributes, reader_of
from eyas.studies.learning import MODEL, start
from eyas.studies.prepare import prepare
from eyas.studies.train_attributes import distil_attributes, train_attributes

SIDE = 128
TEACHER = f"efficientnet_lite0@{SIDE}"
STUDENTS = tuple(f"mobilenet_v1{width}@{side}" for side in (SIDE, 96) for width in ("", "x0.5", "x0.25"))
CASES = (
    {"teacher": TEACHER}
    | {f"distilled {arch}": arch for arch in STUDENTS}
    | {f"distilled, unlabelled cells only {STUDENTS[1]}": STUDENTS[1]}
    | {f"from labels {arch}": arch for arch in STUDENTS}
)
SEED = 0


def results(work: Path, cases: list[str], labels: int, steps: int) -> Iterator[dict[str, object]]:
    """A row for each case; what was trained before is not trained again."""
    lesson = Training(epochs=0.01, min_steps=steps, evaluate_every=max(1, steps // 6))
    with Run.open(work / f"labels-{labels}") as run:
        ready = prepare(run, "elpv", None, labels, Splits(), SIDE, SEED, to_train=False, reader=reader_of())
        teacher = train_attributes(run, start(parse(TEACHER), "auto"), ready, lesson, SEED, name="teacher")
        for case in cases:
            begin, name = start(parse(CASES[case]), "none"), case.replace(",", "").replace(" ", "-")
            if case == "teacher":
                done = teacher
            elif case.startswith("distilled"):
                only = "only" in case
                done = distil_attributes(
                    run, begin, teacher.folder / MODEL, ready, lesson, SEED, unlabelled_only=only, name=name
                )
            else:
                done = train_attributes(run, begin, ready, lesson, SEED, name=name)
            found = measured_attributes(run, f"test-{name}", done, Attributed.of(ready)).result
            yield row(case, CASES[case], found)


def row(case: str, arch: str, found: dict) -> dict[str, object]:
    mean, price = found["mean"], cost(parse(arch), len(found["each"]))
    return {
        "case": case,
        "arch": arch,
        "madds": price.madds,
        "parameters": price.params,
        "eyas_value": round(100 * mean["value"], 1),
        "unit": "% mean average precision",
        "low": round(100 * mean["low"], 1),
        "high": round(100 * mean["high"], 1),
        "each": {name: round(100 * each["value"], 1) for name, each in found["each"].items()},
        "images": mean["images"],
    }


def show(result: dict, as_json: bool) -> None:
    each = ", ".join(f"{name} {value}" for name, value in result["each"].items())
    text = (
        f"{result['case']:58s} {result['madds'] / 1e6:6.1f} M {result['parameters'] / 1e6:5.2f} M  mAP {result['eyas_value']} "
        f"({result['low']} to {result['high']})  {each}"
    )
    print(json.dumps(result) if as_json else text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--labels", type=int, default=800, help="labels of the teacher and the controls")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--work", type=Path, default=user_cache() / "benchmarks" / "attributes", help="folder of the runs")
    given = parser.parse_args()
    found = []
    for result in results(given.work, given.case or list(CASES), given.labels, given.steps):
        found.append(result)
        show(result, given.json)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {"date": str(date.today()), "machine": machine(), "labels": given.labels, "steps": given.steps}
        write_json(given.out / "attributes.json", about | {"rows": found})


if __name__ == "__main__":
    main()
