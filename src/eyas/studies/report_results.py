"""The report's results: every model on the test split, what the pile gave, and how the networks learnt."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eyas.arch.parse import parse
from eyas.recipe import SelfTraining, Training, from_dict
from eyas.report import charts
from eyas.report.charts import Axis
from eyas.report.items import Cell, Gallery, Item, Section, Table, Text
from eyas.studies.evidence import Evidence, percent
from eyas.studies.networks import name_of
from eyas.studies.noisy_student import named
from eyas.studies.proof import CONFIDENCE, Accuracy, accuracy
from eyas.studies.report_augment import gallery, of_classes
from eyas.studies.report_shared import honesty, outcome

PIECES = 40  # points of a loss curve: each is the mean of the steps between
CLASSES = 50  # rows of the table by class
# Of the loss, by task: labels and pseudo-labels, what a teacher answers, attributes, identities, and those of detectors.
TERMS = (
    *("labelled", "pseudo", "distilled", "attributes", "triplet"),
    *("classes", "places", "proposals", "proposed_places"),
)

CONTROL = (
    "The control is what the student must beat: the same network, noise, number of steps and images a step, from the labels "
    "alone. So longer training cannot pass for a gain from the pile. The first teacher learns so too: where its student is the "
    "same network, the control is the teacher itself, and was not trained again."
)

FIXMATCH = (
    "A second opinion: FixMatch learns from labels and pile at once, without a teacher; where it is sure of a weakly noised "
    "image, it learns to answer the strongly noised one alike."
)

Curve = Sequence[tuple[int | float, int | float]]


def accuracies(found: Evidence) -> Section:
    """Every model on the test split, what was taken and why, and what ships class by class."""
    scores = [(name_of(name), each["arch"], "network", each["accuracy"]) for name, each in found.tested.items()]
    for target, file in found.artifacts.items():
        scores.append((f"{target} ({outcome(found, target)})", file["arch"], "exported file", file["test"]["accuracy"]))
    rows = tuple((name, arch, str(Accuracy(**score))) for name, arch, _, score in scores)
    dots = [(name, score["value"], score["low"], score["high"], kind) for name, _, kind, score in scores]
    what = f"{found.ships}, which ships" if found.ships else name_of(found.final)
    items = (
        Text(f"{honesty(found)}\n\n{chosen(found)}"),
        charts.intervals("Accuracy on the test split", dots, Axis("Accuracy", "%"), "Lines are 95 % intervals."),
        charts.confusion(f"Confusion on the test split: {what}", found.scored["confusion"], found.data.classes),
        Table("Accuracy on the test split", ("model", "network", "accuracy (95 % interval)"), rows, _reading(found)),
        _by_class(found, what),
    )
    return Section("Accuracy", items)


def learning(found: Evidence) -> Section:
    """Learning curves, and how long each network was trained."""
    names = [name for name in found.logs if not (name == "fitted" and found.copied)]
    columns = ("network", "learns from", "images a step", "steps", "best step", "validation accuracy")
    items: list[Item] = [
        *curves({name_of(name): found.logs[name] for name in names}),
        Table("How the networks were trained", columns, tuple(_lesson(found, name) for name in names)),
    ]
    if found.proof:
        items.append(Text(CONTROL))
    return Section("How the networks learnt", (*items, _augmented(found)))


def gains(found: Evidence) -> Section:
    """What each round of self-training gave: against its control, which decides, and against its teacher, which goes on."""
    columns = ("round", "student", "images taken", "confident", "less its control", "less its teacher")
    rows: list[tuple[Cell, ...]] = []
    for each in found.rounds:
        student = found.tested[named("student", each.number)]["arch"] if each.verdict else None
        taken, all_of_them = each.selection["distinct"], each.selection["images"]
        gains = (_points(each.verdict), _points(each.verdict["teacher"])) if each.verdict else (None, None)
        rows.append((each.number, student, taken, percent(each.selection["confident"] / all_of_them), *gains))
    asked = len(from_dict(SelfTraining, found.recipe["self_training"]).plan())
    ended = f" {asked} were asked for; they end when a student is not ahead of its teacher." if asked > len(rows) else ""
    note = f"Points of the student on the validation split, with 95 % bootstrap intervals.{ended}"
    items: list[Item] = [Table("Rounds of self-training", columns, tuple(rows), note)] if rows else []
    if found.second:
        items.append(Text(f"{FIXMATCH} It is {_points(found.second)} points ahead of its control on the validation split."))
    if found.seeds:
        items.append(_over_seeds(found))
    return Section("What the pile gave", tuple(items))


def _over_seeds(found: Evidence) -> Table:
    """The mean accuracy of every network that all seeds trained."""
    rows: list[tuple[Cell, ...]] = []
    for name, tested in found.seeds["test"].items():
        both = (found.seeds["validation"][name], tested)
        means = [str(Accuracy(**{key: value for key, value in each.items() if key != "each"})) for each in both]
        rows.append((name_of(name), *means, ", ".join(percent(value) for value in tested["each"])))
    columns = ("network", "validation (95 % interval)", "test (95 % interval)", "test, each seed")
    note = "Means over seeds; intervals by a bootstrap over trainings and images."
    return Table(f"Over {found.recipe['seeds']} seeds", columns, tuple(rows), note)


def _points(gain: dict[str, Any]) -> str:
    return f"{gain['difference']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})"


def _augmented(found: Evidence) -> Gallery:
    """Training images as the first network of the run saw them."""
    training = from_dict(Training, found.recipe["training"])
    choice = training.augment
    first = parse(found.tested["teacher" if "teacher" in found.tested else "model"]["arch"])
    examples, flips = found.data.examples("train"), found.data.mirrors(choice.flips)
    side, seed = first.resolution, found.recipe["seed"]
    return gallery(examples, of_classes(found.data.classes), choice, flips, side, seed, view=training.test_crop)


def chosen(found: Evidence) -> str:
    """Which network the final one was made from, and why."""
    if found.best is None:
        return f"{found.arch} was trained on the labels alone."
    if found.copied:
        return f"{_why(found, found.best)} It fits the budget as it is: the fitted student is that network, unchanged."
    return f"{_why(found, found.best)} From it the fitted student, {found.arch}, learnt to answer as it does."


def _why(found: Evidence, best: str) -> str:
    if found.proof is None:
        return "The teacher was taken as the best network: there was no other."
    ahead = f"ahead of the control in {percent(found.proof['share_better'])} of the resamples of the validation images"
    asked = f"{100 * CONFIDENCE:.0f} % are asked for"
    if best.startswith("student") or best == "fixmatch":
        return f"The {name_of(best)} was taken as the best network: it is {ahead}, and {asked}."
    learner = "noised student" if found.rounds else name_of("fixmatch")
    supervised = [name for name in found.stages if name == "teacher" or "control" in name]
    scores = " and ".join(f"{name_of(name)} ({percent(found.stages[name].result['validation'])})" for name in supervised)
    return (
        f"The {name_of(best)} was taken as the best network. The {learner} is {ahead}, where {asked}, so it was dropped; "
        f"of {scores}, on validation, the better was kept, the teacher where they are equal."
    )


def _reading(found: Evidence) -> str:
    """How to read the accuracies; what they must beat."""
    images = [sum(row) for row in found.scored["confusion"]]
    most = found.data.classes[images.index(max(images))]
    return (
        f"{sum(images):,} test images; intervals after Wilson. Where two intervals overlap, the difference may be chance. "
        f"Always answering {most}, the most frequent class, would be right on {percent(max(images) / sum(images))}."
    )


def _by_class(found: Evidence, what: str) -> Table:
    matrix = np.array(found.scored["confusion"])
    rows: list[tuple[Cell, ...]] = []
    for index, name in enumerate(found.data.classes[:CLASSES]):
        right, images, answered = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        recall = str(accuracy(np.arange(images) < right)) if images else None
        rows.append((name, images, recall, percent(right / answered) if answered else None))
    note = "Recall: share of the class that was found. Precision: share of the answers that were right."
    if len(found.data.classes) > CLASSES:
        note += f" The first {CLASSES} of {len(found.data.classes)} classes."
    return Table(f"By class: {what}", ("class", "test images", "recall (95 % interval)", "precision"), tuple(rows), note)


def curves(logs: dict[str, list[dict[str, Any]]], measure: str = "Accuracy", figure: str = "accuracy") -> list[Item]:
    """How the networks' `measure`, which the logs call `figure`, and their loss went on."""
    judged: dict[str, Curve] = {}
    losses: dict[str, Curve] = {}
    for name, lines in logs.items():
        judged[name] = [(line["step"], line["validation"][figure]) for line in lines if "validation" in line]
        losses[name] = _means([(line["step"], _loss(line)) for line in lines])
    step = Axis("Optimizer step")
    kept = "Of the averaged weights; the best of each network are kept, the later of equals."
    means = "Means over the steps between two points. Networks that learn from other targets have other losses."
    return [
        charts.lines(f"{measure} on the validation split", judged, step, Axis(measure, "%"), kept),
        charts.lines("Training loss", losses, step, Axis("Loss"), means),
    ]


def _loss(line: dict[str, float]) -> float:
    return sum(line[name] for name in TERMS if name in line)


def _means(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most `PIECES` points, each the mean of its neighbourhood."""
    pieces = np.array_split(np.array(points, dtype=float), min(PIECES, len(points)))
    return [(float(piece[:, 0].mean()), float(piece[:, 1].mean())) for piece in pieces]


def _lesson(found: Evidence, name: str) -> tuple[Cell, ...]:
    done, recipe = found.stages[name].result, found.recipe
    batch = recipe["distillation" if name == "fitted" else "training"]["batch"]
    who, _, number = name.partition("-")
    match who:
        case "teacher":
            plan = from_dict(SelfTraining, recipe["self_training"]).plan()
            source, images = "the labels alone", batch * (1 + (plan[0].ratio if plan and found.pile is not None else 0))
        case "control" | "student":
            ratio = from_dict(SelfTraining, recipe["self_training"]).plan()[int(number or 1) - 1].ratio
            source = "the labels alone" if who == "control" else "labels and pseudo-labels"
            images = batch * (1 + ratio)
        case "fitted":
            pile = found.pile is not None
            source = f"answers of the {name_of(found.best or 'teacher')} to labelled {'and unlabelled ' * pile}images"
            images = batch * (1 + pile)
        case _:
            source, images = "the labels", batch
    return (name_of(name), source, images, done["steps"], done["best_step"], percent(done["validation"]))
