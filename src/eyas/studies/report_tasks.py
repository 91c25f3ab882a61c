"""The page of a run of attributes, embeddings or boxes: the same for all three, each in the words of its task."""

from typing import Any

from eyas.arch.parse import parse
from eyas.recipe import Training, from_dict
from eyas.report import charts
from eyas.report.items import Cell, Item, Number, Numbers, Section, Table, Text, Verdict
from eyas.report.page import Report
from eyas.studies import report_choices, report_data, report_int8
from eyas.studies.card import card
from eyas.studies.evidence import percent
from eyas.studies.evidence_tasks import TaskRun
from eyas.studies.finished import inputs_of
from eyas.studies.report_attributes import AttributeWords
from eyas.studies.report_augment import gallery
from eyas.studies.report_data import CLASSES
from eyas.studies.report_detect import DetectWords
from eyas.studies.report_embed import EmbedWords
from eyas.studies.report_results import curves
from eyas.studies.report_shared import (
    file_numbers,
    files,
    honesty,
    measure_of,
    network_numbers,
    nothing_ships,
    outcome,
    title,
    versions,
)
from eyas.studies.report_words import Words, points, shorter

NETWORKS = {"teacher": "first detector", "model": "trained network"}


def words_of(found: TaskRun) -> Words:
    """The run in the words of its task."""
    match found.task:
        case "attributes":
            return AttributeWords(found)
        case "embed":
            return EmbedWords(found)
        case _:
            return DetectWords(found)


def task_report(found: TaskRun) -> Report:
    """The page."""
    words = words_of(found)
    pile = f" and {len(found.pile):,} unlabelled images" if found.pile is not None else ""
    subtitle = f"{found.arch} for {words.subject()} from {found.labels:,} labelled images{pile}"
    lead = (*nothing_ships(found), Verdict(words.sentence()), Numbers(_headline(found, words)))
    sections = (
        _results(found, words),
        *((files(found, _changes(found)),) if found.artifacts else ()),
        *report_int8.ladders(found),
        *words.pile(),
        report_data.section(found, words.data()),
        _learning(found, words),
        report_choices.asked(found),
        versions(found),
    )
    return Report(title(found), subtitle, sections, lead, facts(found, words))


def task_card(found: TaskRun) -> str:
    """The model card."""
    return card(found, words_of(found).about())


def facts(found: TaskRun, words: Words) -> dict[str, Any]:
    """The raw numbers, for programs."""
    params, madds = found.spent
    return {
        "study": found.recipe["study"],
        "task": found.task,
        "verdict": words.sentence(),
        "ships": found.ships,
        "outputs": found.outputs,
        "params": params,
        "madds": madds,
        "labels": found.labels,
        "pile": len(found.pile) if found.pile is not None else 0,
        "pseudo": found.pseudo.result if found.pseudo else None,
        "quarantined": len(found.quarantine),
        "networks": {name: done.result for name, done in found.stages.items()},
        "test": found.tested,
        "artifacts": found.artifacts,
    }


def _whose(found: TaskRun) -> str:
    return found.ships or f"the {NETWORKS['model']}"


def _headline(found: TaskRun, words: Words) -> tuple[Number, ...]:
    """The task's figures, then what the file or the network costs, then what it took."""
    params, madds = found.spent
    tested = found.data.findings["splits"]["test"]
    numbers = [
        *words.numbers(_whose(found)),
        *(file_numbers(found) if found.shown else network_numbers(found.arch, params, madds)),
        Number("Labelled images used", f"{found.labels:,}", f"{tested:,} more for the test alone"),
    ]
    if found.pile is not None:
        given = f"; {found.pseudo.result['boxes']:,} boxes were found in them" if found.pseudo else ""
        numbers.append(Number("Pile", f"{len(found.pile):,}", f"unlabelled images{given}"))
    return tuple(numbers)


def _results(found: TaskRun, words: Words) -> Section:
    """The figures on the test split, of the network and of every exported file."""
    items: list[Item] = [Text(honesty(found, "figures"))]
    if found.artifacts:
        items.append(_compared(found, words))
    return Section(words.heading, (*items, *words.results(_whose(found))))


def _compared(found: TaskRun, words: Words) -> Item:
    """The network beside the files made of it."""
    tests = {NETWORKS["model"]: (found.tested, "network")}
    tests |= {f"{name} ({outcome(found, name)})": (file["test"], "exported file") for name, file in found.artifacts.items()}
    scores = {name: (words.score(test), kind) for name, (test, kind) in tests.items()}
    dots = [(name, score["value"], score["low"], score["high"], kind) for name, (score, kind) in scores.items()]
    return charts.intervals(f"{words.tested.title} on the test split", dots, words.tested, "Lines are 95 % intervals.")


def _changes(found: TaskRun) -> tuple[Item, ...]:
    """What became of the measure on the validation images: of every file, and of each class or attribute in the one shown."""
    assert found.shown is not None
    every: list[tuple[Cell, ...]] = [_change(name, file["change"]) for name, file in found.artifacts.items()]
    columns = ("", "network", "file", "change in points (95 % interval)")
    note = "Of the same images; a point is a hundredth. An interval that holds 0 may be chance."
    tables = [Table(f"Change of the {measure_of(found)} on the validation images", ("file", *columns[1:]), tuple(every), note)]
    if classes := found.artifacts[found.shown]["classes"]:
        rows, more = shorter([_change(name, change) for name, change in classes.items()], CLASSES, "rows")
        tables.append(Table(f"The same part by part: {found.shown}", columns, rows, more.strip()))
    return tuple(tables)


def _change(name: str, change: dict[str, Any]) -> tuple[Cell, ...]:
    return (name, percent(change["before"]), percent(change["after"]), points(change))


def _learning(found: TaskRun, words: Words) -> Section:
    """Learning curves, what each network learned from, and the pictures as it saw them."""
    lessons = words.learned_from()
    rows = tuple(_lesson(found, name, lessons[name]) for name in found.stages)
    columns = ("network", "learns from", "images a step", "steps", "best step", f"validation {words.measure.lower()}")
    lesson = words.lesson()
    items: list[Item] = [
        *([Text(lesson)] if lesson else []),
        *curves({NETWORKS[name]: log for name, log in found.logs.items()}, words.measure, words.figure),
        Table("How the networks were trained", columns, rows),
    ]
    examples, shown = words.pictured()
    training, seed = from_dict(Training, found.recipe["training"]), found.recipe["seed"]
    flips, side = found.data.mirrors(training.augment.flips), parse(found.arch).resolution
    items.append(gallery(examples, shown, training.augment, flips, side, seed, view=training.test_crop))
    return Section("How the networks learnt", tuple(items))


def _lesson(found: TaskRun, name: str, source: str) -> tuple[Cell, ...]:
    done = found.stages[name]
    images = inputs_of(done.folder)["training"]["batch"]
    return (NETWORKS[name], source, images, done.result["steps"], done.result["best_step"], percent(done.result["validation"]))
