"""Labels that look wrong: what models that never learnt from an image say against its label.

The answers are out of fold: of held-out images by a run's own model, which costs nothing, or of every labelled image by
cross-validation, which trains a model a fold.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from eyas.data.duplicates import near_pairs, together
from eyas.data.folds import folds, with_fold
from eyas.data.labels import can_check, label_issues
from eyas.data.manifest import Manifest, Split
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.recipe import Splits, Training
from eyas.run import Done, Run, write_atomic
from eyas.studies.answering import probabilities
from eyas.studies.learning import MODEL, Start, supervised
from eyas.studies.prepare import Data

STAGE = "label-issues"
LIST = "label-issues.csv"
ANSWERS = "answers.parquet"
GROUPED = "manifest.parquet"  # with groups that hold near copies too
COLUMNS = ("id", "source", "split", "label", "suggested", "probability_of_label", "probability_of_suggested")


@dataclass(frozen=True)
class Suspect:
    """A label in doubt, as the list has it."""

    id: str
    source: str
    split: str
    label: str
    suggested: str
    of_label: float
    of_suggested: float


def check_held_out(run: Run, model: Done, data: Data) -> Done | None:
    """The labels of the validation and test images against the answers of a model that was trained on neither.

    Nothing is chosen by what it finds, so the test split stays what it was. `None` where cleanlab is not installed.
    """
    if not can_check():
        return None

    def make(folder: Path) -> dict[str, Any]:
        network, classes = load_network(model.folder / MODEL)
        named: tuple[Split, ...] = ("validation", "test")
        held = [split for split in named if len(data.manifest.where(split=split))]
        rows = [data.manifest.where(split=split) for split in held]
        given = [probabilities(network, data.examples(split)) for split in held]
        manifest = rows[0] if len(rows) == 1 else rows[0].concat(rows[1])
        facts = {"arch": str(network.arch), "folds": 0, "unanswered": 0}
        return facts | _list(folder, manifest, np.concatenate(given), classes)

    return run.stage(STAGE, make, model=model.digest, data=data.digest)


def check_all(run: Run, begin: Start, data: Data, training: Training, splits: Splits, count: int, seed: int) -> Done:
    """Every label against the answers of a model that was trained on the other folds; near copies share a fold.

    Each fold is a stage: a run that is stopped goes on with the fold it was at.

    Raises:
        UserError: the data cannot be divided so.
    """
    manifest = data.manifest
    if len(manifest.classes) < 2:
        raise UserError("folds needs two classes at least: with one there is nothing that a label could be taken for")

    def group(folder: Path) -> dict[str, Any]:
        together(manifest.with_splits([None] * len(manifest)), near_pairs(manifest, data.store)).save(folder / GROUPED)
        return {}

    grouped = Manifest.load(run.stage("folds/groups", group, data=data.digest).folder / GROUPED)
    numbers = folds(grouped, count, seed)
    if len(set(numbers.tolist())) < count:
        raise UserError(f"folds is {count}, but the data has only {len(set(numbers.tolist()))} groups of images to part")
    facts = {"start": begin.facts, "data": data.digest, "training": training, "splits": splits, "seed": seed}
    made = []
    for fold in range(count):
        part = replace(data, manifest=with_fold(grouped, numbers == fold, splits, seed), classes=manifest.classes)
        made.append(
            run.stage(
                f"folds/{fold + 1}",
                lambda folder, fold=fold, part=part: _answer(
                    folder, f"fold {fold + 1} of {count}", begin, part, training, seed
                ),
                folds=count,
                fold=fold,
                **facts,
            )
        )

    def make(folder: Path) -> dict[str, Any]:
        table = pa.concat_tables(pq.read_table(done.folder / ANSWERS) for done in made)
        answered = dict(zip(table["id"].to_pylist(), table["probabilities"].to_pylist(), strict=True))
        rows = manifest.where([id in answered for id in manifest.column("id")])
        given = np.array([answered[id] for id in rows.column("id")], dtype=np.float32).reshape(len(rows), -1)
        about = {"arch": str(begin.arch), "folds": count, "unanswered": len(manifest) - len(rows)}
        return about | _list(folder, rows, given, manifest.classes)

    return run.stage(STAGE, make, folds=[done.digest for done in made], data=data.digest)


def read_suspects(folder: Path) -> list[Suspect]:
    """The list that a check left."""
    with (folder / LIST).open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [Suspect(*row[:5], float(row[5]), float(row[6])) for row in rows]


def _answer(folder: Path, label: str, begin: Start, data: Data, training: Training, seed: int) -> dict[str, Any]:
    """Train one fold's model and keep its answers to the fold, except of classes that it never saw."""
    trained = supervised(folder, label, begin, data, training, seed)
    network, _ = load_network(folder / MODEL)
    rows = data.manifest.where(split="test")
    given = probabilities(network, data.examples("test"))
    known = set(data.manifest.where(split="train").column("label"))
    kept = [row for row, name in enumerate(rows.column("label")) if name in known]
    _write(folder / ANSWERS, [rows.column("id")[row] for row in kept], given[kept])
    (folder / MODEL).unlink()  # it was made for these answers alone
    return {"answered": len(kept), "steps": trained["steps"], "validation": trained["validation"]}


def _write(path: Path, ids: list[str], given: Float32[np.ndarray, "n k"]) -> None:
    flat = pa.array(given.reshape(-1))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": ids, "probabilities": pa.FixedSizeListArray.from_arrays(flat, given.shape[1])}), buffer)
    write_atomic(path, buffer.getvalue())


def _list(folder: Path, rows: Manifest, given: Float32[np.ndarray, "n k"], classes: tuple[str, ...]) -> dict[str, Any]:
    """Write the labels in doubt, the most suspicious first; how many there are."""
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for name in rows.column("label")], dtype=np.int64)
    issues = label_issues(given, labels)
    ids, sources, splits = (rows.column(name) for name in ("id", "source", "split"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for issue in issues:
        named = (classes[issue.label], classes[issue.suggested], f"{issue.of_label:.4f}", f"{issue.of_suggested:.4f}")
        writer.writerow((ids[issue.row], sources[issue.row], splits[issue.row], *named))
    write_atomic(folder / LIST, text.getvalue().encode())
    right = float((given.argmax(1) == labels).mean()) if len(labels) else None
    return {"answered": len(labels), "agree": right, "suspects": len(issues)}
