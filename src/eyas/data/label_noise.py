"""Wrong labels on purpose, to study what they do: a share of the labels outside the test split is swapped, by seed."""

import hashlib

import pyarrow as pa

from eyas.data.manifest import Manifest
from eyas.data.splits import shuffled
from eyas.errors import UserError

CLEAN = "clean_label"  # a column: the label as it was


def with_wrong_labels(manifest: Manifest, share: float, seed: int) -> Manifest:
    """The rows with `share` of the labels outside the test split replaced by another class, every other as likely.

    Which rows, and by what, is decided by the seed and each id: new rows hardly move old ones. The column `clean_label` has
    all labels as they were.

    Raises:
        UserError: the share is not from 0 to 1, or there is one class only.
    """
    if not 0 <= share <= 1:
        raise UserError(f"label_noise is {share}; it is the share of wrong labels, from 0 to 1")
    classes = manifest.classes
    if len(classes) < 2:
        raise UserError("wrong labels need two classes at least: with one there is none to swap it with")
    ids, labels, splits = (manifest.column(name) for name in ("id", "label", "split"))
    free = [id for id, split in zip(ids, splits, strict=True) if split != "test"]
    wrong = set(shuffled(free, "wrong labels", seed)[: round(share * len(free))])
    noisy = [_other(classes, label, id, seed) if id in wrong else label for id, label in zip(ids, labels, strict=True)]
    table = manifest.table.set_column(manifest.table.column_names.index("label"), "label", pa.array(noisy, pa.string()))
    return Manifest(table.append_column(CLEAN, pa.array(labels, pa.string())), manifest.flips)


def _other(classes: tuple[str, ...], label: str, id: str, seed: int) -> str:
    others = [name for name in classes if name != label]
    drawn = hashlib.blake2b(f"{seed}/wrong label/{id}".encode(), digest_size=8).digest()
    return others[int.from_bytes(drawn) % len(others)]
