"""The report's pictures and counts: the data as it was found."""

from typing import TypeVar

import numpy as np

from eyas.report.items import Cell, Gallery, Item, Section, Table, Text
from eyas.studies.finished import Checked
from eyas.studies.report_copies import near_copies, odd

T = TypeVar("T")

SAMPLES = 32  # pictures of the training split
LISTED = 20  # rows of a list of files
CLASSES = 50  # rows of a table by class

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
    """Counts, samples, and what the audit refused, of images in classes."""
    ratio = found.data.findings["imbalance"]
    balance = "equally many a class" if ratio == 1 else f"the largest class {ratio:.3g} times the smallest"
    summary = summed(found, f"in {len(found.data.classes)} classes", f"; in training {balance}")
    return section(found, (Text(summary), _samples(found), _splits(found)))


def section(found: Checked, counted: tuple[Item, ...]) -> Section:
    """What is `counted` of the labels, which is of their task, and what the audit refused, which is of the pictures."""
    items = list(counted)
    if found.uses_pile and found.data.findings["pile"]:
        items.append(_firewall(found))
    items += [Text(_duplicates(found)), *near_copies(found), *odd(found)]
    if found.quarantine:
        items.append(_quarantine(found))
    return Section("The data", tuple(items))


def summed(found: Checked, labelled: str, more: str = "") -> str:
    """How many images there are, how they are `labelled`, how large they are, and what cannot be read."""
    audit = found.data.findings
    (low, _, high), (thin, _, wide) = audit["sizes"]["height"], audit["sizes"]["width"]
    sizes = (
        f"{thin} x {low} pixels" if (thin, low) == (wide, high) else f"{thin} to {wide} pixels wide and {low} to {high} high"
    )
    some = audit["sizes"]["grey"]
    grey = ", all grey" if some == audit["images"] else f", {some:,} of them grey" if some else ""
    sentences = [f"{audit['images']:,} labelled images {labelled}, {sizes}{grey}{more}."]
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
    shown = [(name, id) for name, ids in list(places.items())[:SAMPLES] for id in spread(ids, each)]
    store = found.data.store
    note = "From the training split, at the size that they are prepared at."
    return Gallery("Labelled images", tuple((store[store.position(id)], name) for name, id in shown), note)


def spread(items: list[T], count: int) -> list[T]:
    """At most `count` of them, evenly from all."""
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, min(count, len(items)))]


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
