"""Which images are trained on, chosen with, and kept for the end: drawn by seed, by class, and never through a group."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eyas.data.manifest import Manifest, Split
from eyas.errors import UserError
from eyas.recipe import Splits


def fix_splits(manifest: Manifest, splits: Splits, seed: int) -> Manifest:
    """Give every row a split: what the data fixes stays, a missing test split is drawn, then a missing validation split.

    Raises:
        UserError: the data puts one group into two splits.
    """
    manifest = draw_validation(draw_test(manifest, splits, seed), splits, seed)
    return manifest.with_splits([split or "train" for split in manifest.column("split")])


def draw_test(manifest: Manifest, splits: Splits, seed: int) -> Manifest:
    """Draw `splits.test` of all rows from those not held out yet, unless the data has a test split."""
    manifest = follow_groups(manifest)
    fixed = set(manifest.column("split"))
    if "test" in fixed:
        return manifest
    keep = 1 if "validation" in fixed else 2  # what is left must still give validation an image of each class
    return _hold_out(manifest, "test", splits.test * len(manifest), keep, seed)


def draw_validation(manifest: Manifest, splits: Splits, seed: int) -> Manifest:
    """Draw `splits.validation` of the rows outside the test split, unless the data has a validation split."""
    manifest = follow_groups(manifest)
    fixed = Counter(manifest.column("split"))
    if fixed["validation"]:
        return manifest
    rest = len(manifest) - fixed["test"]
    return _hold_out(manifest, "validation", splits.validation * rest, 1, seed)


def shuffled(names: Iterable[str], purpose: str, seed: int) -> list[str]:
    """The names in an order that only the seed, the purpose and each name decide, so that new rows move no old ones."""

    def key(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}/{purpose}/{name}".encode(), digest_size=16).digest()

    return sorted(names, key=key)


def apportion(counts: Sequence[int], total: int, least: Sequence[int], most: Sequence[int]) -> list[int]:
    """Share `total` out in proportion to `counts`, by largest remainder, each within its `least` and `most`.

    The sum is `total` where the bounds leave room for it.
    """
    ideal = [count * total / max(sum(counts), 1) for count in counts]
    given = [min(max(int(want), low), high) for want, low, high in zip(ideal, least, most, strict=True)]
    places = range(len(counts))
    while sum(given) < total and (room := [i for i in places if given[i] < most[i]]):
        given[max(room, key=lambda i: (ideal[i] - given[i], -i))] += 1
    while sum(given) > total and (room := [i for i in places if given[i] > least[i]]):
        given[min(room, key=lambda i: (ideal[i] - given[i], i))] -= 1
    return given


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows that stay together: a group, or one row."""

    name: str
    rows: tuple[int, ...]
    labels: Counter[str]


def _hold_out(manifest: Manifest, split: Split, total: float, keep: int, seed: int) -> Manifest:
    """Move about `total` free rows into `split`, stratified by label; `keep` units of each class stay where it can be."""
    units = _free_units(manifest)
    chosen = _choose(_ordered(units, split, seed), round(total), keep)
    column = manifest.column("split")
    for unit in chosen:
        for row in unit.rows:
            column[row] = split
    return manifest.with_splits(column)


def _choose(units: list[_Unit], total: int, keep: int) -> list[_Unit]:
    rows: Counter[str] = sum((unit.labels for unit in units), Counter())
    stock = Counter(label for unit in units for label in unit.labels)  # units that a class could still be trained on
    labels = sorted(rows)
    least = [min(1, max(0, stock[label] - keep)) for label in labels]
    most = [max(0, rows[label] - keep) for label in labels]
    need = Counter(dict(zip(labels, apportion([rows[label] for label in labels], total, least, most), strict=True)))
    missing = {label for label in labels if need[label]}
    chosen: list[_Unit] = []

    def take(unit: _Unit) -> None:
        chosen.append(unit)
        need.subtract(unit.labels)
        stock.subtract(unit.labels.keys())
        missing.difference_update(unit.labels)

    for unit in units:
        gain = sum(min(count, max(0, need[label])) for label, count in unit.labels.items())
        # A group that brings more of what is not needed than of what is would push the split past its share.
        if gain and 2 * gain >= len(unit.rows) and _spare(unit, stock, keep):
            take(unit)
    for unit in sorted(units, key=lambda unit: len(unit.rows)):  # a class that only large groups hold: the smallest of them
        if missing.intersection(unit.labels) and _spare(unit, stock, keep):
            take(unit)
    return chosen


def _spare(unit: _Unit, stock: Counter[str], keep: int) -> bool:
    """Whether training keeps `keep` units of each of the unit's classes without it."""
    return all(stock[label] > keep for label in unit.labels)


def _free_units(manifest: Manifest) -> dict[str, _Unit]:
    """What is not held out yet, by a name that no group shares with a row."""
    members: dict[str, list[int]] = defaultdict(list)
    columns = zip(*(manifest.column(name) for name in ("id", "split", "group")), strict=True)
    for row, (id, split, group) in enumerate(columns):
        if split in (None, "train"):
            members[f"row {id}" if group is None else f"group {group}"].append(row)
    labels = manifest.column("label")
    return {name: _Unit(name, tuple(rows), Counter(labels[row] for row in rows)) for name, rows in members.items()}


def _ordered(units: dict[str, _Unit], purpose: str, seed: int) -> list[_Unit]:
    return [units[name] for name in shuffled(units, purpose, seed)]


def follow_groups(manifest: Manifest) -> Manifest:
    """Rows without a split join the split that the data gave to another row of their group."""
    fixed: dict[str, str] = {}
    groups, column = manifest.column("group"), manifest.column("split")
    for group, split in zip(groups, column, strict=True):
        if group is not None and split is not None and fixed.setdefault(group, split) != split:
            raise UserError(
                f"group {group!r} is in the {fixed[group]} split and in the {split} split; a group holds images that show the "
                "same thing, so give all of them one split"
            )
    return manifest.with_splits([split or fixed.get(group) for group, split in zip(groups, column, strict=True)])
