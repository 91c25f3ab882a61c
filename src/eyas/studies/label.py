"""`eyas label`: a trained network's soft labels for any pile; one that has grown is labelled where it is new."""

import csv
import io
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from eyas.arch.spec import Arch
from eyas.data.cache import file_of
from eyas.data.decode import Pixels, decode
from eyas.data.manifest import Manifest
from eyas.data.prepared import pixel_hash
from eyas.data.readers import read_pile
from eyas.data.remote import is_address
from eyas.data.resize import shrink
from eyas.errors import UserError
from eyas.nn.weights import kind_of
from eyas.run import Run, write_atomic
from eyas.studies.labelling import MARK, Pile, answer, begin, mark, refused_in
from eyas.studies.model import find_model
from eyas.studies.prepare import side_of
from eyas.studies.soft_labels import open_labels, shard_notes, shard_paths, shard_table, within, write_shard

UNREADABLE = "unreadable.csv"
KNOWN = ("id", "mark")
CHUNK = 65536  # sources at a time as Python objects
FILES = 1024  # whose times are remembered: images of one shard come one after the other


@dataclass(frozen=True)
class Labelled:
    """What `eyas label` leaves.

    Attributes:
        out: the folder with the shards.
        arch: the network that answered.
        teacher: checksum of its file.
        images: of the pile, as it is now.
        answered: of them, those with an answer.
        new: answers that were given now.
        changed: answers that were given again, as the file is another one than before.
        gone: answers in the folder to images that the pile has no more; they are kept.
        unreadable: images without an answer; `unreadable.csv` lists them with their reasons.
        shards: files with answers.
        classes: how often each class was the likeliest.
    """

    out: Path
    arch: str
    teacher: str
    images: int
    answered: int
    new: int
    changed: int
    gone: int
    unreadable: int
    shards: int
    classes: dict[str, int]


def label(run: str | Path, pool: str | Path, out: str | Path, top: int = 0) -> Labelled:
    """Label a pile with a trained network: probabilities, confidence, entropy and energy of every image, in parquet shards.

    The same command goes on where it was stopped, and labels only what is new when the pile has grown. An image is known
    by its id and its file's length and time of change: reading those is quick, and a checksum would mean to decode the
    whole pile again. Images behind addresses are known by their id and address alone.

    Args:
        run: a run of eyas fit or eyas train, or one stage's folder in it.
        pool: images, in anything that eyas fit takes as --unlabeled; labels there are not read.
        out: folder for the shards; it holds the answers of one network.
        top: keep the probabilities of so many classes; 0 keeps all of up to 200 classes and 32 of more.

    Raises:
        UserError: there is no network or no image, the network is no classifier, or the folder holds the answers of another
            network.
    """
    model = find_model(run)
    _check_classifier(model, run, pool)
    images = read_pile(str(pool))
    with Run.open(out) as opened:
        folder = opened.path
        teacher = begin(folder, model, top)
        pile = pile_of(images, teacher.network.arch)
        changed = _drop_changed(folder, pile)
        before = len(open_labels(folder))
        answer(folder, teacher, pile)
        refused = _list_unreadable(folder)
        found = open_labels(folder)
        answered = int(within(pile.marks, found.column("mark")).sum())
        if not answered:
            raise UserError(
                f"none of {len(pile)} images in {pool} can be read{refused}; the reasons are in {folder / UNREADABLE}"
            )
        tops = Counter(found.column("top").to_numpy().tolist())
        return Labelled(
            folder,
            str(teacher.network.arch),
            teacher.checksum,
            len(pile),
            answered,
            len(found) - before,
            changed,
            int((~within(found.column("id"), pile.ids)).sum()),
            len(pile) - answered,
            len(found.shards),
            {name: tops[index] for index, name in enumerate(found.classes)},
        )


def _check_classifier(model: Path, run: str | Path, pool: str | Path) -> None:
    """Refuse a network of another task, and say how a pile is learned from there."""
    taught = f"--teacher {run} --unlabeled {pool}"
    instead = {
        "attributes": f"eyas train --task attributes {taught} teaches another network its answers to the pile",
        "embed": f"eyas embed writes its vectors, and eyas train --task embed {taught} teaches them to another network",
        "detect": f"eyas train --task detect --unlabeled {pool} finds boxes in the pile and learns from them",
    }
    kind = kind_of(model)
    if kind != "classify":
        raise UserError(
            f"{model} was trained for the task {kind}, and eyas label writes answers of classifiers; {instead[kind]}"
        )


def pile_of(images: Manifest, arch: Arch) -> Pile:
    """Images where they lie, reduced to the size that they are prepared at in training."""
    side = side_of(arch.resolution, arch.preprocessing.view)
    ids, sources = images.table["id"], images.table["source"]

    def see(row: int) -> tuple[Pixels, str]:
        pixels = decode(sources[row].as_py())
        return shrink(pixels, side), pixel_hash(pixels)

    return Pile(ids, sources, _marks(images), see)


def _marks(images: Manifest) -> pa.ChunkedArray:
    stamp = lru_cache(FILES)(_stamp)

    def chunks() -> Generator[pa.Array]:
        for start in range(0, len(images), CHUNK):
            rows = images.table.slice(start, CHUNK)
            pairs = zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True)
            yield pa.array([mark(id, stamp(file_of(source)), _place(source)) for id, source in pairs], MARK)

    return pa.chunked_array(chunks(), MARK)


def _place(source: str) -> str:
    """Where in its file an image is: what is left of the source, so that a pile may be moved."""
    return source[len(file_of(source)) :] if source.startswith(file_of(source)) else source.rpartition("#")[2]


def _stamp(file: str) -> str:
    """Length and time of change of a file; its own name where that cannot be told."""
    try:
        stat = Path(file).stat()
    except (OSError, ValueError):
        return file
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _drop_changed(folder: Path, pile: Pile) -> int:
    """Take out the answers to images whose files have changed since: an id has one answer.

    Images behind addresses that could not be read are taken out too: often it was the network that failed.
    """
    dropped = 0
    paths, notes = shard_paths(folder), [shard_notes(path) for path in shard_paths(folder)]
    answered = _changed([shard_table(path, KNOWN) for path in paths], pile)
    refused = _changed([_refused(each) for each in notes], pile)
    for path, each, stale, mended in zip(paths, notes, answered, refused, strict=True):
        left = [row for row, gone in zip(each["refused"], mended, strict=True) if not gone and not is_address(row[1])]
        if not stale.any() and len(left) == len(each["refused"]):
            continue
        dropped += int(stale.sum())
        kept = shard_table(path, None).filter(pa.array(~stale))
        if len(kept) or left:
            write_shard(path, {name: kept[name] for name in kept.column_names}, each | {"refused": left})
        else:
            path.unlink()
    return dropped


def _changed(shards: list[pa.Table], pile: Pile) -> list[Bool[np.ndarray, " n"]]:
    """For each shard, which images the pile has under the same id, but not as they were."""
    if not shards:
        return []
    table = pa.concat_tables(shards)
    changed = within(table["id"], pile.ids) & ~within(table["mark"], pile.marks)
    return np.split(changed, np.cumsum([len(shard) for shard in shards])[:-1])


def _refused(notes: dict[str, Any]) -> pa.Table:
    """The images of a shard that have no answer."""
    rows = notes["refused"]
    return pa.table({"id": pa.array([row[0] for row in rows], pa.string()), "mark": pa.array(map(_bytes, rows), MARK)})


def _bytes(refused: list[str]) -> bytes:
    return bytes.fromhex(refused[2])


def _list_unreadable(folder: Path) -> str:
    """Write the images without an answer and the reasons; the first of them in words."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "source", "reason"))
    table.writerows((row.id, row.source, row.reason) for row in refused_in(folder))
    first = next(islice(refused_in(folder), 1), None)
    content, path = text.getvalue().encode("utf-8", "backslashreplace"), folder / UNREADABLE
    before = path.read_bytes() if path.exists() else None
    if content != before and (first or before):
        write_atomic(path, content)
    return f" ({first.id}: {first.reason})" if first else ""
