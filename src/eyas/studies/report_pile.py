"""The report's pages of the pile: for each round what the teacher said, what was taken, and what was nearly taken."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from eyas.data.store import Store
from eyas.report import charts
from eyas.report.charts import Axis, Rule
from eyas.report.items import Cell, Gallery, Item, Section, Table, Text
from eyas.studies.calibrate import TEMPERATURES
from eyas.studies.evidence import Evidence, percent
from eyas.studies.networks import RoundFound
from eyas.studies.select import scores, taken_rows
from eyas.studies.soft_labels import open_labels

EXAMPLES = 8  # pictures of each kind
CLASSES = 50  # rows of a table by class
NEARLY_ONE = 1.1  # temperature that changes little

Curve = Sequence[tuple[int | float, int | float]]


@dataclass(frozen=True)
class Pile:
    """The calibrated answers to the pile, which were taken, and how far each is from being taken or dropped."""

    ids: list[str]
    classes: tuple[str, ...]
    confidence: Float32[np.ndarray, " n"]
    top: Int64[np.ndarray, " n"]
    taken: Bool[np.ndarray, " n"]
    margin: Float64[np.ndarray, " n"]


def piles(found: Evidence) -> tuple[Section, ...]:
    """What every round kept from the pile and what it did not."""
    if not found.rounds:
        text = "No pseudo-labels were asked for (`self_training.ratio` or `rounds` 0, or another method)."
        return (Section("The pile", (Text(text),)),)
    return tuple(_kept(found, each) for each in found.rounds)


def _kept(found: Evidence, each: RoundFound) -> Section:
    answers = _answers(found, each)
    items = [
        Text(_taken(found, each)),
        _histogram(found, each),
        *_calibration(each),
        _yield(each, answers),
        *_examples(found, answers),
    ]
    title = "What was kept from the pile"
    return Section(title if len(found.rounds) == 1 else f"{title} in round {each.number}", tuple(items))


def _answers(found: Evidence, each: RoundFound) -> Pile:
    folder = found.run / f"round-{each.number}"
    labels = open_labels(folder / "labels")
    ids = labels.column("id").to_pylist()
    known = scores(labels, each.selection["temperature"])
    confidence, top = known.confidence, known.top.astype(np.int64)
    taken = np.isin(np.arange(len(ids)), taken_rows(folder / "selection"))
    # A class is cut at its least confident image that was kept: the threshold, or above it where classes are balanced.
    cuts = [
        confidence[taken & (top == index)].min(initial=1.0) if (taken & (top == index)).any() else each.selection["threshold"]
        for index in range(len(found.data.classes))
    ]
    return Pile(ids, found.data.classes, confidence, top, taken, confidence.astype(np.float64) - np.array(cuts)[top])


def _taken(found: Evidence, each: RoundFound) -> str:
    chosen, choice = each.selection, found.recipe["self_training"]
    at = chosen["temperature"]
    text = (
        f"The teacher answered all {chosen['images']:,} images of the pile, without noise. Its confidence was calibrated on "
        f"the validation split: temperature {at:.2f}, {_tempered(at)}. {limited(chosen, choice)}"
    )
    if not chosen["rows"]:
        return f"{text} None was confident enough, so no student was trained on pseudo-labels."
    balance = (
        f" Balanced to the median class, {chosen['distinct']:,} of them stay and make {chosen['rows']:,} rows, the scarce ones "
        "repeated."
    )
    fate = "" if each.helped else " The verdict then dropped the student that learnt from them."
    return f"{text}{balance if choice['balance'] else ''} Their {choice['labels']} labels went into the noised student.{fate}"


def _calibration(each: RoundFound) -> list[Item]:
    """How often the teacher was right where it was so sure, before and after the temperature."""
    found = each.selection.get("calibration")
    if not found:
        return []
    curves: dict[str, Curve] = {f"{name} the temperature": _reliable(found[name]) for name in ("before", "after")}
    errors = ", ".join(f"{percent(found[name]['gap'])} {name}" for name in ("before", "after"))
    note = f"On the validation split. Expected calibration error: {errors}. A calibrated one is as often right as sure."
    curves["as right as sure"] = [(0.0, 0.0), (1.0, 1.0)]
    return [charts.lines("Calibration of the teacher", curves, Axis("Confidence", "%"), Axis("Accuracy", "%"), note)]


def _reliable(bins: dict[str, Any]) -> list[tuple[float, float]]:
    pairs = zip(bins["confidence"], bins["accuracy"], strict=True)
    return [(sure, right) for sure, right in pairs if sure is not None]


def limited(chosen: dict[str, Any], choice: dict[str, Any]) -> str:
    """How many images were confident enough, and near enough to what is known."""
    wanted = percent(choice["accuracy"])
    if chosen["threshold"] > 1:
        return f"There is no confidence at which {wanted} of the validation images are answered rightly, so no image is taken."
    text = f"{chosen['confident']:,} images reach the threshold of {percent(chosen['threshold'])}"
    if choice["accuracy"]:
        text += f", the smallest at which {wanted} of the validation images that are as confident are answered rightly"
    if choice["outliers"]:
        share = percent(1 - choice["outliers"])
        text += f"; {chosen['far']:,} were rejected, as their energy is above that of {share} of the validation images"
    return " ".join([f"{text}.", *(f"Take care: {alarm}." for alarm in chosen.get("alarms", []))])


def _tempered(at: float) -> str:
    if at >= TEMPERATURES[-1] * 0.999:
        return "the highest that is searched, because the teacher's confidence says next to nothing"
    if at <= TEMPERATURES[0] * 1.001:
        return "the lowest that is searched, because the teacher is right there far more often than it is sure"
    if 1 / NEARLY_ONE <= at <= NEARLY_ONE:
        return "close to 1 because the teacher is about as often right as it is sure"
    return "above 1 because the teacher was too sure of itself" if at > 1 else "below 1 because the teacher was not sure enough"


def _histogram(found: Evidence, each: RoundFound) -> Item:
    chosen = each.selection
    edges = chosen["edges"]
    # The largest of k probabilities is 1/k at least, but for the last digit of a float.
    filled = [index for index in range(len(edges) - 1) if chosen["kept"][index] + chosen["dropped"][index]]
    first = min(sum(edge <= 1 / len(found.data.classes) for edge in edges) - 1, *filled)
    counts = {name: chosen[name][first:] for name in ("kept", "dropped")}
    rule = Rule(min(chosen["threshold"], 1.0), f"threshold {100 * chosen['threshold']:.0f} %")
    note = "Dropped above the threshold: a class with more images than the median class keeps its most confident ones."
    balanced = note if chosen["confident"] > chosen["distinct"] else ""
    return charts.histogram(
        "Confidence of the teacher", edges[first:], counts, Axis("Calibrated confidence", "%"), Axis("Images"), rule, balanced
    )


def _yield(each: RoundFound, answers: Pile) -> Table:
    answered = Counter(answers.top.tolist())
    taken = Counter(answers.top[answers.taken].tolist())
    rows: list[tuple[Cell, ...]] = []
    for index, (name, counts) in enumerate(list(each.selection["classes"].items())[:CLASSES]):
        rows.append((name, answered[index], counts["confident"], taken[index], counts["rows"]))
    columns = ("class by the teacher", "answered", "confident", "kept", "rows in training")
    return Table(
        "What each class gave", columns, tuple(rows), "Rows in training: kept images, repeated where the class is scarce."
    )


def _examples(found: Evidence, answers: Pile) -> list[Item]:
    kept, dropped = answers.taken, ~answers.taken
    store = found.data.pile_store
    assert store is not None
    kinds = (
        ("Kept: the surest", kept, -answers.margin),
        ("Kept: the last to be accepted", kept, answers.margin),
        ("Dropped: the nearest to acceptance", dropped, -answers.margin),
        ("Dropped: the farthest from acceptance", dropped, answers.margin),
    )
    return [_gallery(title, store, answers, mask, order) for title, mask, order in kinds if mask.any()]


def _gallery(
    title: str, store: Store, answers: Pile, mask: Bool[np.ndarray, " n"], order: Float64[np.ndarray, " n"]
) -> Gallery:
    """The first of `mask` in `order`, some of every class before more of any."""
    each = max(1, EXAMPLES // len(answers.classes))
    seen: Counter[int] = Counter()
    wanted: dict[bool, list[int]] = {True: [], False: []}
    for row in np.flatnonzero(mask)[np.argsort(order[mask], kind="stable")].tolist():
        wanted[seen[answers.top[row]] < each].append(row)
        seen[answers.top[row]] += 1
    rows = sorted([*wanted[True], *wanted[False]][:EXAMPLES], key=lambda row: order[row])
    shown = [
        (
            store[store.position(answers.ids[row])],
            f"{answers.classes[answers.top[row]]}, {percent(float(answers.confidence[row]))}",
        )
        for row in rows
    ]
    return Gallery(title, tuple(shown), "The teacher's answer, and its calibrated confidence.")
