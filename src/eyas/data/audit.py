"""What the data is fit for: splits fixed, duplicates and leaks out, what cannot be read listed. It decides, `save` writes."""

import csv
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.data.manifest import SPLITS, Manifest
from eyas.data.splits import apportion, fix_splits, shuffled
from eyas.data.store import Built, Refused, Store
from eyas.errors import UserError
from eyas.recipe import Splits
from eyas.run import write_atomic, write_json

EXAMPLES = 50  # of each kind of finding that are named; the counts are complete


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
    * The leak firewall: the pile loses every picture, and every group, that validation or test holds; what training or
      the pile itself holds already is dropped too.

    `built` and `pile_built` are what `eyas.data.store.build` made of `manifest` and `pile`, or of more rows.

    Raises:
        UserError: the data puts one group into two splits.
    """
    readable, quarantine = _readable(manifest, built)
    hashes = _hashes(built.store)
    distinct, duplicates = _distinct(readable, hashes)
    fixed = fix_splits(distinct, splits, seed)
    kept_pile, pile_findings = None, None
    if pile is not None and pile_built is not None:
        readable_pile, refused = _readable(pile, pile_built)
        quarantine += refused
        kept_pile, pile_findings = _firewall(readable_pile, _hashes(pile_built.store), fixed, hashes)
        pile_findings = {"read": len(pile), "unreadable": len(refused), **pile_findings}
    findings = {
        "read": len(manifest),
        "unreadable": len(manifest) - len(readable),
        "images": len(fixed),
        **_balance(fixed),
        "sizes": _sizes(fixed, built.store),
        "duplicates": duplicates,
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


def _hashes(store: Store) -> dict[str, str]:
    return dict(zip(store.ids, store.hashes, strict=True))


def _distinct(manifest: Manifest, hashes: dict[str, str]) -> tuple[Manifest, dict[str, Any]]:
    """The rows without repeated pictures, and what was found."""
    ids, labels, splits = (manifest.column(name) for name in ("id", "label", "split"))
    same: dict[str, list[int]] = defaultdict(list)
    for row, id in enumerate(ids):
        same[hashes[id]].append(row)
    dropped: set[int] = set()
    counts: Counter[str] = Counter()
    copies, conflicts = [], []
    for rows in same.values():
        if len({labels[row] for row in rows}) > 1:
            conflicts.append([{"id": ids[row], "label": labels[row]} for row in rows])
            dropped.update(rows)
        elif len(rows) > 1:
            kept = _kept_copies(rows, splits)
            counts["kept_in_held_out"] += len(kept) - 1
            counts["across_splits"] += sum(_held(splits[row]) != _held(splits[kept[0]]) for row in rows)
            copies.append([ids[row] for row in (*kept, *(row for row in rows if row not in kept))])
            dropped.update(set(rows) - set(kept))
            counts["dropped"] += len(rows) - len(kept)
    findings = {
        "dropped": counts["dropped"],
        "of_which_across_splits": counts["across_splits"],
        "kept_in_held_out": counts["kept_in_held_out"],
        "copies": copies[:EXAMPLES],
        "conflicting_labels": sum(len(rows) for rows in conflicts),
        "conflicts": conflicts[:EXAMPLES],
    }
    return manifest.where([row not in dropped for row in range(len(ids))]), findings


def _kept_copies(rows: list[int], splits: list[str | None]) -> list[int]:
    for split in ("test", "validation"):
        held_out = [row for row in rows if splits[row] == split]
        if held_out:
            return held_out
    return rows[:1]


def _held(split: str | None) -> str:
    return split or "train"


def _firewall(
    pile: Manifest, pile_hashes: dict[str, str], manifest: Manifest, hashes: dict[str, str]
) -> tuple[Manifest, dict[str, int]]:
    """The pile without what it may not hold, and how many were dropped for which reason."""
    seen: dict[str, str] = {}
    groups: dict[str, str] = {}
    for id, split, group in zip(*(manifest.column(name) for name in ("id", "split", "group")), strict=True):
        seen[hashes[id]] = split
        if group is not None and split != "train":
            groups[group] = split
    counts: Counter[str] = Counter()
    keep = []
    for id, group in zip(pile.column("id"), pile.column("group"), strict=True):
        where = seen.get(pile_hashes[id])
        reason = f"equal_to_{where}" if where else f"group_in_{groups[group]}" if group in groups else "kept"
        if reason == "kept":
            seen[pile_hashes[id]] = "pile"
        counts[reason] += 1
        keep.append(reason == "kept")
    reasons = [f"equal_to_{where}" for where in (*SPLITS, "pile")] + ["group_in_validation", "group_in_test"]
    return pile.where(keep), {"images": counts["kept"]} | {reason: counts[reason] for reason in reasons}


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
    rows = [store.position(id) for id in manifest.column("id")]
    columns = {name: store.index[name].to_pylist() for name in ("original_height", "original_width", "channels")}
    picked = {name: [values[row] for row in rows] for name, values in columns.items()}
    return {
        "height": _range(picked["original_height"]),
        "width": _range(picked["original_width"]),
        "grey": sum(channels == 1 for channels in picked["channels"]),
    }


def _range(values: Collection[int]) -> list[int] | None:
    return [min(values), statistics.median_low(values), max(values)] if values else None


def _named(labels: Iterable[str]) -> str:
    names = list(labels)
    shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the class {shown} has" if len(names) == 1 else f"the classes {shown} have"
