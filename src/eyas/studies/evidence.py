"""What a finished run of classification left, read again: the one source of its report and its model card."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eyas.arch.budget import show
from eyas.report.items import Tone
from eyas.run import Done, Run, read_json
from eyas.studies.finished import Finished, finished, inputs_of, recipe_of
from eyas.studies.networks import RoundFound, folder_of, rounds_found, second_found
from eyas.studies.proof import CONFIDENCE, Accuracy


@dataclass(frozen=True)
class Evidence(Finished):
    """A finished run of `eyas fit`, or of `eyas train` on classes.

    Attributes:
        tested: the networks on the test split: arch, accuracy, confusion.
        plan: candidates and the chosen one; None for eyas train.
        rounds: of self-training, in their order.
        second: the verdict on FixMatch; None where it was not asked for.
        seeds: the mean accuracy over several seeds of every network by the split; empty where there was one seed.
        verdict: the run's own sentence; None for eyas train.
        best: the network that the final one was made from.
    """

    tested: dict[str, dict[str, Any]]
    plan: dict[str, Any] | None
    rounds: tuple[RoundFound, ...]
    second: dict[str, Any] | None
    seeds: dict[str, dict[str, Any]]
    verdict: str | None
    best: str | None

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
    def copied(self) -> bool:
        """Whether the final network is an earlier one of the run, which fits the budget as it is."""
        return self.best is not None and self.tested[self.best]["arch"] == self.arch

    @property
    def shown(self) -> str | None:
        """The exported file that the headline is about: what ships, or what was to ship and was rejected."""
        return self.plan["chosen"]["target"] if self.plan and not self.ships else super().shown

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
    """Read a finished run of classification.

    Raises:
        UserError: it is not a run of eyas fit or eyas train, or not finished.
    """
    recipe = recipe_of(run)
    opened = Run(run)
    tested = opened.done("test").result
    stages = {name: opened.done(folder_of(name)) for name in tested}
    fitted = recipe["study"] == "fit"
    plan = opened.done("plan").result if fitted else None
    pooled = opened.done("seeds/validation").result if recipe.get("seeds", 1) > 1 else {}
    found = finished(run, recipe, stages, tuple(stages), plan["chosen"]["target"] if plan else "")
    pile = found.data.pile
    return Evidence(
        **{each.name: getattr(found, each.name) for each in fields(found)},
        tested=tested,
        plan=plan,
        rounds=rounds_found(opened, tested, pooled) if fitted and pile is not None and len(pile) else (),
        second=second_found(opened, pooled) if "fixmatch" in tested else None,
        seeds={"validation": pooled["accuracy"], "test": opened.done("seeds/test").result} if pooled else {},
        verdict=read_json(run / "result.json")["verdict"] if fitted else None,
        best=_best(stages) if fitted else None,
    )


def amount(what: str, value: float) -> str:
    """A value of a budget with its unit: `1.85 MB`, `60 M`, `850 µs`."""
    return re.sub(r"(?<=\d)(?=[A-Za-z])", " ", show(what, value)).replace(" us", " µs")


def percent(share: float) -> str:
    """`85.2 %`."""
    return f"{100 * share:.1f} %"


def threads(count: int) -> str:
    """`1 thread`."""
    return f"{count} thread{'' if count == 1 else 's'}" if count else "threads chosen by the runtime"


def _best(stages: dict[str, Done]) -> str:
    digest = inputs_of(stages["fitted"].folder)["best"]
    return next(name for name, done in stages.items() if done.digest == digest)
