"""The report's pictures and counts: the data as it was found, and what was taken from the pile."""

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
from eyas.studies.evidence import Checked, Evidence, RoundFound, percent
from eyas.studies.report_copies import near_copies, odd
from eyas.studies.select import scores, taken_rows
from eyas.studies.soft_labels import open_labels

SAMPLES = 32  # pictures of the training split
EXAMPLES = 8  # pictures of each kind from the pile
LISTED = 20  # rows of a list of files
CLASSES = 50  # rows of a table by class
NEARLY_ONE = 1.1  # temperature that changes little

Curve = Sequence[tuple[int | float, int | float]]

REASONS = {
    "unreadable": "cannot be read (quarantined)",
    "equal_to_train": "equal to a training image",
    "equal_to_validation": "equal to a validation image",
    "equal_to_test": "equal to a test image",
    "equal_to_pile": "copy of another image of the pile",
    "near_validation": "near copy of a validation image",
    "near_test": "near copy of a test image",
    "group_in_validation": "of a group that validation holds",
    "group_in_test": "of a group that the test split holds",
    "images": "kept",
}


def data(found: Checked) -> Section:
    """Counts, samples, and what the audit refused."""
    items: list[Item] = [Text(_summary(found)), _samples(found), _splits(found)]
    if found.recipe["study"] != "train" and found.data.findings["pile"]:
        items.append(_firewall(found))
    items += [Text(_duplicates(found)), *near_copies(found), *odd(found)]
    if found.quarantine:
        items.append(_quarantine(found))
    return Section("The data", tuple(items))


def _summary(found: Checked) -> str:
    audit = found.data.findings
    (low, _, high), (thin, _, wide) = audit["sizes"]["height"], audit["sizes"]["width"]
    sizes = (
        f"{thin} x {low} pixels" if (thin, low) == (wide, high) else f"{thin} to {wide} pixels wide and {low} to {high} high"
    )
    some = audit["sizes"]["grey"]
    grey = ", all grey" if some == audit["images"] else f", {some:,} of them grey" if some else ""
    ratio = audit["imbalance"]
    balance = "equally many a class" if ratio == 1 else f"the largest class {ratio:.3g} times the smallest"
    sentences = [
        f"{audit['images']:,} labelled images in {len(found.data.classes)} classes, {sizes}{grey}; in training {balance}.",
    ]
    if found.pile is not None:
        put_away = "; labels of those that came from the labelled data were put away" if found.recipe["labels"] else ""
        sentences.append(f"The pile holds {len(found.pile):,} images without labels{put_away}.")
    refused = len(found.quarantine)
    sentences.append(f"Files that cannot be read: {refused:,}, listed below." if refused else "Every file can be read.")
    return " ".join(sentences)


def _samples(found: Checked) -> Gallery:
    rows = found.data.manifest.where(split="train")
    places: dict[str, list[str]] = {name: [] for name in found.data.classes}
    for id, label in zip(rows.column("id"), rows.column("label"), strict=True):
        places[label].append(id)
    each = next(count for count in (8, 4, 2, 1) if count * len(places) <= SAMPLES or count == 1)  # rows of a page hold 8
    shown = [(name, id) for name, ids in list(places.items())[:SAMPLES] for id in _spread(ids, each)]
    store = found.data.store
    note = "From the training split, at the size that they are prepared at."
    return Gallery("Labelled images", tuple((store[store.position(id)], name) for name, id in shown), note)


def _spread(ids: list[str], count: int) -> list[str]:
    return [ids[round(index)] for index in np.linspace(0, len(ids) - 1, min(count, len(ids)))]


def _splits(found: Checked) -> Table:
    audit = found.data.findings
    splits = tuple(audit["splits"])
    rows: list[tuple[Cell, ...]] = [
        (name, *(counts[split] for split in splits), sum(counts.values()))
        for name, counts in list(audit["classes"].items())[:CLASSES]
    ]
    rows.append(("all classes", *(audit["splits"][split] for split in splits), sum(audit["splits"].values())))
    return Table("Labelled images by class and split", ("class", *splits, "all"), tuple(rows))


def _firewall(found: Checked) -> Table:
    pile = found.data.findings["pile"]
    rows = [
        ("in the pile as given", pile["read"]),
        *((text, pile[name]) for name, text in REASONS.items() if pile[name] or name == "images"),
    ]
    note = "No picture, no near copy and no group is both in the pile and in a held-out split."
    if pile["near_train"]:
        note += f" Of the images kept, {pile['near_train']:,} are near copies of a training image, which does no harm."
    return Table("The pile, checked against the splits", ("images", "count"), tuple(rows), note)


def _duplicates(found: Checked) -> str:
    copies = found.data.findings["duplicates"]
    if not copies["copies"] and not copies["conflicts"]:
        return "No two labelled images are equal, pixel by pixel."
    lines = [
        f"{copies['dropped']:,} labelled copies of the same picture were dropped, {copies['of_which_across_splits']:,} of them "
        f"because a held-out split has the picture; {copies['kept_in_held_out']:,} copies within a held-out split were kept.",
        "",
    ]
    lines += [f"- equal: {', '.join(f'`{id}`' for id in ids)}" for ids in copies["copies"][:LISTED]]
    if copies["conflicts"]:
        lines += ["", f"{copies['conflicting_labels']:,} images were dropped because equal pictures have different labels.", ""]
        lines += ["- " + ", ".join(f"`{row['id']}` is {row['label']}" for row in rows) for rows in copies["conflicts"][:LISTED]]
    return "\n".join(lines)


def _quarantine(found: Checked) -> Table:
    left = len(found.quarantine) - LISTED
    note = (
        f"{left:,} more are in data/quarantine.csv."
        if left > 0
        else "Your files were not changed; the list is data/quarantine.csv too."
    )
    return Table(
        "Files that cannot be read",
        ("file", "reason"),
        tuple((id, reason) for id, _, reason in found.quarantine[:LISTED]),
        note,
    )


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
