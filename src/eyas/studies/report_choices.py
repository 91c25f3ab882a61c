"""The report's choices: what was asked, and which network was planned for the budget."""

import shlex
from collections.abc import Iterator
from inspect import signature
from typing import Any

from eyas.arch.budget import Budget
from eyas.recipe import to_dict
from eyas.report import charts
from eyas.report.charts import Axis, Rule
from eyas.report.items import Cell, Item, Section, Table, Text
from eyas.studies.evidence import Evidence, amount

REFUSALS = 6  # of the plan that are listed
GROUPS = ("fits, teacher's family", "over the budget", "fits, other family")
ASKED = {
    "data": "labelled images",
    "unlabeled": "unlabelled images",
    "labels": "labels kept (0: all)",
    "budget": "budget",
    "arch": "network to train",
    "weights": "weights to begin with",
    "splits": "share held out where the data does not say",
    "threads": "threads that latency is measured with (0: the runtime chooses)",
    "seed": "seed",
}


def asked(found: Evidence) -> Section:
    """Everything that decided the run, defaults included."""
    recipe = found.recipe
    rows = [(text, _written(recipe[name])) for name, text in ASKED.items() if name in recipe]
    if recipe["labels"]:
        rows.append(("images whose labels were not kept", "joined the pile" if recipe["study"] == "fit" else "were left out"))
    request = Table("The run", ("", "value"), tuple(rows))
    command = Text(f"This command gives the same run again; what it does not name is a default:\n\n`{command_of(found)}`")
    return Section("What was asked", (command, request, *_settings(recipe)))


def plan(found: Evidence) -> Section:
    """The candidates, the budget, the chosen one and the nearest that were refused."""
    assert found.plan is not None
    candidates, chosen = found.plan["candidates"], found.plan["chosen"]
    text = (
        f"{len(candidates)} networks were weighed: the teacher's family and the others, at several widths and resolutions, in "
        f"every format. Chosen is {chosen['arch']} as {chosen['target']}: the first that keeps the budget when they are ranked "
        "by family (the teacher's first, since a narrower network inherits its weights), by MAdds, along which accuracy grows, "
        "and by precision. It was exported and measured before any training."
    )
    if "/" in chosen["arch"]:
        text += " The images are small, so early strides were taken out: after the slash stands what the input is divided by."
    return Section("The plan", (Text(text), _map(candidates, chosen, found.plan["budget"]), _ranking(candidates, chosen)))


def command_of(found: Evidence) -> str:
    """The command line of the run, without what is the default."""
    # Not at the top: these studies make the report themselves.
    from eyas.studies.fit import fit
    from eyas.studies.train import train

    recipe = {"out": str(found.run), **found.recipe}
    study = fit if recipe["study"] == "fit" else train
    words = ["eyas", recipe["study"], recipe["data"]]
    for name, parameter in signature(study).parameters.items():
        if name != "data" and name in recipe:
            words += _options(name, recipe[name], to_dict(parameter.default))
    return shlex.join(words)


def _options(name: str, value: Any, default: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _options(f"{name}.{key}", inner, default[key])
    elif value != default:
        yield from (f"--{name}", str(value).lower() if isinstance(value, bool) else str(value))


def _settings(recipe: dict[str, Any]) -> list[Item]:
    """Training and distillation side by side, and self-training."""
    columns = [name for name in ("training", "distillation") if name in recipe]
    heads = {"training": "teacher, student, control" if len(columns) > 1 else "value", "distillation": "fitted student"}
    flat = [dict(_flat(recipe[name])) for name in columns]
    rows: list[tuple[Cell, ...]] = [(key, *(each[key] for each in flat)) for key in flat[0]]
    items: list[Item] = [Table("Training", ("setting", *(heads[name] for name in columns)), tuple(rows))]
    if "self_training" in recipe:
        items.append(Table("What was taken from the pile", ("setting", "value"), tuple(_flat(recipe["self_training"]))))
    return items


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _written(value)


def _written(value: Any) -> str:
    match value:
        case None | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{key} {_written(inner)}" for key, inner in value.items())
        case _:
            return str(value)


def _map(candidates: list[dict[str, Any]], chosen: dict[str, Any], budget: str) -> Item:
    limits = Budget.parse(budget) if budget else Budget()
    points = [
        ("chosen" if _name(one) == _name(chosen) else _name(one), one["size"] / 1e6, one["madds"] / 1e6, _group(one))
        for one in sorted(candidates, key=lambda one: GROUPS.index(_group(one)))
    ]
    rule = None if limits.size is None else Rule(limits.size / 1e6, f"limit {amount('size', limits.size)}")
    asked = f"Budget: {budget}" if budget else "There was no budget"
    note = f"Chosen: {_name(chosen)}. {asked}. Sizes are estimates until measured."
    size, madds = Axis("Size", "MB", log=True), Axis("MAdds", "M", log=True)
    return charts.scatter("Candidates: MAdds against file size", points, size, madds, rule, "chosen", note)


def _group(one: dict[str, Any]) -> str:
    if one["refusals"]:
        return GROUPS[1]
    return GROUPS[0] if one["family"] else GROUPS[2]


def _name(one: dict[str, Any]) -> str:
    return f"{one['arch']} {one['target']}"


def _ranking(candidates: list[dict[str, Any]], chosen: dict[str, Any]) -> Table:
    """The chosen candidate and the last that were refused before it."""
    place = next(index for index, one in enumerate(candidates) if _name(one) == _name(chosen))
    refused = [one for one in candidates[:place] if one["refusals"]]
    rows: list[tuple[Cell, ...]] = [
        (
            one["arch"],
            one["target"],
            amount("madds", one["madds"]),
            amount("size", one["size"]),
            amount("latency", one["latency"]) if one["measured"] else None,
            "; ".join(one["refusals"]) or "chosen",
        )
        for one in (*refused[-REFUSALS:], chosen)
    ]
    note = "Ranked, the more capable above. Sizes of candidates without a latency are estimates."
    if len(refused) > REFUSALS:
        note += f" {len(refused) - REFUSALS:,} more were refused before these."
    columns = ("network", "format", "MAdds", "size", "median latency", "outcome")
    title = "The chosen network" + (", and the nearest that the budget refused" if refused else "")
    return Table(title, columns, tuple(rows), note)
