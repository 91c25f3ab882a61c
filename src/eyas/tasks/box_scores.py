"""COCO's mean average precision, by faster-coco-eval, and how far it may be off, by drawing the images again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from eyas.errors import UserError

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the intersection over union
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # answers to an image that count

Rows = Float32[np.ndarray, "_ 6"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision over the classes that occur, as COCO defines it.

    Attributes:
        mean: over ten overlaps, 0.5 to 0.95 (what is called mAP, or AP).
        at_50: at an overlap of 0.5.
        at_75: at 0.75.
        classes: the first for each class; `None` for one that is in none of the images.
    """

    mean: float
    at_50: float
    at_75: float
    classes: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean average precision with its 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        """`31.2 % (28.0 to 34.1)`."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def box_precision(found: Sequence[Rows], truth: Sequence[Rows], classes: int) -> Precision:
    """COCO's figures of answers to images.

    Args:
        found: for each image left, top, right, bottom, class and score of every answer.
        truth: for each image left, top, right, bottom, class and whether it is a crowd, of every thing.
        classes: how many there are.

    Raises:
        UserError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError:
        raise UserError("average precision needs faster-coco-eval: pip install 'eyas[detect]'") from None
    known = COCO(_dataset(truth, classes))
    answers = _answers(found)
    if not known.anns or not answers:
        return _nothing(truth, classes)
    judged = COCOeval_faster(known, known.loadRes(answers), "bbox")
    judged.params.areaRng, judged.params.areaRngLbl = [[0, 1e10]], ["all"]  # shares of a picture have no sizes
    judged.evaluate()
    judged.accumulate()
    return _summed(judged.eval["precision"][:, :, :, 0, -1])


def box_interval(
    found: Sequence[Rows], truth: Sequence[Rows], classes: int, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """The 95 % interval of the mean average precision: images are drawn again with their answers (Efron 1979)."""
    drawn = box_draws(found, truth, classes, seed, resamples)[1:]
    there = np.isfinite(drawn)
    means = np.where(there, drawn, 0).sum(1) / np.maximum(there.sum(1), 1)  # 0 where nothing is
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def box_draws(
    found: Sequence[Rows], truth: Sequence[Rows], classes: int, seed: int = 0, resamples: int = 1000
) -> Float64[np.ndarray, "r k"]:
    """Average precision of each class: of the images as they are, then of each resample of them; nan where there is none."""
    tables = [_table(found, truth, number) for number in range(classes)]
    rng = np.random.default_rng(seed)
    drawn = np.empty((1 + resamples, classes))
    for row in range(1 + resamples):
        weights = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth))) if row else np.ones(len(truth))
        drawn[row] = [table.curve(weights.astype(np.float64)).mean() for table in tables]
    return drawn


def best_score(found: Sequence[Rows], truth: Sequence[Rows], classes: int) -> float | None:
    """The score from which on answers are best believed: of the largest F1 at an overlap of 0.5; None where none is right."""
    tables = [_table(found, truth, number) for number in range(classes)]
    things = sum(table.things.sum() for table in tables)
    counted = [(table.scores[~table.ignored[0]], table.right[0, ~table.ignored[0]]) for table in tables]
    scores, right = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    if not len(order) or not hits[-1]:
        return None
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + things)
    return float(scores[order][int(f1.argmax())])


@dataclass(frozen=True, slots=True)
class _Table:
    """The answers of one class to all images, the surest first: whose image, and whether right or of no matter.

    Attributes:
        image: number of the image.
        scores: of the answers.
        right: whether it found a thing that no surer answer had, at each threshold.
        ignored: whether it does not count, as it shows a crowd.
        things: in each image, without crowds.
    """

    image: np.ndarray
    scores: np.ndarray
    right: Bool[np.ndarray, "t _"]
    ignored: Bool[np.ndarray, "t _"]
    things: Float64[np.ndarray, " n"]

    def curve(self, weights: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " t"]:
        """Average precision at each threshold where image i is there `weights[i]` times; NaN where no thing is."""
        total = weights @ self.things
        if not total:
            return np.full(len(THRESHOLDS), np.nan)
        weight = weights[self.image]
        right = np.cumsum(self.right * weight, 1)
        wrong = np.cumsum((~self.right & ~self.ignored) * weight, 1)
        precision = right / np.maximum(right + wrong, np.finfo(np.float64).tiny)
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        found = np.zeros((len(THRESHOLDS), len(RECALLS)))
        for row, reached in enumerate(right / total):
            places = np.searchsorted(reached, RECALLS)
            there = places < len(reached)
            found[row, there] = precision[row, places[there]]
        return found.mean(1)


def _table(found: Sequence[Rows], truth: Sequence[Rows], number: int) -> _Table:
    """The answers of class `number`, matched with things image by image."""
    images, scores, rights, ignores, things = [], [], [], [], []
    for image, (answers, there) in enumerate(zip(found, truth, strict=True)):
        own = answers[answers[:, 4] == number]
        own = own[np.argsort(-own[:, 5], kind="stable")][:MOST]
        of = there[there[:, 4] == number]
        right, ignored = _matched(own, of[np.argsort(of[:, 5], kind="stable")])
        images.append(np.full(len(own), image))
        scores.append(own[:, 5])
        rights.append(right)
        ignores.append(ignored)
        things.append(float((of[:, 5] == 0).sum()))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right, ignored = np.concatenate(rights, 1)[:, order], np.concatenate(ignores, 1)[:, order]
    return _Table(np.concatenate(images)[order], np.concatenate(scores)[order], right, ignored, np.array(things))


def _matched(answers: Rows, things: Rows) -> tuple[Bool[np.ndarray, "t _"], Bool[np.ndarray, "t _"]]:
    """Whether each answer, the surest first, is right, or of no matter, at each threshold; crowds come last in `things`.

    A thing is found once, by the surest answer that overlaps enough, which takes the thing it overlaps most; a crowd excuses
    any number of answers.
    """
    right = np.zeros((len(THRESHOLDS), len(answers)), bool)
    ignored = np.zeros_like(right)
    shared, crowd = overlaps(answers, things), things[:, 5] == 1
    for row, threshold in enumerate(THRESHOLDS):
        free = ~crowd
        for number, overlap in enumerate(shared):
            fits = overlap >= min(threshold, 1 - 1e-10)
            if (fits & free).any():
                free[_last_largest(np.where(fits & free, overlap, -1.0))] = False
                right[row, number] = True
            elif (fits & crowd).any():
                ignored[row, number] = True
    return right, ignored


def _last_largest(values: Float64[np.ndarray, " m"]) -> int:
    return len(values) - 1 - int(values[::-1].argmax())


def overlaps(answers: Rows, things: Rows) -> Float64[np.ndarray, "m n"]:
    """Intersection over union; with a crowd, over the answer's own area."""
    one, other = answers[:, None, :4].astype(np.float64), things[None, :, :4].astype(np.float64)
    common = (np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])).clip(0).prod(2)
    own, of = (one[..., 2:] - one[..., :2]).prod(2), (other[..., 2:] - other[..., :2]).prod(2)
    union = np.where(things[:, 5] == 1, own, own + of - common)
    return common / np.maximum(union, np.finfo(np.float64).tiny)


def _dataset(truth: Sequence[Rows], classes: int) -> dict[str, Any]:
    """COCO's three lists; things of image 7 are numbered on from those of image 6, from 1."""
    boxes = [(image, row) for image, rows in enumerate(truth, 1) for row in rows.astype(np.float64).tolist()]
    return {
        "images": [{"id": image, "width": 1, "height": 1} for image in range(1, len(truth) + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(classes)],
        "annotations": [
            {"id": id, "image_id": image, "category_id": int(row[4]), **_box(row), "iscrowd": int(row[5])}
            for id, (image, row) in enumerate(boxes, 1)
        ],
    }


def _answers(found: Sequence[Rows]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(row[4]), "bbox": _box(row)["bbox"], "score": row[5]}
        for image, rows in enumerate(found, 1)
        for row in rows.astype(np.float64).tolist()
    ]


def _box(row: list[float]) -> dict[str, Any]:
    width, height = row[2] - row[0], row[3] - row[1]
    return {"bbox": [row[0], row[1], width, height], "area": width * height}


def _nothing(truth: Sequence[Rows], classes: int) -> Precision:
    """Of no answers, or of images without things."""
    there = {int(number) for rows in truth for number in rows[rows[:, 5] == 0, 4]}
    return Precision(0.0, 0.0, 0.0, tuple(0.0 if number in there else None for number in range(classes)))


def _summed(precision: Float64[np.ndarray, "t r k"]) -> Precision:
    """COCO's means over what is not -1, which marks classes that are not there."""

    def mean(values: np.ndarray) -> float | None:
        return float(values[values > -1].mean()) if (values > -1).any() else None

    classes = tuple(mean(precision[..., number]) for number in range(precision.shape[2]))
    return Precision(mean(precision) or 0.0, mean(precision[0]) or 0.0, mean(precision[5]) or 0.0, classes)
