"""What is taken from the pile: calibrated, confident, near to what is known, balanced (Noisy Student, sections 2 and 3.1).

Two passes over the shards. The first keeps 12 bytes an image: calibrated confidence, likeliest class, energy; the second
fetches the probabilities of the images that were chosen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int32, Int64

from eyas.nn.weights import load_network
from eyas.progress import say, work
from eyas.recipe import SelfTraining
from eyas.run import write_json
from eyas.studies.calibrate import calibrate, reliability, temperature, threshold_for
from eyas.studies.collapse import alarms
from eyas.studies.labelling import check_classes
from eyas.studies.prepare import Data
from eyas.studies.soft_answers import answers_to
from eyas.studies.soft_labels import Form, Probabilities, SoftLabels, open_labels, shard_table, written_in_parts

CHOSEN = "chosen.parquet"
BINS = 20  # of the confidence histogram
NOTHING = 1.0 + 1e-6  # a threshold that no confidence reaches


@dataclass(frozen=True)
class Scores:
    """What is known of every image of a pile: calibrated confidence, likeliest class, energy."""

    confidence: Float32[np.ndarray, " n"]
    top: Int32[np.ndarray, " n"]
    energy: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True)
class Limits:
    """From which calibrated confidence on an image is taken, and up to which energy."""

    threshold: float
    energy: float = np.inf


@dataclass(frozen=True)
class Selection:
    """Rows of the pile to train on, ascending, how often each is repeated; and what was found."""

    rows: Int64[np.ndarray, " m"]
    repeats: Int64[np.ndarray, " m"]
    findings: dict[str, Any]


def choose(
    folder: Path, model: Path, labels: Path, data: Data, choice: SelfTraining, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Choose from the soft labels in `labels`; `chosen.parquet` and `selection.json` tell what and why.

    Args:
        folder: where the choice is written.
        model: the network that gave the labels, for calibration on the validation split.
        labels: what `label_pile` or `eyas label` wrote.
        data: the labelled images.
        choice: what is asked for.
        before: what this returned in the round before.

    Raises:
        UserError: the labels are of other classes than the data.
    """
    given = open_labels(labels)
    check_classes(given.classes, data.classes, f"the pile in {labels}")
    known = examined(model, data, choice)
    pile = scores(given, known["temperature"])
    limits = Limits(known["threshold"], np.inf if known["farthest"] is None else known["farthest"])
    chosen = select(pile, data.classes, choice, limits)
    write_chosen(folder / CHOSEN, given, chosen, choice, known["temperature"])
    labelled = data.examples("train").targets.sum(0).astype(np.int64)
    found = {**known, **chosen.findings}
    found["alarms"] = alarms(found, labelled, before)
    for sentence in found["alarms"]:
        say(sentence)
    write_json(folder / "selection.json", found)
    return found


def examined(model: Path, data: Data, choice: SelfTraining) -> dict[str, Any]:
    """What the validation split says of a teacher: its temperature and calibration, and the limits that follow."""
    validation = data.examples("validation")
    answers = answers_to(load_network(model)[0], validation)
    truth = validation.targets.argmax(1).astype(np.int64)
    at = temperature(answers.probabilities, truth)
    softened = calibrate(answers.probabilities, at)
    # 1.2 over chance: with two classes the paper's 0.3 would keep everything.
    threshold = max(choice.threshold, min(1.2 / len(data.classes), 1.0))
    if choice.accuracy:
        cut = threshold_for(choice.accuracy, softened.max(1), softened.argmax(1) == truth)
        if cut is None:
            say(f"no confidence of the teacher promises {choice.accuracy:.1%} right answers; nothing of the pile is taken")
        threshold = NOTHING if cut is None else cut
    farthest = float(np.quantile(answers.energy, 1 - choice.outliers)) if choice.outliers else None
    before, after = (reliability(each, truth) for each in (answers.probabilities, softened))
    return {"temperature": at, "calibration": {"before": before, "after": after}, "threshold": threshold, "farthest": farthest}


def scores(labels: SoftLabels, at: float) -> Scores:
    """The first pass: what is known of every image once its probabilities are softened by a temperature."""
    total = len(labels)
    found = Scores(np.empty(total, np.float32), np.empty(total, np.int32), np.empty(total, np.float32))
    start = 0
    with work("reading soft labels", total) as progress:
        for given, rows in labels.batches(["energy"]):
            softened, here = calibrate(given, at), slice(start, start + len(rows))
            found.confidence[here], found.top[here] = softened.max(1), softened.argmax(1)
            found.energy[here] = rows.column("energy").to_numpy()
            start += len(rows)
            progress.at(start)
    return found


def select(pile: Scores, classes: tuple[str, ...], choice: SelfTraining, limits: Limits) -> Selection:
    """Keep confident answers; of each class so many as `choice` says, the most confident first.

    With `balance` a class with fewer is repeated, the most confident once more than the others where it does not divide.
    """
    near = pile.energy <= limits.energy
    usable = near & (pile.confidence >= limits.threshold)
    order = np.lexsort((-pile.confidence, pile.top))
    order = order[usable[order]]
    counts = np.bincount(pile.top[order], minlength=len(classes))
    goals = _goals(counts, choice)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    many, goal = np.repeat(counts, counts), np.repeat(goals, counts)
    times = goal // np.maximum(many, 1) + (ranks < goal % np.maximum(many, 1))
    place = np.argsort(order[times > 0], kind="stable")
    rows, repeats = order[times > 0][place].astype(np.int64), times[times > 0][place].astype(np.int64)
    taken = np.zeros(len(pile), bool)
    taken[rows] = True
    findings = {
        "images": len(pile),
        "far": int((~near).sum()),
        "confident": len(order),
        "distinct": len(rows),
        "rows": int(repeats.sum()),
        "classes": _yields(pile, classes, taken, counts, goals),
        **_histogram(pile.confidence, taken),
    }
    return Selection(rows, repeats, findings)


def write_chosen(path: Path, labels: SoftLabels, chosen: Selection, choice: SelfTraining, at: float) -> None:
    """The second pass: id, position in the pile, repeats and calibrated probabilities of what was chosen."""
    columns = [("id", pa.string()), ("position", pa.int64()), ("repeats", pa.int32())]
    example = labels.form.columns(np.full((1, labels.form.classes), 1 / labels.form.classes, np.float32))
    form = {"classes": str(labels.form.classes), "top": str(labels.form.top)}
    schema = pa.schema([*columns, *((name, array.type) for name, array in example.items())], form)
    start = 0
    with written_in_parts(path, schema) as writer:
        for given, rows in labels.batches(["id"]):
            first, last = np.searchsorted(chosen.rows, [start, start + len(rows)])
            here = chosen.rows[first:last] - start
            start += len(rows)
            if len(here):
                targets = calibrate(given[here], at)
                if choice.labels == "hard":
                    likeliest, targets = targets.argmax(1), np.zeros_like(targets)
                    targets[np.arange(len(here)), likeliest] = 1
                told = {
                    "id": rows.column("id").take(pa.array(here)),
                    "position": chosen.rows[first:last],
                    "repeats": pa.array(chosen.repeats[first:last], pa.int32()),
                }
                writer.write_table(pa.table({**told, **labels.form.columns(targets)}, schema))


def read_chosen(folder: Path) -> tuple[list[str], Probabilities]:
    """Ids and targets of the images that were chosen, each as often as it is to be trained on."""
    table = shard_table(folder / CHOSEN, None)
    form = Form(*(int(table.schema.metadata[name]) for name in (b"classes", b"top")))
    repeats = table["repeats"].to_numpy()
    targets = [form.read(rows) for rows in table.to_batches() if len(rows)]
    ids = np.repeat(np.array(table["id"].to_pylist(), dtype=object), repeats).tolist()
    none = np.zeros((0, form.classes), np.float32)
    return ids, np.repeat(np.concatenate([none, *targets]), repeats, axis=0)


def taken_rows(folder: Path) -> Int64[np.ndarray, " m"]:
    """Positions in the pile of the images that were chosen."""
    return pq.read_table(folder / CHOSEN, columns=["position"])["position"].to_numpy().astype(np.int64)


def _goals(counts: Int64[np.ndarray, " k"], choice: SelfTraining) -> Int64[np.ndarray, " k"]:
    """How many rows each class is to give."""
    if choice.balance and counts.any():
        goal = choice.per_class or round(float(np.median(counts[counts > 0])))
        return np.where(counts > 0, goal, 0).astype(np.int64)
    return np.minimum(counts, choice.per_class) if choice.per_class else counts


def _yields(
    pile: Scores,
    classes: tuple[str, ...],
    taken: Bool[np.ndarray, " n"],
    counts: Int64[np.ndarray, " k"],
    goals: Int64[np.ndarray, " k"],
) -> dict[str, dict[str, int]]:
    """What each class gave: images answered with it, confident ones, those that are kept, and rows to train on."""
    answered, kept = (np.bincount(tops, minlength=len(classes)) for tops in (pile.top, pile.top[taken]))
    table = np.stack([answered, counts, kept, goals], 1).tolist()
    names = ("answered", "confident", "kept", "rows")
    return {name: dict(zip(names, row, strict=True)) for name, row in zip(classes, table, strict=True)}


def _histogram(confidence: Float32[np.ndarray, " n"], taken: Bool[np.ndarray, " n"]) -> dict[str, list[Any]]:
    edges = np.linspace(0, 1, BINS + 1)
    kept, dropped = (np.histogram(np.minimum(confidence[rows], 1), edges)[0].tolist() for rows in (taken, ~taken))
    return {"edges": edges.tolist(), "kept": kept, "dropped": dropped}
