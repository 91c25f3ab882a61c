"""`eyas report`: a run told on one page, with a model card beside it."""

from pathlib import Path
from typing import Any

from eyas import __version__
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.deploy.measure import machine
from eyas.report.items import Item, Number, Numbers, Section, Table, Text, Tone, Verdict
from eyas.report.page import Report
from eyas.run import read_json, write_atomic
from eyas.studies import report_choices, report_data, report_int8, report_labels, report_pile, report_results
from eyas.studies.card import card
from eyas.studies.evidence import Checked, Evidence, amount, checked, gather, percent, threads
from eyas.studies.networks import name_of
from eyas.studies.proof import Accuracy
from eyas.studies.report_plan import plan_section


def write_report(run: Path) -> Path:
    """Write report.html, report.json and MODEL_CARD.md of a finished run; returns the page's path.

    Args:
        run: a run of eyas fit or eyas train.

    Raises:
        UserError: it is not one, or not finished.
    """
    found = gather(run)
    page = Report(title(found), subtitle(found), sections(found), lead(found), facts(found)).save(run)
    write_atomic(run / "MODEL_CARD.md", card(found).encode())
    return page


def write_audit_report(run: Path) -> Path:
    """Write report.html and report.json of checked data; returns the page's path."""
    found = checked(run)
    pile = f" and {len(found.pile):,} unlabelled images" if found.pile is not None else ""
    text = f"{found.data.findings['images']:,} labelled images in {len(found.data.classes)} classes{pile}"
    facts = {"eyas": __version__, "recipe": found.recipe, "findings": found.data.findings}
    facts["labels_checked"] = report_labels.checked_labels(found)
    sections = (report_data.data(found), report_labels.labels(found))
    return Report(title(found), text, sections, (), facts).save(run)


def title(found: Checked) -> str:
    """The run's name."""
    return f"Eyas {found.recipe['study']}: {found.run.resolve().name}"


def subtitle(found: Evidence) -> str:
    """What was made of what, in one line."""
    budget = found.recipe.get("budget")
    pile = f" and {len(found.pile):,} unlabelled images" if found.pile is not None else ""
    promise = f", within {budget}" if budget else ""
    return f"{found.arch} for {len(found.data.classes)} classes from {found.labels:,} labels{pile}{promise}"


def lead(found: Evidence) -> tuple[Item, ...]:
    """The verdict and the headline figures."""
    return (*_nothing_ships(found), Verdict(sentence(found), found.tone), Numbers(headline(found)))


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
    numbers += _file_numbers(found) if found.shown else _network_numbers(found)
    numbers.append(Number("Labels used", f"{found.labels:,}", f"{found.accuracy.images:,} more for the test alone"))
    if found.pile is not None:
        numbers.append(Number("Pile", f"{len(found.pile):,}", _pile_note(found)))
    return tuple(numbers)


def sections(found: Evidence) -> tuple[Section, ...]:
    """The evidence, results first."""
    return (
        report_results.accuracies(found),
        *((report_results.files(found),) if found.artifacts else ()),
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


def versions(found: Evidence) -> Section:
    """Machine and versions."""
    place = found.run / "artifacts" / (found.shown or "") / "latency.json"
    measured = read_json(place)["machine"] if found.shown else machine()
    rows = [
        ("eyas, which wrote this report", __version__),
        *((name.replace("_gb", " (GB)"), None if value is None else str(value)) for name, value in measured.items()),
    ]
    whose = "The exported files were measured on this machine." if found.shown else "This report was written on this machine."
    return Section("Machine and versions", (Text(whose), Table("Machine and versions", ("", "value"), tuple(rows))))


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


def _nothing_ships(found: Evidence) -> tuple[Item, ...]:
    if found.ships or not found.artifacts:
        return ()
    reasons = "; ".join(f"{target}: {', '.join(file['reasons'])}" for target, file in found.artifacts.items())
    return (Verdict(f"Nothing ships: no exported file keeps what was promised ({reasons}).", "bad"),)


def _file_numbers(found: Evidence) -> list[Number]:
    assert found.shown is not None
    file, budget = found.artifacts[found.shown], found.budgets[found.shown]
    latency = file["latency"]
    return [
        Number(
            "Model file",
            amount("size", file["bytes"]),
            _limit("size", budget.size, found.shown),
            _kept(file["bytes"], budget.size),
        ),
        Number(
            "Latency of one image",
            amount("latency", latency["median_ms"]),
            _limit("latency", budget.latency, f"median, {threads(latency['threads'])}, {latency['processor']}"),
            _kept(latency["median_ms"], budget.latency),
        ),
    ]


def _network_numbers(found: Evidence) -> list[Number]:
    spent = cost(parse(found.arch), len(found.data.classes))
    return [
        Number("Parameters", amount("params", spent.params), found.arch),
        Number("MAdds of one image", amount("madds", spent.madds), "a multiply-add is two FLOPs"),
    ]


def _limit(what: str, limit: float | None, note: str) -> str:
    return note if limit is None else f"limit {amount(what, limit)}; {note}"


def _kept(value: float, limit: float | None) -> Tone:
    if limit is None:
        return "neutral"
    return "good" if value <= limit else "bad"


def _pile_note(found: Evidence) -> str:
    if found.selection is None:
        return "unlabelled images"
    return f"unlabelled images; {found.selection['distinct']:,} were taken with a pseudo-label"
