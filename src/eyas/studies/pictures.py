"""Which pictures a run has learned from and was chosen by: figures on those flatter, its own and those of its students."""

from dataclasses import dataclass
from pathlib import Path

from eyas.data.manifest import Manifest, Split
from eyas.data.store import open_store
from eyas.errors import UserError
from eyas.progress import say
from eyas.run import read_json
from eyas.studies import pretrain
from eyas.studies.prepare import Data

HELD_OUT: tuple[Split, ...] = ("test", "validation")


@dataclass(frozen=True)
class Pictures:
    """Digests of the pictures that a run learned from, its pile and what it was pretrained on included, and was chosen by."""

    learned: frozenset[str]
    chosen: frozenset[str]

    def __or__(self, other: "Pictures") -> "Pictures":
        return Pictures(self.learned | other.learned, self.chosen | other.chosen)


def known_pictures(run: Path) -> frozenset[str]:
    """Digests of the pictures that the run trained on or chose with, pile included; none where its data is not there."""
    root = _root(run)
    found = None if root is None else _pictures(root)
    return found.learned | found.chosen if found else frozenset()


def seen_by_teacher(teacher: Path, data: Data) -> dict[str, int] | None:
    """How many images of each held-out split the teacher, or who taught it, has seen before; said where there are any.

    A test image is seen where it was learned from or chosen by, one of validation where it was learned from. Where both
    have the same data and seed there are none. `None` where the teacher's data is not known.

    Args:
        teacher: a run, a stage's folder, or a model file.
        data: of the student.
    """
    known = _taught_from(teacher)
    if known is None:
        return None
    marks = dict(zip(data.store.ids, data.store.hashes, strict=True))
    of = {split: [marks[id] for id in data.manifest.where(split=split).column("id")] for split in HELD_OUT}
    flattering = {"test": known.learned | known.chosen, "validation": known.learned}
    seen: dict[str, int] = {split: sum(mark in flattering[split] for mark in of[split]) for split in HELD_OUT}
    if any(seen.values()):
        counts = " and ".join(f"{seen[split]} of {len(of[split])} {split} images" for split in HELD_OUT if seen[split])
        say(
            f"the teacher {teacher} has seen {counts} of its student in its own training, so figures on them are too good; "
            "give both the same data and --seed, or splits in the data itself"
        )
    return seen


def _taught_from(teacher: Path) -> Pictures | None:
    """What is known of a teacher's data, and of its own teacher's, as far as they are where its recipe says."""
    found: Pictures | None = None
    root, roots = _root(teacher), set[Path]()
    while root is not None and root not in roots:
        roots.add(root)
        try:
            pictures = _pictures(root)
        except UserError as error:  # a part of the run was moved away or is damaged: its model teaches all the same
            say(f"whether the teacher {teacher} has seen images of its student's splits is not known: {error}")
            break
        found = pictures if found is None else found | pictures
        root = _teacher_of(root)
    return found


def _teacher_of(root: Path) -> Path | None:
    """The run that taught a run's network, where there was one and it is still there."""
    recipe = root / "recipe.json"
    given = read_json(recipe).get("teacher") if recipe.exists() else None
    return _root(Path(given)) if given and Path(given).exists() else None


def _root(run: Path) -> Path | None:
    """The run that a folder or a model file is in; none where its data is not there."""
    return next((folder for folder in (run, *run.resolve().parents) if (folder / "data" / "manifest.parquet").exists()), None)


def _pictures(root: Path) -> Pictures:
    found, before = _labelled(root), root / pretrain.FOLDER
    pile = root / "data" / "pile.parquet"
    if pile.exists():  # not all that its store holds: copies of test images were dropped unseen
        found |= Pictures(_marks(root / "data" / "pile", Manifest.load(pile)), frozenset())
    if (before / "data" / "manifest.parquet").exists():
        found |= _labelled(before)
    return found


def _labelled(root: Path) -> Pictures:
    """The labelled pictures outside the test split; of noisy data those that were left to pretrain on."""
    kept, store = root / pretrain.APART / pretrain.KEPT, root / "data" / "labelled"
    manifest = Manifest.load(kept if kept.exists() else root / "data" / "manifest.parquet")
    learned, chosen = (_marks(store, manifest.where(split=split)) for split in ("train", "validation"))
    return Pictures(learned, chosen)


def _marks(folder: Path, rows: Manifest) -> frozenset[str]:
    store, wanted = open_store(folder), set(rows.column("id"))
    return frozenset(mark for id, mark in zip(store.ids, store.hashes, strict=True) if id in wanted)
