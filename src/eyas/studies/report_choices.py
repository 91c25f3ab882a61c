"""The report's choices: everything that was asked."""

import shlex
from collections.abc import Iterator
from inspect import signature
from typing import Any

from eyas.recipe import to_dict
from eyas.report.items import Cell, Item, Section, Table, Text
from eyas.studies.finished import Finished

ASKED = {
    "data": "labelled images",
    "task": "what is learned",
    "columns": "columns that are attributes",
    "unlabeled": "unlabelled images",
    "teacher": "run whose answers are learned",
    "unlabeled_only": "learned on unlabelled images alone",
    "labels": "labels kept (0: all)",
    "budget": "budget",
    "arch": "network to train",
    "weights": "weights to begin with",
    "splits": "share held out where the data does not say",
    "threads": "threads that latency is measured with (0: the runtime chooses)",
    "max_drop": "accuracy that an int8 file may lose",
    "explore": "candidates trained briefly before the choice (0: none)",
    "seed": "seed",
}

OF_TASKS = {"embedding": "How vectors are learned", "detection": "How things are found"}


def asked(found: Finished) -> Section:
    """Everything that decided the run, defaults included."""
    recipe = found.recipe
    rows = [(text, _written(recipe[name])) for name, text in ASKED.items() if name in recipe]
    if recipe["labels"]:
        rows.append(("images whose labels were not kept", "joined the pile" if found.uses_pile else "were left out"))
    request = Table("The run", ("", "value"), tuple(rows))
    command = Text(f"This command gives the same run again; what it does not name is a default:\n\n`{command_of(found)}`")
    return Section("What was asked", (command, request, *_settings(recipe)))


def command_of(found: Finished) -> str:
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
    elif isinstance(value, bool) and "." not in name:
        yield from [f"--{name}"] * value  # a switch; those of a group take a word
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
    for name, title in OF_TASKS.items():
        if name in recipe:
            items.append(Table(title, ("setting", "value"), tuple(_flat(recipe[name]))))
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
        case list() if all(isinstance(each, str) for each in value):
            return ", ".join(value) or "none"
        case dict():
            return ", ".join(f"{key} {_written(inner)}" for key, inner in value.items())
        case _:
            return str(value)
