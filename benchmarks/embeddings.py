"""Verification of emoji across vendors: what four vendors draw for one meaning is one identity.

    python benchmarks/embeddings.py [--case NAME] [--json] [--out benchmarks/results] [--steps 800] [--work FOLDER]

A teacher learns from triplets (margin 0.2, semi-hard), students learn its vectors or, as controls, from triplets themselves.
Whole groups of meanings (faces, flags, fruit) are held out, so no near copy of a tested meaning was learned. All pairs of test
pictures are told apart: area under the ROC curve, and the share of pairs of one meaning that is accepted where one in 1,000
others is; with 95 % bootstrap intervals over meanings. A run that was stopped goes on. The pictures are fetched by npm and
are not redistributed (benchmarks/emoji.py).
"""

import argparse
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from emoji import VENDORS, Emoji, drawn, fetch, opened, split
from PIL import Image

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.places import user_cache
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, write_json
from eyas.studies.learning import MODEL, start
from eyas.studies.prepare import prepare
from eyas.studies.train_embed import Embedding, distil_embed, measured_embed, reader_of, train_embed

SIDE = 64
TEACHER = f"mobilenet_v1@{SIDE}/16"
STUDENTS = (f"mobilenet_v1x0.5@{SIDE}/16", f"mobilenet_v1x0.25@{SIDE}/16", f"mobilenet_v1x0.25@{SIDE // 2}/8")
CASES = {"teacher": TEACHER} | {f"{way} {arch}": arch for arch in STUDENTS for way in ("distilled", "triplets")}
# Mirrored, an arrow means another thing, and so does a heart of another colour.
AUGMENT = Augment(operations=0, crop=0.6, flips="none", erase=0.2)
WIDTH = 128
SEED = 0


def pictures(folder: Path) -> Path:
    """A folder for each meaning within train, validation and test, with a picture of each vendor on white."""
    if not (folder / ".whole").exists():
        learned, tested = split(drawn(fetch()), 0.3, SEED)
        learned, judged = split(learned, 0.2, SEED + 1)
        for name, emoji in {"train": learned, "validation": judged, "test": tested}.items():
            for each in emoji:
                on_white(each, folder / name / each.code)
        (folder / ".whole").touch()
    return folder


def on_white(emoji: Emoji, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for vendor, file in zip(VENDORS, emoji.pictures, strict=True):
        picture = Image.fromarray(opened(file))
        white = Image.new("RGBA", picture.size, "white")
        Image.alpha_composite(white, picture).convert("RGB").save(folder / f"{vendor}.png")


def results(work: Path, cases: list[str], steps: int) -> Iterator[dict[str, object]]:
    """A row for each case; what was trained before is not trained again."""
    lesson = Training(
        epochs=0.01,
        min_steps=steps,
        batch=64,
        rate=2e-3,
        dropout=0.0,
        drop_path=0.0,
        evaluate_every=max(1, steps // 4),
        augment=AUGMENT,
    )
    data = pictures(work / "pictures")
    with Run.open(work / "run") as run:
        splits = Splits()
        ready = prepare(run, str(data), None, 0, splits, SIDE, SEED, to_train=False, reader=reader_of(splits, SEED))
        teacher = train_embed(run, start(parse(TEACHER), "none"), ready, lesson, SEED, Embedding(WIDTH), "teacher")
        for case in cases:
            begin, name = start(parse(CASES[case]), "none"), case.replace("/", "-").replace(" ", "-")
            if case == "teacher":
                done = teacher
            elif case.startswith("distilled"):
                done = distil_embed(run, begin, teacher.folder / MODEL, ready, lesson, SEED, name=name)
            else:
                done = train_embed(run, begin, ready, lesson, SEED, Embedding(WIDTH), name)
            yield row(case, CASES[case], measured_embed(run, f"test-{name}", done, ready).result)


def row(case: str, arch: str, found: dict) -> dict[str, object]:
    told, price = found["verification"], cost(parse(arch), WIDTH)
    few = next(each for each in told["accepted"] if each["false_share"] == 1e-3)
    return {
        "case": case,
        "arch": arch,
        "madds": price.madds,
        "parameters": price.params,
        "eyas_value": round(told["auc"]["value"], 4),
        "unit": "AUC",
        "auc_interval": [round(told["auc"][end], 4) for end in ("low", "high")],
        "tar_at_far_0.001": round(100 * few["rate"]["value"], 1),
        "tar_interval": [round(100 * few["rate"][end], 1) for end in ("low", "high")],
        "accuracy": round(100 * told["accuracy"], 2),
        "recall@1": round(100 * found["retrieval"]["figures"]["recall@1"]["value"], 1),
        "same": told["same"],
        "different": told["different"],
    }


def show(result: dict, as_json: bool) -> None:
    low, high = result["tar_interval"]
    text = (
        f"{result['case']:44s} {result['madds'] / 1e6:6.1f} M  AUC {result['eyas_value']:.4f} "
        f"({result['auc_interval'][0]:.4f} to {result['auc_interval'][1]:.4f})  TAR@FAR=0.001 {result['tar_at_far_0.001']} % "
        f"({low} to {high})  recall@1 {result['recall@1']} %"
    )
    print(json.dumps(result) if as_json else text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--work", type=Path, default=user_cache() / "benchmarks" / "embeddings", help="folder of the runs")
    given = parser.parse_args()
    found = []
    for result in results(given.work, [given.case] if given.case else list(CASES), given.steps):
        found.append(result)
        show(result, given.json)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        about = {"date": str(date.today()), "machine": machine(), "steps": given.steps, "vendors": VENDORS}
        write_json(given.out / "embeddings.json", about | {"rows": found})


if __name__ == "__main__":
    main()
