"""The first stage of every run: data read, decoded once, checked, split, and fixed for all that follows."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from eyas.data import audit as checks
from eyas.data.batches import Examples, one_hot
from eyas.data.cache import build_or_reuse, stamps
from eyas.data.decode import Refusal, decode
from eyas.data.manifest import Manifest, Split
from eyas.data.readers import read, read_labels, read_pile
from eyas.data.splits import draw_test
from eyas.data.store import Built, Store, build, open_built, open_store
from eyas.errors import UserError
from eyas.places import user_cache
from eyas.progress import say
from eyas.recipe import Flips, Splits
from eyas.run import Done, Run, digest, read_json
from eyas.team import current

ROOM = 1.15  # prepared images are this much larger than what the network sees, so that crops do not enlarge them


@dataclass(frozen=True)
class Data:
    """Images that are ready to train on; labels of the pile are nowhere in it."""

    manifest: Manifest
    pile: Manifest | None
    classes: tuple[str, ...]
    findings: dict[str, Any]
    store: Store
    pile_store: Store | None
    digest: str

    def rows(self, split: Split) -> Manifest:
        """The images of a split.

        Raises:
            UserError: there are none.
        """
        found = self.manifest.where(split=split)
        if not len(found):
            raise UserError(f"no image is left for the {split} split; give more images, or other shares with --splits")
        return found

    def examples(self, split: Split) -> Examples:
        """The labelled images of a split."""
        rows = self.manifest.where(split=split)
        return Examples(self.store, positions(self.store, rows), one_hot(rows.column("label"), self.classes), labelled=True)

    def unlabelled(self, ids: Sequence[str] | None = None, targets: Float32[np.ndarray, "n k"] | None = None) -> Examples:
        """Images of the pile with a teacher's answers as targets (or with none: rows of zeros)."""
        assert self.pile is not None and self.pile_store is not None
        names = self.pile.column("id") if ids is None else ids
        positions = np.array([self.pile_store.position(name) for name in names], dtype=np.int64)
        rows = np.zeros((len(names), len(self.classes)), np.float32) if targets is None else targets
        return Examples(self.pile_store, positions, rows, labelled=False)

    def mirrors(self, asked: Flips) -> str:
        """Which mirrorings to train with: as asked, or as the data set allows."""
        return self.manifest.flips if asked == "auto" else asked


def prepare(
    run: Run,
    data: str,
    unlabeled: str | None,
    labels: int,
    splits: Splits,
    resolution: int,
    seed: int,
    hidden_joins_pile: bool = True,
    cache: Path | None = None,
    to_train: bool = True,
    view: float = 1.0,
    reader: Callable[[str], Manifest] = read,
) -> Data:
    """Read, decode, check and split; done once a run.

    Args:
        run: where it goes.
        data: labelled images.
        unlabeled: the pile.
        labels: how many labels are kept; 0 keeps all.
        splits: shares held out where the data does not say.
        resolution: of the network that the images are for.
        seed: what the splits are drawn by.
        hidden_joins_pile: whether images whose labels are not kept join the pile.
        cache: the folder that decoding is shared between runs through.
        to_train: whether a classifier is to be trained, which asks for enough images of every class.
        view: share of the sides that the network's test crop keeps.
        reader: of the labelled images, for tasks whose labels are not one class each.

    Raises:
        UserError: the data cannot be used, with what to do about it.
    """
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or above")

    def first() -> Done:
        manifest = draw_test(reader(data), splits, seed)
        return _prepared(run, manifest, unlabeled, labels, splits, side_of(resolution, view), seed, hidden_joins_pile, cache)

    ready = load(run.path, current().agree(first).digest)
    if to_train:
        checks.check_classes(ready.manifest)
    return ready


def _prepared(
    run: Run,
    manifest: Manifest,
    unlabeled: str | None,
    labels: int,
    splits: Splits,
    side: int,
    seed: int,
    hidden_joins_pile: bool,
    cache: Path | None,
) -> Done:
    """The stage that one process does; the data is read before it is known whether it was done."""
    pile = read_pile(unlabeled) if unlabeled else None
    if labels:
        manifest, hidden = checks.limit_labels(manifest, labels, seed)
        if len(hidden) and hidden_joins_pile:
            pile = hidden if pile is None else pile.concat(hidden)

    def make(folder: Path) -> dict[str, Any]:
        built = _built(manifest, folder / "labelled", side, cache)
        pile_built = _built(pile, folder / "pile", side, cache) if pile is not None else None
        found = checks.audit(manifest, pile, built, pile_built, splits, seed)
        checks.save(found, folder)
        return {"side": side}

    rows = {"images": _fingerprint(manifest), "pile": _fingerprint(pile)}
    return run.stage("data", make, **rows, splits=splits, seed=seed, side=side, check=checks.VERSION)


def cache_of(text: str) -> Path | None:
    """The folder that `--cache-dir` means: `auto` is the user's cache, where there can be one, `none` is none."""
    if text not in ("auto", "none"):
        return Path(text).expanduser().absolute()
    try:
        return user_cache() if text == "auto" else None
    except UserError as error:
        say(f"prepared images are not kept for other runs: {error}")
        return None


def load(run: Path, checksum: str = "") -> Data:
    """The data of a run that was prepared before.

    Raises:
        UserError: the run has none, or it is damaged.
    """
    folder = run / "data"
    has_pile = (folder / "pile.parquet").exists()
    return Data(
        Manifest.load(folder / "manifest.parquet"),
        Manifest.load(folder / "pile.parquet") if has_pile else None,
        tuple(read_json(folder / "classes.json")),
        read_json(folder / "audit.json"),
        open_store(folder / "labelled"),
        open_store(folder / "pile") if has_pile else None,
        checksum,
    )


def side_of(resolution: int, view: float = 1.0) -> int:
    """The short side, in pixels, that images are prepared at for networks of this resolution and test crop."""
    return round(resolution * max(ROOM, 1 / view))


def choose_resolution(data: str, accelerated: bool) -> int:
    """The input side for this data: 128 pixels on a processor, 224 on an accelerator, less where the images are smaller."""
    sources = read_labels(data).column("source")  # whatever the labels are
    sides = []
    for source in sources[:: max(1, len(sources) // 25)]:
        try:
            sides.append(min(decode(source).shape[:2]))
        except Refusal:
            continue
    if not sides:
        raise UserError(f"none of {len(sources)} images in {data} that were looked at can be decoded; is it the right place?")
    side = round(statistics.median(sides))
    return min(224 if accelerated else 128, max(32, side // 32 * 32))


def _built(manifest: Manifest, folder: Path, side: int, cache: Path | None) -> Built:
    if (folder / "index.parquet").exists():  # of a process that was killed behind it
        return open_built(folder)
    return build_or_reuse(manifest, folder, side, cache) if cache else build(manifest, folder, side)


def positions(store: Store, rows: Manifest) -> np.ndarray:
    """Where the images of `rows` are in a store."""
    return np.array([store.position(name) for name in rows.column("id")], dtype=np.int64)


def _fingerprint(manifest: Manifest | None) -> str | None:
    """Changes when a row does, or a file's length or time."""
    if manifest is None:
        return None
    return digest([manifest.flips, manifest.table.to_pydict(), stamps(manifest)])
