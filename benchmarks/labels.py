"""How many wrong labels are found: some are swapped at random, and looked for by cross-validation.

    python benchmarks/labels.py [--data elpv] [--share 0.05] [--folds 5] [--images 0] [--steps 120] [--json] [--out FOLDER]

A share of the labels gets another class, drawn by a fixed seed, in a list of the images; the images themselves are not
touched (DATA is one of files: elpv, or folders). `eyas audit --folds` then says which labels look wrong. `eyas_value` is the
share of the swapped labels among them, and `right` the share of what it names that was swapped. Labels that were wrong before
count against it: nobody knows them.
"""

import argparse
import csv
import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import eyas
from eyas.data.manifest import Manifest
from eyas.data.readers import read
from eyas.deploy.measure import machine
from eyas.recipe import Training
from eyas.run import write_json
from eyas.studies.suspects import STAGE, read_suspects


def swapped(manifest: Manifest, share: float, images: int) -> tuple[Manifest, set[str]]:
    """`images` rows (0: all), a share of them with another class; and which."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(manifest))[: images or len(manifest)])
    kept = manifest.where(np.isin(np.arange(len(manifest)), rows))
    labels, classes = kept.column("label"), kept.classes
    chosen = rng.permutation(len(kept))[: round(share * len(kept))].tolist()
    for row in chosen:
        labels[row] = str(rng.choice([name for name in classes if name != labels[row]]))
    ids = kept.column("id")
    columns = {"id": ids, "source": kept.column("source"), "label": labels}
    return Manifest.of(columns, kept.flips), {ids[row] for row in chosen}


def found_in(data: str, share: float, images: int, folds: int, steps: int, arch: str) -> dict[str, object]:
    manifest, wrong = swapped(read(data), share, images)
    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "list.csv"
        with place.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label"))
            writer.writerows(zip(manifest.column("source"), manifest.column("label"), strict=True))
        training = Training(epochs=0.01, min_steps=steps, checkpoint_every=10**6)
        checked = eyas.audit(place, Path(scratch) / "run", folds=folds, arch=arch, training=training).labels
        assert checked is not None
        sources = dict(zip(manifest.column("source"), manifest.column("id"), strict=True))
        named = [sources.get(suspect.source, "") for suspect in read_suspects(Path(scratch) / "run" / STAGE)]
    hits = [name in wrong for name in named]
    first = hits[: len(wrong)]
    return {
        "case": f"{data}: {share:.0%} of the labels swapped",
        "eyas_value": round(100 * sum(hits) / max(len(wrong), 1), 1),
        "unit": "% of the swapped labels found",
        "swapped": len(wrong),
        "images": checked["answered"],
        "named": len(named),
        "right": round(100 * sum(hits) / max(len(named), 1), 1),
        "right_among_first": round(100 * sum(first) / max(len(first), 1), 1),  # of as many as were swapped
        "agree": round(100 * checked["agree"], 1),
        "folds": folds,
        "arch": checked["arch"],
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="elpv")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--arch", default="efficientnet_lite0@128")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--out", type=Path, help="folder to keep the result in")
    given = parser.parse_args()
    found = found_in(given.data, given.share, given.images, given.folds, given.steps, given.arch)
    text = (
        f"{found['case']} ({found['swapped']} of {found['images']}): {found['named']} labels named, {found['eyas_value']} % of "
        f"the swapped among them; {found['right']} % of the named were swapped, {found['right_among_first']} % of the first "
        f"{found['swapped']}"
    )
    print(json.dumps(found) if given.json else text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "labels.json", {"date": str(date.today()), "machine": machine(), "rows": [found]})


if __name__ == "__main__":
    main()
