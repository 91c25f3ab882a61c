"""The report's page of labels that look wrong, with the images shown."""

from typing import Any

from eyas.data.labels import EXTRA
from eyas.report.items import Gallery, Item, Section, Table, Text
from eyas.run import INPUTS, MARK, Run, read_json
from eyas.studies.evidence import Evidence, percent
from eyas.studies.finished import Checked
from eyas.studies.suspects import LIST, STAGE, Suspect, read_suspects

SHOWN = 32  # pictures, the most suspicious first
LISTED = 20  # rows of the table by classes

WHAT_NOW = (
    "Look at each: the model may be wrong too, and a picture may show both or neither. Where you find a label wrong, correct "
    "it in your own data (nothing of it was changed here) and give the command again: models learn from these labels and are "
    "measured against them."
)


def labels(found: Checked) -> Section:
    """What was found, how, and the pictures."""
    facts = checked_labels(found)
    if facts is None:
        return Section("Labels that look wrong", (Text(_why_not(found)),))
    suspects = read_suspects(found.run / STAGE)
    items: list[Item] = [Text(_how(facts))]
    if suspects:
        items += [_pictures(found, suspects), *_by_class(suspects), Text(WHAT_NOW)]
    return Section("Labels that look wrong", tuple(items))


def checked_labels(found: Checked) -> dict[str, Any] | None:
    """What the check of the labels found; `None` where there was none, or only of earlier data or an earlier model."""
    folder = found.run / STAGE
    if not (folder / MARK).exists():
        return None
    asked = read_json(folder / INPUTS)["inputs"]
    model = _asked_model(found)
    if asked["data"] != Run(found.run).done("data").digest or (model and asked.get("model") != model):
        return None
    return Run(found.run).done(STAGE).result


def _asked_model(found: Checked) -> str | None:
    if not isinstance(found, Evidence):
        return None
    return found.stages["teacher" if "teacher" in found.stages else "model"].digest


def _why_not(found: Checked) -> str:
    if isinstance(found, Evidence):
        return f"The labels were not checked: that needs cleanlab, {EXTRA}; then give the run's command again."
    return f"`eyas audit --folds 5` finds them, by training a model for each fifth of the images ({EXTRA})."


def _how(facts: dict[str, Any]) -> str:
    how = (
        f"{facts['arch']} was trained {facts['folds']} times, each time without a part of the images, and answered that part"
        if facts["folds"]
        else f"{facts['arch']} answered the validation and test images, which it was not trained on"
    )
    rare = "Images without an answer, as their class is too rare to be learned without them"
    left = f" {rare}: {facts['unanswered']:,}." if facts["unanswered"] else ""
    agrees = (
        f" Its answer is the label for {percent(facts['agree'])} of {facts['answered']:,} images." if facts["answered"] else ""
    )
    if not facts["suspects"]:
        return f"{how}.{agrees}{left} No label looks wrong."
    more = "" if facts["folds"] else " `eyas audit --folds 5` checks the training images too."
    return (
        f"{how}.{agrees}{left} By confident learning (Northcutt et al. 2021), {facts['suspects']:,} labels look wrong; "
        f"`{STAGE}/{LIST}` lists them all.{more}"
    )


def _pictures(found: Checked, suspects: list[Suspect]) -> Gallery:
    store = found.data.store
    shown = []
    for suspect in suspects[:SHOWN]:
        given = f"labelled {suspect.label} ({percent(suspect.of_label)})"
        caption = f"{given}, looks like {suspect.suggested} ({percent(suspect.of_suggested)}): {suspect.id}"
        shown.append((store[store.position(suspect.id)], caption))
    title = "The most suspicious labels" if len(suspects) > SHOWN else "Labels in doubt"
    return Gallery(title, tuple(shown), "In brackets the model's probability; those that it believes in least come first.")


def _by_class(suspects: list[Suspect]) -> list[Table]:
    """How often which class looks like which, where there is more than one kind."""
    counts: dict[tuple[str, str], int] = {}
    for suspect in suspects:
        kind = (suspect.label, suspect.suggested)
        counts[kind] = counts.get(kind, 0) + 1
    if len(counts) < 2:
        return []
    rows = sorted(((*kind, count) for kind, count in counts.items()), key=lambda row: (-row[2], row[:2]))
    return [Table("Labels in doubt by class", ("labelled", "looks like", "images"), tuple(rows[:LISTED]))]
