"""What a finished run left, read again: the one source of its report and its model card."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.arch.budget import Budget, show
from eyas.data.manifest import Manifest
from eyas.deploy.target import TARGETS
from eyas.errors import UserError
from eyas.report.items import Tone
from eyas.run import ATTIC, INPUTS, MARK, Done, Run, read_json
from eyas.studies.learning import LOG
from eyas.studies.log import read_log
from eyas.studies.networks import RoundFound, folder_of, rounds_found, second_found
from eyas.studies.noisy_student import CONFIDENCE
from eyas.studies.prepare import Data, load
from eyas.studies.proof import Accuracy
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
    def pile(self) -> Manifest | None:
        """The unlabelled images that were used; None where there are none (eyas train uses none)."""
        pile = self.data.pile if self.recipe["study"] != "train" else None
        return pile if pile is not None and len(pile) else None


@dataclass(frozen=True)
class Evidence(Checked):
    """A finished run of `eyas fit` or `eyas train`.

    Attributes:
        stages: the networks by name, which `name_of` tells a reader.
        tested: the networks on the test split: arch, accuracy, confusion.
        logs: a line for each optimizer step of every network.
        artifacts: the exported files of the final network by the names of their folders.
        budgets: the limits that each was held against.
        ships: the one that ships; None: none was exported, or all were rejected.
        plan: candidates and the chosen one; None for eyas train.
        rounds: of self-training, in their order.
        second: the verdict on FixMatch; None where it was not asked for.
        seeds: the mean accuracy over several seeds of every network by the split; empty where there was one seed.
        verdict: the run's own sentence; None for eyas train.
        best: the network that the final one was made from.
        seen_before: times that the test split was used by earlier settings of the same run directory.
    """

    stages: dict[str, Done]
    tested: dict[str, dict[str, Any]]
    logs: dict[str, list[dict[str, Any]]]
    artifacts: dict[str, dict[str, Any]]
    budgets: dict[str, Budget]
    ships: str | None
    plan: dict[str, Any] | None
    rounds: tuple[RoundFound, ...]
    second: dict[str, Any] | None
    seeds: dict[str, dict[str, Any]]
    verdict: str | None
    best: str | None
    seen_before: int

    @property
    def decisive(self) -> RoundFound | None:
        """The last round that was proven to help, else the last that had a student; None where there was none."""
        taught = [each for each in self.rounds if each.verdict]
        return ([each for each in taught if each.helped] or taught or [None])[-1]

    @property
    def proof(self) -> dict[str, Any] | None:
        """The one who learned from the pile against its control on the validation split: the run's verdict."""
        if self.second and (self.second["helped"] or not self.rounds) and not (self.decisive and self.decisive.helped):
            return self.second
        return self.decisive.verdict if self.decisive else None

    @property
    def selection(self) -> dict[str, Any] | None:
        """What was taken from the pile in the decisive round, or in the last; None where nothing was labelled."""
        found = self.decisive or (self.rounds[-1] if self.rounds else None)
        return found.selection if found else None

    @property
    def final(self) -> str:
        """The network that is exported."""
        return "fitted" if "fitted" in self.tested else "model"

    @property
    def arch(self) -> str:
        """Its architecture."""
        return self.tested[self.final]["arch"]

    @property
    def began(self) -> str | None:
        """The published weights that the first network began with, and with it those that learned from it."""
        return self.stages["teacher" if "teacher" in self.stages else "model"].result["weights"]

    @property
    def copied(self) -> bool:
        """Whether the final network is an earlier one of the run, which fits the budget as it is."""
        return self.best is not None and self.tested[self.best]["arch"] == self.arch

    @property
    def labels(self) -> int:
        """Labelled images that were trained on or chosen with."""
        splits = self.data.findings["splits"]
        return splits["train"] + splits["validation"]

    @property
    def shown(self) -> str | None:
        """The exported file that the headline is about: what ships, or what was to ship and was rejected."""
        return self.ships or (self.plan["chosen"]["target"] if self.plan else next(iter(self.artifacts), None))

    @property
    def scored(self) -> dict[str, Any]:
        """Accuracy and confusion on the test split of what ships; of the final network where nothing does."""
        return self.artifacts[self.ships]["test"] if self.ships else self.tested[self.final]

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy on the test split of what ships; of the final network where nothing does."""
        return Accuracy(**self.scored["accuracy"])

    @property
    def tone(self) -> Tone:
        """Whether the pile helped."""
        if self.proof is None:
            return "neutral"
        if self.proof["helped"]:
            return "good"
        return "bad" if self.proof["share_better"] <= 1 - CONFIDENCE else "neutral"


def gather(run: Path) -> Evidence:
    """Read a finished run.

    Raises:
        UserError: it is not a run of eyas fit or eyas train, or not finished.
    """
    recipe = _recipe(run)
    if (task := recipe.get("task", "classify")) != "classify":
        raise UserError(f"{run} was trained for the task {task}, and the report is for classify; eyas evaluate measures any")
    opened = Run(run)
    tested = opened.done("test").result
    stages = {name: opened.done(folder_of(name)) for name in tested}
    _check_current(run, stages)
    data = _checked_now(run, load(run))
    fitted = recipe["study"] == "fit"
    plan = opened.done("plan").result if fitted else None
    pooled = opened.done("seeds/validation").result if recipe.get("seeds", 1) > 1 else {}
    made = _artifacts(opened, stages["fitted" if fitted else "model"])
    timing = timing_of(opened, made)
    return Evidence(
        run=run,
        recipe=recipe,
        data=data,
        quarantine=_quarantine(run / "data" / "quarantine.csv"),
        stages=stages,
        tested=tested,
        logs={name: read_log(done.folder / LOG) for name, done in stages.items()},
        artifacts={name: done.result | {"reasons": broken_by(name, done, timing)} for name, done in made.items()},
        budgets={target: _limits(done) for target, done in made.items()},
        ships=_ships(run, made, plan["chosen"]["target"] if plan else "", timing),
        plan=plan,
        rounds=rounds_found(opened, tested, pooled) if fitted and data.pile is not None and len(data.pile) else (),
        second=second_found(opened, pooled) if "fixmatch" in tested else None,
        seeds={"validation": pooled["accuracy"], "test": opened.done("seeds/test").result} if pooled else {},
        verdict=read_json(run / "result.json")["verdict"] if fitted else None,
        best=_best(stages) if fitted else None,
        seen_before=sum((old / MARK).exists() for old in (run / ATTIC).glob("*-test")),
    )


def checked(run: Path) -> Checked:
    """Read what `eyas audit` left.

    Raises:
        UserError: the directory holds no checked data.
    """
    data = _checked_now(run, load(run))
    return Checked(run, read_json(run / "recipe.json"), data, _quarantine(run / "data" / "quarantine.csv"))


def amount(what: str, value: float) -> str:
    """A value of a budget with its unit: `1.85 MB`, `60 M`, `850 µs`."""
    return re.sub(r"(?<=\d)(?=[A-Za-z])", " ", show(what, value)).replace(" us", " µs")


def percent(share: float) -> str:
    """`85.2 %`."""
    return f"{100 * share:.1f} %"


def threads(count: int) -> str:
    """`1 thread`."""
    return f"{count} thread{'' if count == 1 else 's'}" if count else "threads chosen by the runtime"


def _recipe(run: Path) -> dict[str, Any]:
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


def _check_current(run: Path, stages: dict[str, Done]) -> None:
    """The test results must be those of the networks that lie there now, not of earlier settings."""
    asked = _inputs(run / "test")
    for name, done in stages.items():
        if asked[name] != done.digest:
            raise UserError(f"{run} is not finished: {folder_of(name)} is newer than its test; give the run's command again")


def _checked_now(run: Path, data: Data) -> Data:
    """The data, unless an earlier version of Eyas checked it for less."""
    if "near" not in data.findings:
        raise UserError(f"the data of {run} was checked by an earlier version of Eyas; give the run's command again")
    return data


def _artifacts(opened: Run, final: Done) -> dict[str, Done]:
    """The files for devices that were exported from this very network, in the order of their names."""
    marks = sorted((opened.path / "artifacts").glob(f"*/{MARK}"))
    names = [mark.parent.name for mark in marks if TARGETS[target_of(mark.parent.name)].runs_on_devices]
    done = {name: opened.done(f"artifacts/{name}") for name in names}
    return {name: each for name, each in done.items() if _inputs(each.folder)["student"] == final.digest}


def _ships(run: Path, made: dict[str, Done], planned: str, timing: dict[str, Any]) -> str | None:
    """What the run says that it ships, which `eyas predict` answers by; where it says nothing yet, what it will."""
    result = read_json(run / "result.json") if (run / "result.json").is_file() else {}
    if result.get("ships") in made:
        return result["ships"]
    accepted = {name: done for name, done in made.items() if not broken_by(name, done, timing)}
    whole = {name: done for name, done in accepted.items() if target_of(name) == name}  # frames are for one camera only
    return shipped(whole or accepted, planned, timing) if accepted else None


def _limits(done: Done) -> Budget:
    asked = _inputs(done.folder)["budget"]
    return Budget.parse(asked) if asked else Budget()


def _best(stages: dict[str, Done]) -> str:
    digest = _inputs(stages["fitted"].folder)["best"]
    return next(name for name, done in stages.items() if done.digest == digest)


def _inputs(folder: Path) -> dict[str, Any]:
    return read_json(folder / INPUTS)["inputs"]


def _quarantine(path: Path) -> tuple[tuple[str, str, str], ...]:
    rows = list(csv.reader(_lines(path)))[1:]
    return tuple((id, source, reason) for id, source, reason in rows)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; is the run finished?") from None
