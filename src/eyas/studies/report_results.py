"""The report's results: every model on the test split, the files that may ship, and how the networks learnt."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eyas.arch.parse import parse
from eyas.deploy.parity import CONTRACTS
from eyas.recipe import SelfTraining, Training, from_dict
from eyas.report import charts
from eyas.report.charts import Axis
from eyas.report.items import Cell, Gallery, Item, Section, Table, Text
from eyas.studies.evidence import Evidence, amount, percent, threads
from eyas.studies.networks import name_of
from eyas.studies.noisy_student import CONFIDENCE, named
from eyas.studies.proof import Accuracy, accuracy
from eyas.studies.report_augment import gallery

PIECES = 40  # points of a loss curve: each is the mean of the steps between
CLASSES = 50  # rows of the table by class

CONTROL = (
    "The control is what the student must beat: the same network, noise, number of steps and images a step, from the labels "
    "alone. So longer training cannot pass for a gain from the pile."
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
        Text(f"{_honesty(found)}\n\n{chosen(found)}"),
        charts.intervals("Accuracy on the test split", dots, Axis("Accuracy", "%"), "Lines are 95 % intervals."),
        charts.confusion(f"Confusion on the test split: {what}", found.scored["confusion"], found.data.classes),
        Table("Accuracy on the test split", ("model", "network", "accuracy (95 % interval)"), rows, _reading(found)),
        _by_class(found, what),
    )
    return Section("Accuracy", items)


def files(found: Evidence) -> Section:
    """Every exported file against the budget, and against the network that it was made from."""
    reasons = [f"- {target}: {reason}" for target, file in found.artifacts.items() for reason in file["reasons"]]
    refused = (Text("What was rejected, and why:\n\n" + "\n".join(reasons)),) if reasons else ()
    return Section("What ships", (Text(_shipping(found)), _budget_table(found), _parity_table(found), *refused))


def learning(found: Evidence) -> Section:
    """Learning curves, and how long each network was trained."""
    names = [name for name in found.logs if not (name == "fitted" and found.copied)]
    columns = ("network", "learns from", "images a step", "steps", "best step", "validation accuracy")
    items: list[Item] = [
        *_curves({name_of(name): found.logs[name] for name in names}),
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
    return gallery(examples, found.data.classes, choice, flips, side, seed, view=training.test_crop)


def outcome(found: Evidence, target: str) -> str:
    """What became of an exported file."""
    if found.artifacts[target]["reasons"]:
        return "rejected"
    return "ships" if target == found.ships else "accepted"


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


def _honesty(found: Evidence) -> str:
    text = (
        "The test split was used once, when everything was decided: no weight, threshold or choice depends on it. Choices "
        "were made on the validation split, so accuracies on that one flatter."
    )
    if not found.seen_before:
        return text
    return (
        f"{text} But this run directory was used with other settings before: the test split has been seen "
        f"{found.seen_before + 1} times in it, and whoever chose between those results chose with it."
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


def _shipping(found: Evidence) -> str:
    if found.ships is None:
        return "Nothing ships: every exported file breaks a promise, below."
    file = found.artifacts[found.ships]
    return (
        f"`artifacts/{found.ships}` ships: {file['arch']} in {file['precision']}, {amount('size', file['bytes'])}. It takes "
        "uint8 RGB images at the network's resolution; scaling and normalisation are in the graph. Size and latency are "
        "of the final file, measured after training, not of an estimate."
    )


def _budget_table(found: Evidence) -> Table:
    budget = found.budgets[found.shown or next(iter(found.budgets))]
    limits = {"size": budget.size, "madds": budget.madds, "params": budget.params, "latency": budget.latency}
    kept = [None if limit is None else f"<= {amount(what, limit)}" for what, limit in limits.items()]
    rows: list[tuple[Cell, ...]] = [("limit", *kept, None, "")]
    for target, file in found.artifacts.items():
        latency = file["latency"]
        spent = {"size": file["bytes"], "madds": file["madds"], "params": file["params"], "latency": latency["median_ms"]}
        used = [amount(what, value) for what, value in spent.items()]
        rows.append((target, *used, amount("latency", latency["p90_ms"]), outcome(found, target)))
    timed = next(iter(found.artifacts.values()))["latency"]
    note = (
        f"Latency: one image, {threads(timed['threads'])}, {timed['runtime']} on {timed['processor']}, {timed['repeats']} runs "
        "after warm-up. 1 MB is 1,000,000 bytes; a multiply-add (MAdd) is two FLOPs."
    )
    columns = ("file", "size", "MAdds", "parameters", "median latency", "nine of ten within", "outcome")
    return Table("Against the budget", columns, tuple(rows), note)


def _parity_table(found: Evidence) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for target, file in found.artifacts.items():
        parity, contract = file["parity"], CONTRACTS[file["precision"]]
        gap = f"{parity['largest_gap']:.4f} (" + (f"<= {contract.max_gap:g})" if contract.max_gap < 1 else "no limit)")
        same = f"{percent(parity['agreement'])} (>= {100 * contract.min_agreement:.0f} %)"
        both = percent(parity["accuracy_reference"]), percent(parity["accuracy_artifact"])
        rows.append((target, same, gap, *both))
    images = next(iter(found.artifacts.values()))["parity"]["images"]
    note = (
        f"On {images:,} validation images; what was promised in brackets. A promise is broken when a figure is beyond its "
        "limit and beyond what chance explains on so many images."
    )
    columns = ("file", "same answer", "largest gap of a probability", "network's accuracy", "file's accuracy")
    return Table("Parity: the exported file against the trained network", columns, tuple(rows), note)


def _curves(logs: dict[str, list[dict[str, Any]]]) -> list[Item]:
    judged: dict[str, Curve] = {}
    losses: dict[str, Curve] = {}
    for name, lines in logs.items():
        judged[name] = [(line["step"], line["validation"]["accuracy"]) for line in lines if "validation" in line]
        losses[name] = _means([(line["step"], _loss(line)) for line in lines])
    step = Axis("Optimizer step")
    kept = "Of the averaged weights; the best of each network are kept, the later of equals."
    means = "Means over the steps between two points. Networks that learn from other targets have other losses."
    return [
        charts.lines("Accuracy on the validation split", judged, step, Axis("Accuracy", "%"), kept),
        charts.lines("Training loss", losses, step, Axis("Loss"), means),
    ]


def _loss(line: dict[str, float]) -> float:
    return sum(line[name] for name in ("labelled", "pseudo", "distilled") if name in line)


def _means(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most `PIECES` points, each the mean of its neighbourhood."""
    pieces = np.array_split(np.array(points, dtype=float), min(PIECES, len(points)))
    return [(float(piece[:, 0].mean()), float(piece[:, 1].mean())) for piece in pieces]


def _lesson(found: Evidence, name: str) -> tuple[Cell, ...]:
    done, recipe = found.stages[name].result, found.recipe
    batch = recipe["distillation" if name == "fitted" else "training"]["batch"]
    who, _, number = name.partition("-")
    match who:
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
