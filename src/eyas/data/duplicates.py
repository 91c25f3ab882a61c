"""Pictures that are there twice, equal or near: what is dropped so that nothing that is tested was seen in training."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from eyas.data.manifest import SPLITS, Manifest
from eyas.data.near import Matches, near_copies
from eyas.data.quality import THUMBNAIL
from eyas.data.spectrum import Thumbnails
from eyas.data.store import Store

EXAMPLES = 50  # of each kind of finding that are named; the counts are complete
HELD_OUT = ("test", "validation")  # in the order of what a leak into it would spoil


def distinct(manifest: Manifest, store: Store) -> tuple[Manifest, dict[str, Any]]:
    """The rows without repeated pictures, and what was found; splits that are still free count as training."""
    hashes = _hashes(store)
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


def near_pairs(manifest: Manifest, store: Store) -> Matches:
    """The near copies among the rows."""
    thumbnails = _thumbnails(manifest, store)
    return near_copies(thumbnails, thumbnails, itself=True)


def together(manifest: Manifest, near: Matches) -> Manifest:
    """The rows with groups that hold near copies too, to draw splits with: else one of two would be drawn, the other lost.

    What the data holds out, and all of its group, is left as it is.
    """
    ids, splits, groups = (manifest.column(name) for name in ("id", "split", "group"))
    held = {group for group, split in zip(groups, splits, strict=True) if group is not None and split in HELD_OUT}
    free = [split not in HELD_OUT and group not in held for split, group in zip(splits, groups, strict=True)]
    first: dict[str, int] = {}
    ties = [(first.setdefault(group, row), row) for row, group in enumerate(groups) if group is not None]
    pairs = zip(near.reference.tolist(), near.query.tolist(), strict=True)
    leaders = _joined(len(ids), [*ties, *(pair for pair in pairs if free[pair[0]] and free[pair[1]])])
    members = Counter(leaders)
    names = {leaders[row]: group for group, row in reversed(first.items())}
    column = [names.get(row) or (f"near {ids[row]}" if members[row] > 1 else None) for row in leaders]
    place = manifest.table.column_names.index("group")
    return replace(manifest, table=manifest.table.set_column(place, "group", pa.array(column, pa.string())))


def apart(manifest: Manifest, near: Matches) -> tuple[Manifest, dict[str, Any]]:
    """The rows, splits fixed, without training images that are near copies of a held-out one; and all near copies found.

    Near copies within a split stay: they are not equal, and leak nothing. With different labels they are listed as suspicious.
    """
    ids, labels, splits = (manifest.column(name) for name in ("id", "label", "split"))
    kinds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("leaks", "in_training", "in_held_out", "suspicious")}
    dropped: set[int] = set()
    order = np.argsort(-near.likeness, kind="stable")
    for one, other, likeness in zip(*(column[order].tolist() for column in near.columns), strict=True):
        first, second = sorted((one, other), key=lambda row: (splits[row] != "train", row))
        pair = {"id": ids[first], "near": ids[second], "likeness": round(likeness, 4)}
        within = "in_training" if splits[second] == "train" else "in_held_out"
        leaks = splits[first] == "train" and within == "in_held_out"
        kinds["leaks" if leaks else within].append(pair | {"split": splits[second]})
        if labels[first] != labels[second]:
            kinds["suspicious"].append(pair | {"labels": [labels[first], labels[second]]})
        if leaks:
            dropped.add(first)
    findings = {"dropped": len(dropped)} | {
        name: {"pairs": len(rows), "examples": rows[:EXAMPLES]} for name, rows in kinds.items()
    }
    return manifest.where([row not in dropped for row in range(len(ids))]), findings


def firewall(pile: Manifest, pile_store: Store, manifest: Manifest, store: Store) -> tuple[Manifest, dict[str, Any]]:
    """The pile without what it may not hold, how many were dropped for which reason, and which near copies were found.

    A near copy of a training image does no harm: it stays, and is counted.
    """
    left, counts = _unequal(pile, _hashes(pile_store), manifest, _hashes(store))
    near = near_copies(_thumbnails(left, pile_store), _thumbnails(manifest, store))
    splits, ids = manifest.column("split"), manifest.column("id")
    closest: dict[int, tuple[int, float, str]] = {}  # of what a leak would spoil most, then of what is most alike
    for row, other, likeness in zip(*(column.tolist() for column in near.columns), strict=True):
        place = -SPLITS.index(splits[other])
        closest[row] = min(closest.get(row, (1, 0.0, "")), (place, -likeness, ids[other]))
    own = left.column("id")
    reasons = {row: SPLITS[-place] for row, (place, _, _) in closest.items()}
    examples = [
        {"id": own[row], "near": name, "split": reasons[row], "likeness": round(-negative, 4)}
        for row, (_, negative, name) in sorted(closest.items(), key=lambda item: item[1])
        if reasons[row] in HELD_OUT
    ]
    kept = left.where([reasons.get(row) not in HELD_OUT for row in range(len(left))])
    number = Counter(reasons.values())
    return kept, {
        "images": len(kept),
        **counts,
        **{f"near_{split}": number[split] for split in SPLITS},
        "near": examples[:EXAMPLES],
    }


def _unequal(
    pile: Manifest, pile_hashes: dict[str, str], manifest: Manifest, hashes: dict[str, str]
) -> tuple[Manifest, dict[str, int]]:
    """The pile without equal pictures and without groups that are held out, and how many were dropped for which reason."""
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
    return pile.where(keep), {reason: counts[reason] for reason in reasons}


def _joined(rows: int, ties: Iterable[tuple[int, int]]) -> list[int]:
    """For each row, the first of all that ties join it to."""
    above = list(range(rows))

    def top(row: int) -> int:
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    for one, other in ties:
        low, high = sorted((top(one), top(other)))
        above[high] = low
    return [top(row) for row in range(rows)]


def _kept_copies(rows: list[int], splits: list[str | None]) -> list[int]:
    for split in HELD_OUT:
        held_out = [row for row in rows if splits[row] == split]
        if held_out:
            return held_out
    return rows[:1]


def _held(split: str | None) -> str:
    return split or "train"


def _hashes(store: Store) -> dict[str, str]:
    return dict(zip(store.ids, store.hashes, strict=True))


def _thumbnails(manifest: Manifest, store: Store) -> Thumbnails:
    rows = pa.array([store.position(id) for id in manifest.column("id")], pa.int64())
    joined = b"".join(store.index["thumbnail"].take(rows).to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
