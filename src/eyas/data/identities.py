"""Images by whom or what they show: identities go whole into one split, so that what is tested was never learned."""

from collections import defaultdict

import numpy as np
from jaxtyping import Float32, Int64

from eyas.data.manifest import Manifest, Split
from eyas.data.splits import follow_groups, shuffled
from eyas.errors import UserError
from eyas.progress import say
from eyas.recipe import Splits

LEAST = 2  # identities that a split needs, and training


def by_identity(manifest: Manifest, splits: Splits, seed: int) -> Manifest:
    """The rows with every identity (label) and every group in one split, drawn by seed where the data does not say.

    Identities that share a group go together, and so do those that are tied to them by other groups. Splits that the data
    has are kept, even where they part an identity, which is said.

    Raises:
        UserError: there are too few identities to draw from, or the data puts one group into two splits.
    """
    manifest = follow_groups(manifest)
    tied = _tied(manifest)
    column = _joined(manifest.column("split"), tied)
    held: tuple[Split, ...] = ("test", "validation")
    for name, share in zip(held, (splits.test, splits.validation), strict=True):
        if name not in column:
            column = _held_out(manifest.column("label"), column, tied, name, share, seed)
    _say_parted(manifest, column)
    return manifest.with_splits([split or "train" for split in column])


def numbered(identities: list[str]) -> Int64[np.ndarray, " n"]:
    """A number for each identity, in the order of their names."""
    return np.unique(np.array(identities, dtype=str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def identity_targets(identities: list[str]) -> Float32[np.ndarray, "n 1"]:
    """The numbers as what is learned; float32 holds 16 million of them."""
    return numbered(identities).astype(np.float32)[:, None]


def _tied(manifest: Manifest) -> list[list[int]]:
    """Rows that stay together: of one identity, or of identities that groups tie to each other."""
    leaders: dict[str, str] = {}

    def leader(name: str) -> str:
        while (above := leaders.setdefault(name, name)) != name:
            leaders[name] = name = leaders[above]  # the path is halved, so that it stays short
        return name

    labels = [f"identity {label}" for label in manifest.column("label")]
    for label, group in zip(labels, manifest.column("group"), strict=True):
        leaders[leader(label)] = leader(f"group {group}") if group is not None else leader(label)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows[leader(label)].append(row)
    return list(rows.values())


def _joined(column: list[str | None], tied: list[list[int]]) -> list[str | None]:
    """The splits with rows that have none in the one that the data gives to all others that they are tied to."""
    column = list(column)
    for rows in tied:
        given = {column[row] for row in rows} - {None}
        for row in rows if len(given) == 1 else ():
            (column[row],) = given
    return column


def _held_out(
    labels: list[str], column: list[str | None], tied: list[list[int]], name: Split, share: float, seed: int
) -> list[str | None]:
    """The splits with whole identities, and all that is tied to them, moved into `name`: about `share` of the free ones."""
    free = {}
    for rows in tied:
        if all(column[row] in (None, "train") for row in rows):
            names = {labels[row] for row in rows}
            free[min(names)] = (len(names), rows)
    total = sum(count for count, _ in free.values())
    order = shuffled(free, f"{name} identities", seed)
    chosen = _chosen([free[first][0] for first in order], round(share * total))
    if not chosen:
        raise UserError(
            f"{total} identities{_ties(total, len(free))} are too few to keep {share:.0%} of them for the {name} split: two "
            "are needed there and two to train on; give images of more identities, or another share"
        )
    moved = {row for place in chosen for row in free[order[place]][1]}
    return [name if row in moved else split for row, split in enumerate(column)]


def _chosen(sizes: list[int], wanted: int) -> list[int]:
    """Places of sizes whose sum comes to `wanted`, or to the next that can be had, in their order; none where it cannot be."""
    if not LEAST <= wanted <= sum(sizes) - LEAST:
        return []
    chosen, found = [], 0
    for place, size in enumerate(sizes):
        if found + size <= wanted:
            chosen.append(place)
            found += size
    if found >= LEAST:
        return chosen
    large = [(size, place) for place, size in enumerate(sizes) if LEAST <= size <= sum(sizes) - LEAST]
    return [min(large)[1]] if large else []


def _ties(identities: int, parts: int) -> str:
    """What groups make of so many identities, where they tie some."""
    return f", which groups tie into {parts}," if parts < identities else ""


def _say_parted(manifest: Manifest, column: list[str | None]) -> None:
    labels = manifest.column("label")
    tested = {label for label, split in zip(labels, column, strict=True) if split == "test"}
    learned = {label for label, split in zip(labels, column, strict=True) if split in (None, "train")}
    if both := sorted(tested & learned):
        say(
            f"{len(both)} identities are in the train and in the test split, {both[0]!r} for one: the test is of known ones too"
        )
