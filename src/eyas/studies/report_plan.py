"""The report's plan: the chosen network, what the limits keep out, the Pareto fronts, and what exploring found."""

from typing import Any

from eyas.arch.budget import Budget
from eyas.report import charts
from eyas.report.charts import Axis, Rule
from eyas.report.items import Cell, Item, Section, Table, Text
from eyas.studies.evidence import amount, percent, threads
from eyas.studies.plan_rows import TITLES, front_rows, front_shown, name_of, rated

REFUSALS = 6  # of the preferred candidates that are listed
LISTED = 12  # rows of a front
FITS, FRONT, OVER = "fits", "fits, on the front", "over the budget"
AXES = {"size": Axis("Size", "MB", log=True), "madds": Axis("MAdds", "M", log=True), "latency": Axis("Latency", "ms", log=True)}
UNITS = {"size": 1e6, "madds": 1e6, "latency": 1.0}

RULE = (
    "Candidates are ranked by what a brief training on these images found, where that was asked for; then the teacher itself "
    "comes first, then what begins with weights (a narrower network of the teacher's table inherits them), then what begins "
    "with drawn ones; within these by published ImageNet accuracy in steps of half a point (interpolated figures count a point "
    "less, estimated ones one and a half), float32 before int8; and where nothing is published by MAdds, along which accuracy "
    "grows."
)


def plan_section(plan: dict[str, Any]) -> Section:
    """What plan.json tells."""
    every, chosen = plan["candidates"], plan["chosen"]
    return Section(
        "The plan",
        (
            Text(_story(plan)),
            *_binding(plan),
            *_maps(plan),
            *_front(plan),
            _ranking(every, chosen),
            *_explored(plan),
        ),
    )


def _story(plan: dict[str, Any]) -> str:
    chosen = plan["chosen"]
    count = plan.get("weighed", len(plan["candidates"]))
    text = f"{count:,} candidates were weighed: networks at several widths and resolutions, each in every format planned for. "
    text += f"Chosen is {chosen['arch']} as {chosen['target']}, the first that keeps the budget. {RULE}"
    text += f" It was exported and measured before any training, with {threads(plan['threads'])}."
    if plan.get("device", "") != plan.get("measured_on", ""):
        text += f" Latency is judged by the table of {plan['device']}; what is measured was measured on {plan['measured_on']}."
    if "/" in chosen["arch"]:
        text += " The images are small, so early strides were taken out: after the slash stands what the input is divided by."
    return text


def _binding(plan: dict[str, Any]) -> list[Item]:
    """What each limit keeps out."""
    lines = [f"- {bind['sentence']}" for bind in plan.get("binds", [])]
    if plan.get("together"):
        lines.append(f"- {' and '.join(plan['together'])} keep something better out only together")
    return [Text("What the limits keep out, each relaxed while the others hold:\n\n" + "\n".join(lines))] if lines else []


def _maps(plan: dict[str, Any]) -> list[Item]:
    """Published accuracy against each cost, the fronts marked; where nothing is published, MAdds against size."""
    every, chosen = plan["candidates"], plan["chosen"]
    limits = Budget.parse(plan["budget"]) if plan["budget"] else Budget()
    rated = [one for one in every if one.get("top1") is not None]
    if len(rated) < 2:
        return [_map(every, chosen, limits, "size", set(), lambda one: one["madds"] / 1e6, AXES["madds"])]
    names = plan.get("fronts", {})
    top1 = Axis("Published top-1", "points")
    return [_map(rated, chosen, limits, what, set(names[what]), lambda one: one["top1"], top1) for what in names]


def _map(
    shown: list[dict[str, Any]], chosen: dict[str, Any], limits: Budget, what: str, front: set[str], height: Any, axis: Axis
) -> Item:
    def group(one: dict[str, Any]) -> str:
        return OVER if one["refusals"] else FRONT if name_of(one) in front else FITS

    spent = {"size": lambda one: one["size"], "madds": lambda one: one["madds"], "latency": lambda one: one["predicted"]}[what]
    limit = getattr(limits, what)
    ordered = sorted(shown, key=lambda one: (OVER, FITS, FRONT).index(group(one)))
    points = [
        ("chosen" if name_of(one) == name_of(chosen) else name_of(one), spent(one) / UNITS[what], height(one), group(one))
        for one in ordered
        if spent(one)
    ]
    rule = None if limit is None else Rule(limit / UNITS[what], f"limit {amount(what, limit)}")
    note = f"Chosen: {name_of(chosen)}. " + (f"Budget: {limits}." if str(limits) else "There was no budget.")
    note += " Sizes are estimates until measured." if what == "size" else ""
    return charts.scatter(f"Candidates: {axis.title} against {TITLES[what]}", points, AXES[what], axis, rule, "chosen", note)


def _front(plan: dict[str, Any]) -> list[Item]:
    """The front against what is limited, its best rows."""
    what = front_shown(plan)
    rows = front_rows(plan, what)[-LISTED:] if what else []
    if not rows:
        return []
    told: list[tuple[Cell, ...]] = [
        (one["arch"], one["target"], rated(one), amount("madds", one["madds"]), amount("size", one["size"]), _timed(one))
        for one in rows
    ]
    columns = ("network", "format", "published top-1", "MAdds", "size", "latency")
    note = "Each is at least half a point better than any cheaper one. (i): interpolated, (e): estimated from published ones."
    return [Table(f"The Pareto front against {TITLES[what]}, within the budget", columns, tuple(told), note)]


def _timed(one: dict[str, Any]) -> str | None:
    """Measured, else predicted; None where neither is known."""
    if one["measured"]:
        return amount("latency", one["latency"])
    return f"{amount('latency', one['predicted'])} (predicted)" if one.get("predicted") else None


def _ranking(every: list[dict[str, Any]], chosen: dict[str, Any]) -> Table:
    """The chosen candidate, those that were measured, and the last that were refused before it."""
    place = next(index for index, one in enumerate(every) if name_of(one) == name_of(chosen))
    refused = [one for one in every[:place] if one["refusals"]]
    nearest = [one for one in refused if one["measured"]] or refused
    rows: list[tuple[Cell, ...]] = [
        (
            one["arch"],
            one["target"],
            rated(one),
            amount("madds", one["madds"]),
            amount("size", one["size"]),
            _timed(one),
            "; ".join(one["refusals"]) or "chosen",
        )
        for one in (*nearest[-REFUSALS:], chosen)
    ]
    columns = ("network", "format", "published top-1", "MAdds", "size", "median latency", "outcome")
    title = "The chosen network" + (", and the nearest that the budget refused" if refused else "")
    return Table(title, columns, tuple(rows), "Ranked, the preferred above. Sizes of what has no latency are estimates.")


def _explored(plan: dict[str, Any]) -> list[Item]:
    """What brief trainings found."""
    if not plan.get("explored"):
        return []
    ranked = sorted(plan["explored"], key=lambda one: (-one["rung"], -one["validation"]))
    rows: list[tuple[Cell, ...]] = [(one["arch"], one["rung"], one["steps"], percent(one["validation"])) for one in ranked]
    note = "In each rung all are trained from their start, for twice as many steps as in the one before, and half of them stay."
    columns = ("network", "last rung", "steps", "validation accuracy")
    return [Table("Brief trainings on these images", columns, tuple(rows), note)]
