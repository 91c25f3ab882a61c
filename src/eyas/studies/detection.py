"""The boxes of a run's images, and how well a detector finds them, with intervals; and what it finds in other images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eyas.data.attributes import by_attributes
from eyas.data.batches import Examples, in_order
from eyas.data.boxes import Rows, classes_of, pack, read_boxes, unpack
from eyas.data.manifest import Manifest, Split
from eyas.data.readers import read_labels
from eyas.data.store import Store
from eyas.deploy.boxes import listed
from eyas.deploy.parity import Predictor
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.learn.evaluate import answers
from eyas.nn.detector import Detector
from eyas.nn.detectors import load_detector
from eyas.nn.fold import folded
from eyas.progress import say
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.learning import MODEL, Exam
from eyas.studies.prepare import Data, positions
from eyas.tasks.box_scores import Interval, box_interval, box_precision
from eyas.tasks.detect import Detect, Seen


@dataclass(frozen=True)
class Detected:
    """How well things are found in some images.

    Attributes:
        mean: COCO's mean average precision, with its 95 % bootstrap interval over images.
        at_50: average precision at an overlap of 0.5.
        at_75: at 0.75.
        classes: the mean for each class; `None` for one that is in none of the images.
        things: boxes to be found.
    """

    mean: Interval
    at_50: float
    at_75: float
    classes: dict[str, float | None]
    things: int


@dataclass(frozen=True)
class Boxed:
    """Prepared images with their boxes as targets."""

    data: Data
    classes: tuple[str, ...]

    @classmethod
    def of(cls, data: Data) -> "Boxed":
        """Those of `data`; what is not learned from as it stands is said, and a class that training has no box of.

        Raises:
            UserError: there are no boxes, or none to train on.
        """
        boxed = cls(data, classes_of(data.manifest))
        told = read_boxes(data.manifest, data.store, boxed.classes).said
        if told:
            say(told)
        learned = {boxed.classes[int(row[4])] for row in boxed._rows("train") if row[5] == 0}
        if not learned:
            raise UserError("no training image has a box that can be learned from; a detector needs some")
        if lost := [name for name in boxed.classes if name not in learned]:
            say(f"training has no box of {', '.join(map(repr, lost))}: what is not shown is not found")
        return boxed

    def examples(self, split: Split) -> Examples:
        """The images of a split.

        Raises:
            UserError: there are none.
        """
        rows = self.data.rows(split)
        return box_examples(rows, self.data.store, self.classes)

    def exam(self) -> Exam:
        """What detectors are judged by: mean average precision on the validation images."""
        return Exam(Detect(self.classes), self.examples("validation"), self.classes, "detect")

    def _rows(self, split: Split) -> Rows:
        return np.concatenate([unpack(row) for row in self.examples(split).targets])


def read_boxed(source: str) -> Manifest:
    """What `prepare` reads such data with: rows labelled by all their classes together, so that splits are alike.

    Raises:
        UserError: nothing is there, or it has no boxes.
    """
    manifest = read_labels(source)
    classes_of(manifest)
    return by_attributes(manifest)


def box_examples(rows: Manifest, store: Store, classes: tuple[str, ...], labelled: bool = True) -> Examples:
    """Images with boxes as targets."""
    return Examples(store, positions(store, rows), read_boxes(rows, store, classes).targets, labelled, boxes=True)


def check_training(training: Training) -> None:
    """Refuse settings that boxes cannot follow.

    Raises:
        UserError: one is on.
    """
    augment = training.augment
    if augment.mixup or augment.cutmix or augment.erase:
        raise UserError(
            "training.augment.mixup, cutmix and erase hide things without their boxes; detection is learned without"
        )
    if training.class_balance or training.class_weights != "none":
        raise UserError("training.class_balance and class_weights are for one class an image; detection is learned without")
    if training.test_crop != 1:
        raise UserError("training.test_crop cuts off what is at the border; a detector sees the whole image, so leave it at 1")
    if training.train_resolution != 1 or training.fine_tune:
        raise UserError(
            "a detector's boxes are laid out for one resolution; leave training.train_resolution at 1 and fine_tune at 0"
        )


def found_in(detector: Detector, examples: Examples) -> list[Rows]:
    """For each image left, top, right, bottom (shares of its sides), class and score of every answer, the surest first."""
    device, arch = choose(), detector.arch
    task = Detect(tuple(str(number) for number in range(detector.classes)))
    images = in_order(examples, arch.resolution, size=16)
    given = answers(detector.to(device.name), task, images, device)
    return [unpack(row) for row in given.numpy()]


def asking(detector: Detector) -> Predictor:
    """A detector as a predictor: pictures at its resolution to rows of boxes, decoded already, since any form can do that."""
    task = Detect(tuple(str(number) for number in range(detector.classes)))
    asked = folded(detector).to(next(detector.parameters()).device)

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            raw = asked(torch.from_numpy(images).to(next(asked.parameters()).device))
            return task.decode(Seen(asked, raw)).numpy()

    return predict


def listing(names: tuple[str, ...]) -> Callable[[np.ndarray, tuple[int, int]], dict[str, Any]]:
    """What tells the rows of `asking` as predict.py tells a file's answers."""

    def tell(row: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
        rows = unpack(row)
        found = {"boxes": rows[:, :4], "classes": rows[:, 4].astype(np.int64), "scores": rows[:, 5]}
        return {"boxes": listed(found, names, None, size)}

    return tell


def judge(found: list[Rows], examples: Examples, classes: tuple[str, ...], seed: int = 0) -> Detected:
    """Average precision of answers to `examples`."""
    truth = [unpack(row) for row in examples.targets]
    scored = box_precision(found, truth, len(classes))
    low, high = box_interval(found, truth, len(classes), seed)
    things = sum(int((rows[:, 5] == 0).sum()) for rows in truth)
    by_class = dict(zip(classes, scored.classes, strict=True))
    return Detected(Interval(scored.mean, low, high, len(examples)), scored.at_50, scored.at_75, by_class, things)


def tested_boxes(run: Run, name: str, trained: Done, boxed: Boxed) -> Done:
    """The stage that measures a trained detector on the test split: what `Detected` holds."""

    def make(_: Path) -> dict[str, Any]:
        detector = load_detector(trained.folder / MODEL)[0]
        examples = boxed.examples("test")
        return asdict(judge(found_in(detector, examples), examples, boxed.classes))

    return run.joint_stage(name, make, model=trained.digest, data=boxed.data.digest)


def pseudo_boxes(detector: Detector, classes: tuple[str, ...], pile: Manifest, store: Store, threshold: float) -> Manifest:
    """A detector's answers to unlabelled images as boxes to learn from: those of at least a score of `threshold`.

    An image without any is left out: that nothing is in it is what the detector knows least. Rows are as COCO's are read, so
    whatever learns from boxes learns from them.

    Args:
        detector: it is not changed.
        classes: the names of what it finds.
        pile: the images.
        store: it holds them, prepared.
        threshold: smallest score, above 0 and at most 1.

    Raises:
        UserError: the threshold is not a score.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"the threshold of pseudo-boxes is {threshold:g}; it is a score, above 0 and at most 1")
    nothing = pack([np.zeros((0, 6), np.float32)] * len(pile))
    found = found_in(detector, Examples(store, positions(store, pile), nothing, labelled=False, boxes=True))
    sure = [rows[rows[:, 5] >= threshold] for rows in found]
    kept = pile.where([len(rows) > 0 for rows in sure])
    index = {name: store.index[name].to_pylist() for name in ("original_width", "original_height")}
    boxes = []
    for id, rows in zip(kept.column("id"), [rows for rows in sure if len(rows)], strict=True):
        place = store.position(id)
        boxes.append(_in_pixels(rows, index["original_width"][place], index["original_height"][place], classes))
    columns = {name: kept.column(name) for name in ("id", "source", "group")}
    labels = [sorted({box["label"] for box in of}) for of in boxes]
    return Manifest.of({**columns, "labels": labels, "boxes": boxes}, pile.flips)


def _in_pixels(rows: Rows, width: int, height: int, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for left, top, right, bottom, number, score in rows.astype(np.float64).tolist():
        sides = {"width": (right - left) * width, "height": (bottom - top) * height}
        box = {"x": left * width, "y": top * height, **sides}
        found.append({**box, "label": classes[int(number)], "crowd": False, "score": score})
    return found
