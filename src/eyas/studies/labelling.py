"""A network's answers to any number of images: seen in threads, answered without noise, written a shard at a time."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64, UInt8

from eyas.data.augment import prepare
from eyas.data.batches import three_channels
from eyas.data.decode import Pixels, Refusal
from eyas.data.prepared import HASHED
from eyas.data.workers import ahead, threads_beside
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.progress import Pace, work
from eyas.run import read_json, write_json
from eyas.studies.prepare import Data
from eyas.studies.soft_answers import Answers, answers_of, joined
from eyas.studies.soft_labels import FACTS, Form, shard_notes, shard_paths, shard_table, within, write_shard

VERSION = 2  # of what `label_pile` writes, for the runs of earlier versions
SHARD = 4096  # images of the pile, unreadable ones among them: what a kill costs at most
BATCH = 64
NAMED = 5  # classes in a sentence
MARK = pa.binary(16)


@dataclass(frozen=True)
class Pile:
    """Images to answer to.

    Attributes:
        ids: one an image, text.
        sources: where each is, text.
        marks: what an image is known by, 16 bytes: equal marks are not answered to twice.
        see: pixels of a row, at the prepared size, and the digest of the picture; raises `Refusal`.
    """

    ids: pa.ChunkedArray
    sources: pa.ChunkedArray
    marks: pa.ChunkedArray
    see: Callable[[int], tuple[Pixels, str]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Teacher:
    """A network that answers, in its classes; how its probabilities are kept, and the digest of its file."""

    network: Network
    classes: tuple[str, ...]
    form: Form
    checksum: str


@dataclass(frozen=True)
class Refused:
    """An image that cannot be used: id, source, mark as text, and the reason."""

    id: str
    source: str
    mark: str
    reason: str


@dataclass(frozen=True)
class Shown:
    """A batch: images that could be seen, which rows they are and their digests; and those that could not."""

    rows: list[int]
    images: UInt8[np.ndarray, "n r r 3"]
    digests: list[str]
    refused: list[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.rows) + len(self.refused)


@dataclass
class _Shard:
    """A shard that is being filled."""

    rows: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows) + len(self.refused)

    def add(self, seen: Shown, answers: Answers | None) -> None:
        self.rows += seen.rows
        self.digests += seen.digests
        self.refused += seen.refused
        if answers is not None:
            self.answers.append(answers)


def mark(*parts: object) -> bytes:
    """What an image is known by, from all that says which it is."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def label_pile(folder: Path, model: Path, data: Data) -> dict[str, Any]:
    """Write the answers of a network to every clean image of the pile; shards that are there are kept.

    Raises:
        UserError: the network knows other classes than the data has.
    """
    assert data.pile is not None and data.pile_store is not None
    store, rows = data.pile_store, data.pile.table
    ids = rows["id"].to_pylist()
    places = [store.position(id) for id in ids]
    marks = pa.array([mark(id, store.hashes[place]) for id, place in zip(ids, places, strict=True)], MARK)
    pile = Pile(
        rows["id"], rows["source"], pa.chunked_array([marks]), lambda row: (store[places[row]], store.hashes[places[row]])
    )
    teacher = begin(folder, model, classes=data.classes)
    answer(folder, teacher, pile)
    return {"images": len(pile), "arch": str(teacher.network.arch)}


def begin(folder: Path, model: Path, top: int = 0, classes: tuple[str, ...] | None = None) -> Teacher:
    """The network of a model file, and the folder as the place of its answers.

    Args:
        folder: where they go.
        model: the file.
        top: how many of the likeliest classes are kept, see `Form.asked`.
        classes: what it must answer in; `None` takes any.

    Raises:
        UserError: it answers in other classes, or the folder holds answers of another network or in another form.
    """
    network, known = load_network(model)
    if classes is not None:
        check_classes(known, classes, str(model))
    with model.open("rb") as file:
        teacher = Teacher(network, known, Form.asked(len(known), top), hashlib.file_digest(file, "sha256").hexdigest()[:32])
    _claim(folder, teacher)
    return teacher


def answer(folder: Path, teacher: Teacher, pile: Pile) -> None:
    """Write the answers to all images of `pile` that are not in the shards of `folder` yet.

    A shard is of the next `SHARD` images without an answer, unreadable ones among them, and has the first free number: a
    killed run goes on to the same bytes.
    """
    network, device = teacher.network, choose()
    network.to(device.name)
    todo = _unanswered(folder, pile)
    paths = _free(folder, -(-len(todo) // SHARD))
    done, pace, shard = len(pile) - len(todo), Pace(), _Shard()
    with work("labelling the pile", len(pile)) as progress:
        for seen in ahead(lambda rows: show(pile, rows, network), batches(todo), threads_beside(device.name)):
            shard.add(seen, answers_of(network, torch.from_numpy(seen.images), device) if seen.rows else None)
            done += len(seen)
            if len(shard) == SHARD or done == len(pile):
                _write(paths.popleft(), pile, shard, teacher)
                shard = _Shard()
            progress.at(done, f"{pace.after(len(seen)):.0f} images/s")


def refused_in(folder: Path) -> Generator[Refused]:
    """The images that could not be used, from the notes of the shards."""
    for path in shard_paths(folder):
        yield from (Refused(*each) for each in shard_notes(path)["refused"])


def check_classes(found: tuple[str, ...], expected: tuple[str, ...], whose: str) -> None:
    """Refuse a network that answers in other classes, or in another order.

    Raises:
        UserError: it does.
    """
    if found != expected:
        raise UserError(
            f"{whose} answers in the {len(found)} classes {some(found)}, and the data has the {len(expected)} classes "
            f"{some(expected)}; give a network of the same classes in the same order"
        )


def _claim(folder: Path, teacher: Teacher) -> None:
    """Say whose answers the folder is for, unless it says so."""
    arch, form = str(teacher.network.arch), teacher.form
    facts = {"teacher": teacher.checksum, "arch": arch, "classes": list(teacher.classes), "top": form.top, "hashed": HASHED}
    if not (folder / FACTS).exists():
        write_json(folder / FACTS, facts)
        return
    kept = read_json(folder / FACTS)
    if kept == facts:
        return
    if kept["teacher"] != facts["teacher"]:
        other = f"checksum {kept['teacher'][:8]}, and this one is {teacher.checksum[:8]}"
        if kept["classes"] != facts["classes"]:
            other += f"; its classes are {some(kept['classes'])}, and this one's {some(facts['classes'])}"
        raise UserError(f"{folder} holds the answers of another network, {kept['arch']} ({other}); give --out a new folder")
    if kept.get("hashed") != HASHED:
        raise UserError(f"{folder} is of an earlier version, with other checksums of images; give --out a new folder")
    forms = [f"the {each['top']} likeliest classes" if each["top"] else "all classes" for each in (kept, facts)]
    raise UserError(f"{folder} holds the probabilities of {forms[0]}, and {forms[1]} are asked for; give --out a new folder")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _unanswered(folder: Path, pile: Pile) -> Int64[np.ndarray, " n"]:
    """Rows of the pile whose marks are in no shard."""
    known = [chunk for path in shard_paths(folder) for chunk in shard_table(path, ["mark"])["mark"].chunks]
    known.append(pa.array([bytes.fromhex(each.mark) for each in refused_in(folder)], MARK))
    return np.flatnonzero(~within(pile.marks, pa.chunked_array(known, MARK))).astype(np.int64)


def _free(folder: Path, count: int) -> deque[Path]:
    """Names of shards that are not taken, the lowest first: one that was deleted is made again under its name."""
    taken, found, number = {path.name for path in shard_paths(folder)}, deque[Path](), 0
    while len(found) < count:
        name = f"{number:05d}.parquet"
        if name not in taken:
            found.append(folder / name)
        number += 1
    return found


def batches(todo: Int64[np.ndarray, " n"]) -> Generator[list[int]]:
    """Rows of a batch each; none is in two shards."""
    for first in range(0, len(todo), SHARD):
        shard = todo[first : first + SHARD].tolist()
        yield from (shard[start : start + BATCH] for start in range(0, len(shard), BATCH))


def show(pile: Pile, rows: list[int], network: Network) -> Shown:
    """Images as the network is shown them."""
    arch = network.arch
    side, view = arch.resolution, arch.preprocessing.view
    images, digests, used, refused = [], [], [], []
    for row in rows:
        try:
            pixels, digest = pile.see(row)
        except Refusal as refusal:
            refused.append((row, str(refusal)))
            continue
        images.append(three_channels(prepare(pixels, side, view)))
        digests.append(digest)
        used.append(row)
    return Shown(used, np.stack(images) if images else np.zeros((0, side, side, 3), np.uint8), digests, refused)


def _write(path: Path, pile: Pile, shard: _Shard, teacher: Teacher) -> None:
    found, rows = joined(shard.answers, teacher.form.classes), pa.array(shard.rows, pa.int64())
    taken = [array.take(rows).combine_chunks() for array in (pile.ids, pile.sources, pile.marks)]
    given = found.probabilities
    columns = {
        **dict(zip(("id", "source", "mark"), taken, strict=True)),
        **teacher.form.columns(given),
        "top": pa.array(given.argmax(1), pa.int32()),
        "confidence": given.max(1, initial=0),
        "entropy": found.entropy,
        "energy": found.energy,
        "image": pa.array(shard.digests, pa.string()),
        "teacher": pa.array([teacher.checksum] * len(rows), pa.string()).dictionary_encode(),
    }
    refused = [_refused(pile, row, reason) for row, reason in shard.refused]
    write_shard(path, columns, {"teacher": teacher.checksum, "classes": teacher.classes, "refused": refused})


def _refused(pile: Pile, row: int, reason: str) -> tuple[str, ...]:
    id, source, mark = (column[row].as_py() for column in (pile.ids, pile.sources, pile.marks))
    return id, source, mark.hex(), reason
