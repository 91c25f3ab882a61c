"""Detectors trained on boxes: people's, and where there is a pile also those that an earlier detector is sure of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from eyas.arch.scale import seen
from eyas.data.batches import Examples
from eyas.data.boxes import pack, unpack
from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.nn.detector import Detector, Form, detector_cost
from eyas.nn.detectors import build_detector, load_blocks, load_detector
from eyas.progress import say
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.detection import Boxed, box_examples, check_training, pseudo_boxes
from eyas.studies.learning import MODEL, Lesson, Start, learn
from eyas.studies.prepare import Data
from eyas.studies.teaching import in_proportion
from eyas.tasks.detect import Detect

PSEUDO = "pseudo.parquet"


def begin_detector(begin: Start, form: Form, classes: int, training: Training, seed: int) -> Detector:
    """A detector on the architecture of `begin`, its blocks with the published weights where there are some."""
    arch = seen(begin.arch, 1.0)
    detector = build_detector(arch, form, classes, training.drop_path, training.norm_momentum, seed)
    if begin.weights:
        load_blocks(detector, begin.weights)
    return detector


def train_detect(
    run: Run,
    begin: Start,
    data: Data,
    training: Training,
    seed: int,
    form: Form = "ssd",
    pseudo: Done | None = None,
    name: str = "model",
) -> Done:
    """The stage that trains a detector on the boxes of the training images; `name` is the stage's.

    Args:
        run: where it goes.
        begin: architecture and published weights of what it stands on.
        data: what `prepare(reader=eyas.studies.detection.read_boxed)` made.
        training: how; dropout and label smoothing belong to classifiers.
        seed: what weights and batches follow from.
        form: which detector.
        pseudo: boxes of images of the pile to learn from as well, in proportion (`labelled_pile`).
        name: of the stage.

    Raises:
        UserError: the data has no boxes, or the training is not for them.
    """
    check_training(training)
    boxed = Boxed.of(data)

    def make(folder: Path) -> dict[str, Any]:
        labelled, more = boxed.examples("train"), _pseudo_examples(pseudo, boxed)
        sources = in_proportion(training.batch, *_alike(labelled, more)) if more else in_proportion(training.batch, labelled)
        detector = begin_detector(begin, form, len(boxed.classes), training, seed)
        cost = detector_cost(detector)
        steps = training.steps(sum(len(part.examples) for part in sources))
        lesson = Lesson(name, Detect(boxed.classes), sources, steps, training, seed, boxed.exam())
        found = learn(folder, detector, lesson, data)
        return found | {"weights": begin.facts["weights"], "form": form, "madds": cost.madds, "params": cost.params}

    facts = {"start": begin.facts, "data": data.digest, "training": training, "seed": seed, "form": form}
    return run.joint_stage(name, make, task="detect", pseudo=pseudo.digest if pseudo else None, **facts)


def labelled_pile(run: Run, teacher: Done, data: Data, threshold: float, name: str = "pseudo") -> Done:
    """The stage that gives images of the pile the boxes that a trained detector is sure of.

    Raises:
        UserError: there is no pile, or the threshold is not a score.
    """
    if data.pile is None or data.pile_store is None or not len(data.pile):
        raise UserError("there are no unlabelled images to find boxes in; give some with --unlabeled")
    pile, store = data.pile, data.pile_store

    def make(folder: Path) -> dict[str, Any]:
        detector, classes = load_detector(teacher.folder / MODEL)
        found = pseudo_boxes(detector, classes, pile, store, threshold)
        found.save(folder / PSEUDO)
        boxes = sum(len(of) for of in found.column("boxes"))
        say(f"{len(found)} of {len(pile)} unlabelled images have {boxes} boxes of a score of {threshold:g} or above")
        return {"images": len(found), "boxes": boxes}

    return run.stage(name, make, teacher=teacher.digest, data=data.digest, threshold=threshold)


def _pseudo_examples(pseudo: Done | None, boxed: Boxed) -> Examples | None:
    """None where there is no pile, or nothing in it that the earlier detector was sure of."""
    if pseudo is None or not pseudo.result["images"]:
        return None
    assert boxed.data.pile_store is not None
    rows = Manifest.load(pseudo.folder / PSEUDO)
    return box_examples(rows, boxed.data.pile_store, boxed.classes, labelled=False)


def _alike(*sources: Examples) -> list[Examples]:
    """The sources with room for equally many boxes an image, so that they can stand in one batch."""
    most = max(each.targets.shape[1] for each in sources) // 6
    return [replace(each, targets=pack([unpack(row) for row in each.targets], most)) for each in sources]
