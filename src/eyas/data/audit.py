"""What the data is fit for: splits fixed, duplicates and leaks out, what cannot be read listed. It decides, `save` writes."""

import csv
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eyas.data.duplicates import apart, distinct, firewall, near_pairs, together
from eyas.data.manifest import SPLITS, Manifest
from eyas.data.outliers import outliers
from eyas.data.splits import apportion, fix_splits, shuffled
from eyas.data.store import Built, Refused, Store
from eyas.errors import UserError
from eyas.recipe import Splits
from eyas.run import write_atomic, write_json

VERSION = 2  # of what is checked and found: a run that was checked differently is checked again


@dataclass(frozen=True)
class Audit:
    """The data of a run.

    `manifest`: the labelled rows that are kept, every split fixed. `pile`: the unlabelled rows that are kept.
    `classes`: what the outputs of a model mean, in order. `quarantine`: the files that cannot be read. `findings`: JSON.
    """

    manifest: Manifest
    pile: Manifest | None
    classes: tuple[str, ...]
    quarantine: tuple[Refused, ...]
    findings: dict[str, Any]


def audit(
    manifest: Manifest, pile: Manifest | None, built: Built, pile_built: Built | None, splits: Splits, seed: int
) -> Audit:
    """Decide what is trained on, chosen with and tested on, so that no picture and no group is on two sides.

    * What could not be decoded is quarantined.
    * Equal pictures with different labels are all dropped. With equal labels, test wins over validation over train;
      within training one copy stays. Copies within a held-out split stay: they leak nothing, and published test splits
      keep their size.
    * Splits that the data does not fix are drawn (`eyas.data.splits`).
    * Near copies (`eyas.data.near`) are drawn into one split. Where the data, or `draw_test`, has parted them, those of a
      held-out picture leave training; all others stay, and are listed.
    * The leak firewall: the pile loses every picture, near copies too, and every group, that validation or test holds;
      what training or the pile itself holds already, pixel by pixel, is dropped too.
    * Pictures unlike the rest (`eyas.data.outliers`) are listed.

    `built` and `pile_built` are what `eyas.data.store.build` made of `manifest` and `pile`, or of more rows.

    Raises:
        UserError: the data puts one group into two splits.
    """
    readable, quarantine = _readable(manifest, built)
    different, equal = distinct(readable, built.store)
    copies = near_pairs(different, built.store)
    drawn = fix_splits(together(different, copies), splits, seed)
    fixed, near = apart(different.with_splits(drawn.column("split")), copies)
    kept_pile, pile_findings = None, None
    if pile is not None and pile_built is not None:
        readable_pile, refused = _readable(pile, pile_built)
        quarantine += refused
        kept_pile, pile_findings = firewall(readable_pile, pile_built.store, fixed, built.store)
        pile_findings = {"read": len(pile), "unreadable": len(refused), **pile_findings}
    findings = {
        "read": len(manifest),
        "unreadable": len(manifest) - len(readable),
        "images": len(fixed),
        **_balance(fixed),
        "sizes": _sizes(fixed, built.store),
        "duplicates": equal,
        "near": near,
        "odd": outliers(fixed.column("id"), _index(fixed, built.store)),
        "pile": pile_findings,
    }
    return Audit(fixed, kept_pile, fixed.where(split="train").classes, quarantine, findings)


def check_classes(manifest: Manifest) -> None:
    """Whether a classifier can be trained: two classes, two images each, one of them for training.

    Raises:
        UserError: naming the classes in the way, and what to do.
    """
    images = Counter(manifest.column("label"))
    training = Counter(manifest.where(split="train").column("label")) + Counter(
        label for label, split in zip(manifest.column("label"), manifest.column("split"), strict=True) if split is None
    )
    if len(images) < 2:
        left = f"images of {next(iter(images))!r} only" if images else "no image"
        raise UserError(
            f"{left} can be used; a classifier needs at least two classes with two images each (see quarantine.csv)"
        )
    single = sorted(label for label, count in images.items() if count == 1)
    if single:
        raise UserError(f"{_named(single)} one usable image; add another, or take the class out")
    untrained = sorted(set(images) - set(training))
    if untrained:
        raise UserError(f"{_named(untrained)} images to test or choose with but none to train on; move some to the train split")


def limit_labels(manifest: Manifest, labels: int, seed: int) -> tuple[Manifest, Manifest]:
    """Keep `labels` labels outside the test split, in proportion to the classes, and hide the others.

    Call it before the validation split is drawn, and after the test split is (`eyas.data.splits.draw_test`). Returns the
    labelled rows, those of the test split all among them, and the other rows as a pile without labels.

    Raises:
        UserError: there are not so many, or they are fewer than two a class.
    """
    open_rows = [row for row, split in enumerate(manifest.column("split")) if split != "test"]
    classes = manifest.column("label")
    count = len({classes[row] for row in open_rows})
    if labels > len(open_rows):
        raise UserError(
            f"{labels} labels asked for, {len(open_rows)} are there outside the test split; ask for no more than that"
        )
    if labels < 2 * count:
        raise UserError(f"{labels} labels are too few for {count} classes; ask for {2 * count} at least, two a class")
    kept = _sample(manifest, open_rows, labels, seed)
    hidden = [
        split != "test" and id not in kept for id, split in zip(manifest.column("id"), manifest.column("split"), strict=True)
    ]
    return manifest.where([not hide for hide in hidden]), manifest.where(hidden).without_labels()


def save(audit: Audit, folder: Path) -> None:
    """Write `audit.json`, `classes.json`, `manifest.parquet`, `pile.parquet` (where there is a pile) and `quarantine.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "audit.json", audit.findings)
    write_json(folder / "classes.json", audit.classes)
    audit.manifest.save(folder / "manifest.parquet")
    if audit.pile is not None:
        audit.pile.save(folder / "pile.parquet")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "source", "reason"))
    writer.writerows((row.id, row.source, row.reason) for row in audit.quarantine)
    write_atomic(folder / "quarantine.csv", text.getvalue().encode())


def _readable(manifest: Manifest, built: Built) -> tuple[Manifest, tuple[Refused, ...]]:
    refused = {row.id: row for row in built.refused}
    ids = manifest.column("id")
    return manifest.where([id not in refused for id in ids]), tuple(refused[id] for id in ids if id in refused)


def _sample(manifest: Manifest, rows: list[int], total: int, seed: int) -> set[str]:
    """Ids of `total` of the rows, by class, and within a class by the split that the data fixes."""
    ids, labels, splits = (manifest.column(name) for name in ("id", "label", "split"))
    strata: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        strata[labels[row]][splits[row] or ""].append(ids[row])
    kept: set[str] = set()
    names = sorted(strata)
    for name, quota in zip(names, _quotas([sum(map(len, strata[name].values())) for name in names], total, 2), strict=True):
        parts = [strata[name][split] for split in sorted(strata[name])]
        for part, share in zip(parts, _quotas([len(part) for part in parts], quota, 1), strict=True):
            kept.update(shuffled(part, "labels", seed)[:share])
    return kept


def _quotas(counts: list[int], total: int, least: int) -> list[int]:
    floor = least if total >= least * len(counts) else 0
    return apportion(counts, total, [min(floor, count) for count in counts], counts)


def _balance(manifest: Manifest) -> dict[str, Any]:
    table = Counter(zip(manifest.column("label"), manifest.column("split"), strict=True))
    training = [table[label, "train"] for label in manifest.classes if table[label, "train"]]
    return {
        "splits": {split: len(manifest.where(split=split)) for split in SPLITS},
        "classes": {label: {split: table[label, split] for split in SPLITS} for label in manifest.classes},
        "imbalance": max(training) / min(training) if training else None,  # largest class over smallest, in training
    }


def _sizes(manifest: Manifest, store: Store) -> dict[str, Any]:
    """Smallest, middle and largest height and width in pixels, of the files as they are, and how many are grey."""
    index = _index(manifest, store)
    return {
        "height": _range(index["original_height"].to_pylist()),
        "width": _range(index["original_width"].to_pylist()),
        "grey": sum(channels == 1 for channels in index["channels"].to_pylist()),
    }


def _index(manifest: Manifest, store: Store) -> pa.Table:
    """The rows of the store's index that are in the manifest, in its order."""
    return store.index.drop_columns("thumbnail").take(
        pa.array([store.position(id) for id in manifest.column("id")], pa.int64())
    )


def _range(values: Collection[int]) -> list[int] | None:
    return [min(values), statistics.median_low(values), max(values)] if values else None


def _named(labels: Iterable[str]) -> str:
    names = list(labels)
    shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the class {shown} has" if len(names) == 1 else f"the classes {shown} have"
