"""`eyas report`: a run told on one page, with a model card beside it."""

from pathlib import Path
from typing import Any

from eyas import __version__
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.report.items import Item, Number, Numbers, Section, Verdict
from eyas.report.page import Report
from eyas.run import write_atomic
from eyas.studies import report_choices, report_data, report_int8, report_labels, report_pile, report_results
from eyas.studies.card import about_classes, card
from eyas.studies.evidence import Evidence, gather, percent
from eyas.studies.evidence_tasks import TaskRun, gather_task
from eyas.studies.finished import checked, recipe_of
from eyas.studies.networks import name_of
from eyas.studies.proof import Accuracy
from eyas.studies.report_plan import plan_section
from eyas.studies.report_shared import file_numbers, files, network_numbers, nothing_ships, title, versions
from eyas.studies.report_tasks import task_card, task_report


def write_report(run: Path) -> Path:
    """Write report.html, report.json and MODEL_CARD.md of a finished run; returns the page's path.

    Args:
        run: a run of eyas fit or eyas train.

    Raises:
        UserError: it is not one, or not finished.
    """
    classes = recipe_of(run).get("task", "classify") == "classify"
    page, told = _classes(gather(run)) if classes else _task(gather_task(run))
    written = page.save(run)
    write_atomic(run / "MODEL_CARD.md", told.encode())
    return written


def write_audit_report(run: Path) -> Path:
    """Write report.html and report.json of checked data; returns the page's path."""
    found = checked(run)
    pile = f" and {len(found.pile):,} unlabelled images" if found.pile is not None else ""
    text = f"{found.data.findings['images']:,} labelled images in {len(found.data.classes)} classes{pile}"
    facts = {"eyas": __version__, "recipe": found.recipe, "findings": found.data.findings}
    facts["labels_checked"] = report_labels.checked_labels(found)
    sections = (report_data.data(found), report_labels.labels(found))
    return Report(title(found), text, sections, (), facts).save(run)


def subtitle(found: Evidence) -> str:
    """What was made of what, in one line."""
    budget = found.recipe.get("budget")
    pile = f" and {len(found.pile):,} unlabelled images" if found.pile is not None else ""
    promise = f", within {budget}" if budget else ""
    return f"{found.arch} for {len(found.data.classes)} classes from {found.labels:,} labels{pile}{promise}"


def lead(found: Evidence) -> tuple[Item, ...]:
    """The verdict and the headline figures."""
    return (*nothing_ships(found), Verdict(sentence(found), found.tone), Numbers(headline(found)))


def sentence(found: Evidence) -> str:
    """The verdict: the run's own, or for a supervised run its accuracy."""
    score = Accuracy(**found.tested[found.final]["accuracy"])
    interval = f"95 % interval {100 * score.low:.1f} to {percent(score.high)}"
    return found.verdict or f"{found.arch} answers {percent(score.value)} of {score.images:,} test images rightly ({interval})."


def headline(found: Evidence) -> tuple[Number, ...]:
    """Accuracy, size, latency, labels."""
    score = found.accuracy
    what = f"Test accuracy of {found.ships}" if found.ships else f"Test accuracy of the {name_of(found.final)}"
    numbers = [
        Number(
            what, percent(score.value), f"95 % interval {100 * score.low:.1f} to {percent(score.high)}, {score.images:,} images"
        )
    ]
    numbers += file_numbers(found) if found.shown else _network_numbers(found)
    numbers.append(Number("Labels used", f"{found.labels:,}", f"{found.accuracy.images:,} more for the test alone"))
    if found.pile is not None:
        numbers.append(Number("Pile", f"{len(found.pile):,}", _pile_note(found)))
    return tuple(numbers)


def sections(found: Evidence) -> tuple[Section, ...]:
    """The evidence, results first."""
    return (
        report_results.accuracies(found),
        *((files(found),) if found.artifacts else ()),
        *report_int8.ladders(found),
        *((report_results.gains(found),) if found.rounds or found.second else ()),
        *(report_pile.piles(found) if found.pile is not None else ()),
        report_data.data(found),
        report_labels.labels(found),
        *((plan_section(found.plan),) if found.plan else ()),
        report_results.learning(found),
        report_choices.asked(found),
        versions(found),
    )


def facts(found: Evidence) -> dict[str, Any]:
    """The raw numbers, for programs."""
    return {
        "study": found.recipe["study"],
        "verdict": sentence(found),
        "tone": found.tone,
        "ships": found.ships,
        "best": found.best,
        "classes": found.data.classes,
        "budget": found.recipe.get("budget"),
        "labels": found.labels,
        "pile": len(found.pile) if found.pile is not None else 0,
        "quarantined": len(found.quarantine),
        "test": found.tested,
        "artifacts": found.artifacts,
        "proof": found.proof,
        "rounds": found.rounds,
        "selection": found.selection,
        "labels_checked": report_labels.checked_labels(found),
    }


def _classes(found: Evidence) -> tuple[Report, str]:
    page = Report(title(found), subtitle(found), sections(found), lead(found), facts(found))
    return page, card(found, about_classes(found))


def _task(found: TaskRun) -> tuple[Report, str]:
    return task_report(found), task_card(found)


def _network_numbers(found: Evidence) -> list[Number]:
    spent = cost(parse(found.arch), len(found.data.classes))
    return network_numbers(found.arch, spent.params, spent.madds)


def _pile_note(found: Evidence) -> str:
    if found.selection is None:
        return "unlabelled images"
    return f"unlabelled images; {found.selection['distinct']:,} were taken with a pseudo-label"
