"""What every run left, whatever its task: the data, the networks and their logs, the exported files, and what ships."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget
from eyas.data.manifest import Manifest
from eyas.deploy.target import TARGETS
from eyas.errors import UserError
from eyas.run import ATTIC, INPUTS, MARK, Done, Run, read_json
from eyas.studies.learning import LOG
from eyas.studies.log import read_log
from eyas.studies.networks import folder_of
from eyas.studies.prepare import Data, load
from eyas.studies.ship import broken_by, shipped, target_of, timing_of

NEEDED = {
    "fit": ("data/stage.json", "plan/stage.json", "teacher/stage.json", "student/stage.json", "test/stage.json", "result.json"),
    "train": ("data/stage.json", "model/stage.json", "test/stage.json"),
}


@dataclass(frozen=True)
class Checked:
    """A data set that was checked, by `eyas audit` or as the first stage of a run.

    Attributes:
        run: the directory.
        recipe: what was asked, defaults included.
        data: images, splits and the findings of the audit.
        quarantine: id, source and reason of every file that was refused.
    """

    run: Path
    recipe: dict[str, Any]
    data: Data
    quarantine: tuple[tuple[str, str, str], ...]

    @property
    def uses_pile(self) -> bool:
        """Whether unlabelled images are of any use: eyas train learns nothing from them without one who answers for them."""
        if self.recipe["study"] != "train":
            return True
        return self.recipe.get("teacher") is not None or self.recipe.get("task") == "detect"

    @property
    def pile(self) -> Manifest | None:
        """The unlabelled images that were used; None where there are none."""
        pile = self.data.pile if self.uses_pile else None
        return pile if pile is not None and len(pile) else None


@dataclass(frozen=True)
class Finished(Checked):
    """A finished run of `eyas fit` or `eyas train`.

    Attributes:
        stages: the networks by name, which `name_of` tells a reader.
        logs: a line for each optimizer step of every network.
        artifacts: the exported files of the final network by the names of their folders.
        budgets: the limits that each was held against.
        ships: the one that ships; None: none was exported, or all were rejected.
        seen_before: times that the test split was used by earlier settings of the same run directory.
    """

    stages: dict[str, Done]
    logs: dict[str, list[dict[str, Any]]]
    artifacts: dict[str, dict[str, Any]]
    budgets: dict[str, Budget]
    ships: str | None
    seen_before: int

    @property
    def final(self) -> str:
        """The network that is exported."""
        return "fitted" if "fitted" in self.stages else "model"

    @property
    def arch(self) -> str:
        """Its architecture."""
        return self.stages[self.final].result["arch"]

    @property
    def began(self) -> str | None:
        """The published weights that the first network began with, and with it those that learned from it."""
        return self.stages["teacher" if "teacher" in self.stages else "model"].result["weights"]

    @property
    def labels(self) -> int:
        """Labelled images that were trained on or chosen with."""
        splits = self.data.findings["splits"]
        return splits["train"] + splits["validation"]

    @property
    def shown(self) -> str | None:
        """The exported file that the headline is about: what ships, or what was to ship and was rejected."""
        return self.ships or next(iter(self.artifacts), None)


def checked(run: Path) -> Checked:
    """Read what `eyas audit` left.

    Raises:
        UserError: the directory holds no checked data.
    """
    return Checked(run, read_json(run / "recipe.json"), _checked_now(run, load(run)), _quarantine(run))


def recipe_of(run: Path) -> dict[str, Any]:
    """What a finished run was asked for.

    Raises:
        UserError: it is not a run of eyas fit or eyas train, or not finished.
    """
    if not (run / "recipe.json").is_file():
        raise UserError(f"{run} is not a run of Eyas: it has no recipe.json; give the --out of eyas fit or eyas train")
    recipe = read_json(run / "recipe.json")
    study = recipe.get("study")
    if study not in NEEDED:
        raise UserError(f"{run / 'recipe.json'} is of the study {study!r}; a report is made of a run of eyas fit or eyas train")
    for name in NEEDED[study]:
        if not (run / name).is_file():
            raise UserError(f"{run} is not finished: {name} is not there; give its eyas {study} command again to go on")
    return recipe


def finished(run: Path, recipe: dict[str, Any], stages: dict[str, Done], tested: tuple[str, ...], planned: str) -> Finished:
    """Read what there is of every task.

    Args:
        run: the directory.
        recipe: what it was asked for.
        stages: its networks.
        tested: those of them that the test is of.
        planned: the target of the plan; "" where there was none.

    Raises:
        UserError: it is not finished.
    """
    asked = inputs_of(run / "test")
    for name in tested:
        if asked[name] != stages[name].digest:
            raise UserError(f"{run} is not finished: {folder_of(name)} is newer than its test; give the run's command again")
    opened = Run(run)
    made = _artifacts(opened, stages["fitted" if "fitted" in stages else "model"])
    timing = timing_of(opened, made)
    return Finished(
        run=run,
        recipe=recipe,
        data=_checked_now(run, load(run)),
        quarantine=_quarantine(run),
        stages=stages,
        logs={name: read_log(done.folder / LOG) for name, done in stages.items()},
        artifacts={name: done.result | {"reasons": broken_by(name, done, timing)} for name, done in made.items()},
        budgets={target: _limits(done) for target, done in made.items()},
        ships=_ships(run, made, planned, timing),
        seen_before=sum((old / MARK).exists() for old in (run / ATTIC).glob("*-test")),
    )


def inputs_of(folder: Path) -> dict[str, Any]:
    """What a stage was made from."""
    return read_json(folder / INPUTS)["inputs"]


def _checked_now(run: Path, data: Data) -> Data:
    """The data, unless an earlier version of Eyas checked it for less."""
    if "near" not in data.findings:
        raise UserError(f"the data of {run} was checked by an earlier version of Eyas; give the run's command again")
    return data


def _artifacts(opened: Run, final: Done) -> dict[str, Done]:
    """The files for devices that were exported from this very network, in the order of their names.

    Raises:
        UserError: one has the facts of an earlier version.
    """
    marks = sorted((opened.path / "artifacts").glob(f"*/{MARK}"))
    names = [mark.parent.name for mark in marks if TARGETS[target_of(mark.parent.name)].runs_on_devices]
    done = {name: opened.done(f"artifacts/{name}") for name in names}
    made = {name: each for name, each in done.items() if inputs_of(each.folder)["student"] == final.digest}
    if earlier := [each.folder for each in made.values() if "reference" not in each.result["parity"]]:
        raise UserError(f"{earlier[0]} was exported by an earlier version of Eyas; move it away and give the command again")
    return made


def _ships(run: Path, made: dict[str, Done], planned: str, timing: dict[str, Any]) -> str | None:
    """What the run says that it ships, which `eyas predict` answers by; where it says nothing yet, what it will."""
    result = read_json(run / "result.json") if (run / "result.json").is_file() else {}
    if result.get("ships") in made:
        return result["ships"]
    accepted = {name: done for name, done in made.items() if not broken_by(name, done, timing)}
    whole = {name: done for name, done in accepted.items() if target_of(name) == name}  # frames are for one camera only
    return shipped(whole or accepted, planned, timing) if accepted else None


def _limits(done: Done) -> Budget:
    asked = inputs_of(done.folder)["budget"]
    return Budget.parse(asked) if asked else Budget()


def _quarantine(run: Path) -> tuple[tuple[str, str, str], ...]:
    path = run / "data" / "quarantine.csv"
    try:
        rows = list(csv.reader(path.read_text().splitlines()))[1:]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; is the run finished?") from None
    return tuple((id, source, reason) for id, source, reason in rows)
