"""One cell of `eyas reproduce noisy-student`: trained, and asked the validation and the test split."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from eyas.data.batches import Examples, Part
from eyas.data.manifest import Split
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.recipe import Augment, Training
from eyas.run import Done, Run, write_atomic
from eyas.studies.answering import correct, probabilities
from eyas.studies.calibrate import calibrate
from eyas.studies.learning import MODEL, Lesson, learn
from eyas.studies.prepare import Data
from eyas.studies.reproduce_bench import LABELS, NOISED, NOISED_LABELS, TEACHER, Bench, prepared, selection_of, student_start
from eyas.studies.reproduce_cells import Cell, Change
from eyas.studies.select import read_chosen, scores
from eyas.studies.soft_labels import Form, Probabilities, open_labels, shard_table
from eyas.tasks.classify import Classify
from eyas.tasks.consistency import Consistency

ANSWERS = "right.npz"  # which images of each split were answered rightly
SPLITS: tuple[Split, ...] = ("validation", "test")
SKIPPED = "skipped"  # in the result of a cell: why there is none
WIDTH = 0.1  # of a band of confidence

Labelled = tuple[list[str], Probabilities]


class SkippedError(Exception):
    """A cell for which this data does not have what it needs; the sentence says what."""


def train_cell(job: tuple[Bench, Cell]) -> None:
    """Train the cell in its stage of the run, unless it was trained before."""
    bench, cell = job
    data = prepared(bench.run, bench.data)
    Run(bench.run).stage(bench.stage(cell), lambda folder: _made(folder, bench, cell, data), **bench.inputs(cell))


def right(done: Done, split: Split) -> Bool[np.ndarray, " n"]:
    """Which images of a split a trained cell answers rightly."""
    with np.load(done.folder / ANSWERS) as found:
        return found[split]


def _made(folder: Path, bench: Bench, cell: Cell, data: Data) -> dict[str, Any]:
    try:
        found, model = _taught(folder, bench, cell, data)
    except SkippedError as skip:
        return {SKIPPED: str(skip)}
    network, buffer = load_network(model)[0], io.BytesIO()
    splits = {split: data.examples(split) for split in SPLITS}
    np.savez_compressed(buffer, **{name: correct(probabilities(network, each), each) for name, each in splits.items()})
    write_atomic(folder / ANSWERS, buffer.getvalue())
    return found


def _taught(folder: Path, bench: Bench, cell: Cell, data: Data) -> tuple[dict[str, Any], Path]:
    """What its training found, and the file of its best weights."""
    change = cell.change
    if change.method == "teacher":
        teacher = bench.made[TEACHER]
        return teacher.result, teacher.folder / MODEL
    if change.width != 1 and bench.begin.weights:
        raise SkippedError(
            f"the other students begin with {bench.begin.weights.origin}, which do not fit another width; --weights none"
        )
    training, labelled = taught_so(bench.training, change), data.examples("train")
    network = student_start(bench.begin, change).network(data.classes, training, bench.seed)
    task = Classify(data.classes, training.label_smoothing, weighting=bench.choice.weighting)
    lesson = Lesson(_label(bench, cell), task, (), training.steps(len(labelled)), training, bench.seed)
    if change.start == "teacher":
        network.load_state_dict(load_network(bench.made[TEACHER].folder / MODEL)[0].state_dict())
    batch, ratio = training.batch, change.ratio
    if change.method == "labels":
        lesson = replace(lesson, sources=(Part(labelled, batch * (1 + ratio)),))
    elif change.method == "fixmatch":
        # An image that is mixed with another one is no longer what its weak view shows.
        noise = replace(training.augment, mixup=0.0, cutmix=0.0)
        pile = Part(data.unlabelled(), batch * ratio, augment=noise, weak=True)
        lesson = replace(lesson, task=Consistency(task, bench.choice.confidence), sources=(Part(labelled, batch), pile))
    elif change.order == "in turn":
        pseudo = data.unlabelled(*pseudo_labels(bench, change, data))
        return _in_turn(folder, bench, cell, data, network, lesson, pseudo), folder / MODEL
    else:
        pseudo = data.unlabelled(*pseudo_labels(bench, change, data))
        augment = calm(training) if change.noise != "all" else None
        lesson = replace(lesson, sources=(Part(labelled, batch), Part(pseudo, batch * ratio, augment=augment)))
    return learn(folder, network, lesson, data), folder / MODEL


def _label(bench: Bench, cell: Cell) -> str:
    return f"seed {bench.seed}: {cell.name}"


def _in_turn(
    folder: Path, bench: Bench, cell: Cell, data: Data, network: Network, lesson: Lesson, pseudo: Examples
) -> dict[str, Any]:
    """Pseudo-labelled images, then labelled ones: each source as often as together, and as many images a step."""
    training, ratio, labelled = lesson.training, cell.change.ratio, data.examples("train")
    images = training.batch * (1 + ratio)
    before = max(1, round(lesson.steps * ratio / (1 + ratio)))
    # The fine-tune at the end of a training is one on labels.
    first = replace(lesson, label=f"{lesson.label}, pretraining", sources=(Part(pseudo, images),), steps=before)
    first = replace(first, training=replace(training, fine_tune=0.0))
    pretrained = Run(bench.run).stage(
        f"seed-{bench.seed}/pretraining", lambda place: learn(place, network, first, data), **bench.inputs(cell)
    )
    network.load_state_dict(load_network(pretrained.folder / MODEL)[0].state_dict())
    then = replace(lesson, sources=(Part(labelled, images),), steps=max(1, lesson.steps - before))
    return learn(folder, network, then, data)


def taught_so(training: Training, change: Change) -> Training:
    """How the network of a cell is trained."""
    return replace(training, dropout=0.0, drop_path=0.0) if change.noise == "none" else training


def calm(training: Training) -> Augment:
    """The input noise of standard training: crops and mirrorings."""
    return replace(training.augment, operations=0, erase=0.0, mixup=0.0, cutmix=0.0)


def pseudo_labels(bench: Bench, change: Change, data: Data) -> Labelled:
    """Ids and targets of the images of the pile that a student learns from.

    Raises:
        SkippedError: there are too few for the cell.
        UserError: there are none at all.
    """
    selection = bench.made[selection_of(change)]
    if change.band is not None:
        return in_band(
            bench.made[LABELS].folder, selection.result["temperature"], change, len(data.examples("train")), bench.seed
        )
    ids, targets = read_chosen(selection.folder)
    if not ids:
        raise UserError(
            "nothing in the pile was confident enough to learn from; lower self_training.threshold, or give more labels"
        )
    if change.part > 1:
        rows = part_of(len(ids), change.part, len(data.classes), bench.seed)
        ids, targets = [ids[row] for row in rows], targets[rows]
    if change.labeller == "noised":
        targets = _noised_targets(bench.made[NOISED_LABELS].folder / NOISED, ids, len(data.classes))
        targets = hardened(targets) if change.labels == "hard" else targets
    return ids, targets


def part_of(images: int, part: int, classes: int, seed: int) -> np.ndarray:
    """Rows of one image in `part`, drawn at random: those of a smaller part are in every larger one.

    Raises:
        SkippedError: there would be fewer than there are classes.
    """
    count = images // part
    if count < classes:
        raise SkippedError(f"one in {part} of {images:,} pseudo-labelled images is {count}, fewer than there are classes")
    return np.sort(np.random.default_rng((seed, 2)).permutation(images)[:count])


def in_band(labels: Path, temperature: float, change: Change, count: int, seed: int) -> Labelled:
    """`count` images drawn from a band of calibrated confidence: the same with soft and with hard labels.

    Raises:
        SkippedError: there are fewer.
    """
    assert change.band is not None
    given = open_labels(labels)
    confidence, low = scores(given, temperature).confidence, change.band
    # The last band holds 1 itself, and what rounding puts above it.
    inside = np.flatnonzero((confidence >= low) & ((confidence < low + WIDTH) | (low + WIDTH > 1 - 1e-9)))
    if len(inside) < count:
        raise SkippedError(
            f"{len(inside):,} images of the pile are {low:.1f} to {low + WIDTH:.1f} sure, and {count:,} are taken of each band"
        )
    rows = np.sort(np.random.default_rng((seed, 3, round(10 * low))).choice(inside, count, replace=False))
    ids: list[str] = []
    targets, start = [np.zeros((0, given.form.classes), np.float32)], 0
    for answers, beside in given.batches(["id"]):
        here = rows[(rows >= start) & (rows < start + len(beside))] - start
        start += len(beside)
        ids += beside.column("id").take(here).to_pylist()
        targets.append(calibrate(answers[here], temperature))
    found = np.concatenate(targets)
    return ids, hardened(found) if change.labels == "hard" else found


def hardened(given: Probabilities) -> Probabilities:
    """All of an answer on its largest."""
    return np.eye(given.shape[1], dtype=np.float32)[given.argmax(1)]


def _noised_targets(path: Path, ids: Sequence[str], classes: int) -> Probabilities:
    table, form = shard_table(path, None), Form.asked(classes, 0)
    found = np.concatenate([form.read(rows) for rows in table.to_batches()])
    places = {id: row for row, id in enumerate(table["id"].to_pylist())}
    return found[[places[id] for id in ids]]
