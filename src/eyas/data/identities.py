"""Images by whom or what they show: identities go whole into one split, so that what is tested was never learned."""

import numpy as np
from jaxtyping import Float32, Int64

from eyas.data.manifest import Manifest, Split
from eyas.data.splits import shuffled
from eyas.errors import UserError
from eyas.progress import say
from eyas.recipe import Splits


def by_identity(manifest: Manifest, splits: Splits, seed: int) -> Manifest:
    """The rows with every identity (label) in one split, drawn by seed where the data does not say.

    Splits that the data has are kept, even where they part an identity, which is said.

    Raises:
        UserError: there are too few identities to draw from.
    """
    column = manifest.column("split")
    held: tuple[Split, ...] = ("test", "validation")
    for name, share in zip(held, (splits.test, splits.validation), strict=True):
        if name not in column:
            column = _held_out(manifest, column, name, share, seed)
    _say_parted(manifest, column)
    return manifest.with_splits([split or "train" for split in column])


def numbered(identities: list[str]) -> Int64[np.ndarray, " n"]:
    """A number for each identity, in the order of their names."""
    return np.unique(np.array(identities, dtype=str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def identity_targets(identities: list[str]) -> Float32[np.ndarray, "n 1"]:
    """The numbers as what is learned; float32 holds 16 million of them."""
    return numbered(identities).astype(np.float32)[:, None]


def _held_out(manifest: Manifest, column: list[str | None], name: Split, share: float, seed: int) -> list[str | None]:
    """The splits with whole identities moved into `name`: about `share` of the rows that are not held out yet."""
    labels = manifest.column("label")
    free = {label for label, split in zip(labels, column, strict=True) if split in (None, "train")}
    free -= {label for label, split in zip(labels, column, strict=True) if split not in (None, "train")}
    count = round(share * len(free))
    if not 2 <= count <= len(free) - 2:
        raise UserError(
            f"{len(free)} identities are too few to keep {share:.0%} of them for the {name} split: two are needed there and "
            "two to train on; give images of more identities, or another share"
        )
    chosen = set(shuffled(free, f"{name} identities", seed)[:count])
    return [name if label in chosen else split for label, split in zip(labels, column, strict=True)]


def _say_parted(manifest: Manifest, column: list[str | None]) -> None:
    labels = manifest.column("label")
    tested = {label for label, split in zip(labels, column, strict=True) if split == "test"}
    learned = {label for label, split in zip(labels, column, strict=True) if split in (None, "train")}
    if both := sorted(tested & learned):
        say(
            f"{len(both)} identities are in the train and in the test split, {both[0]!r} for one: the test is of known ones too"
        )
