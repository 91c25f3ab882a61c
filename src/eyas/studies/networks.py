"""The networks and rounds of a finished run: where they lie, and what a reader knows them as."""

from dataclasses import dataclass
from typing import Any

from eyas.recipe import SelfTraining, from_dict
from eyas.run import MARK, Run, read_json
from eyas.studies.noisy_student import named

# Where the networks of a run lie, and what a reader knows them as; those of a round: `control`, `control-2`, ...
FOLDERS = {
    "teacher": "teacher",
    "fixmatch": "fixmatch/student",
    "fixmatch-control": "fixmatch/control",
    "fitted": "student",
    "model": "model",
}
NAMES = {
    "teacher": "teacher",
    "control": "supervised control",
    "student": "noised student",
    "fixmatch": "FixMatch network",
    "fixmatch-control": "supervised control of FixMatch",
    "fitted": "fitted student",
    "model": "trained network",
}


def folder_of(name: str) -> str:
    """Where a network lies in its run."""
    who, _, number = name.partition("-")
    return FOLDERS.get(name, f"round-{number or 1}/{who}")


def name_of(name: str) -> str:
    """What a reader knows a network as."""
    who, _, number = name.partition("-")
    return NAMES.get(name) or f"{NAMES[who]} of round {number}"


@dataclass(frozen=True)
class RoundFound:
    """What a round of self-training left: the selection, and the verdict unless nothing was confident enough."""

    number: int
    selection: dict[str, Any]
    verdict: dict[str, Any] | None

    @property
    def helped(self) -> bool:
        """Whether its student was proven to be better than the control."""
        return bool(self.verdict and self.verdict["helped"])


def second_found(opened: Run, pooled: dict[str, Any]) -> dict[str, Any]:
    """The verdict on FixMatch, over all seeds where there are several."""
    return (pooled["second"] if pooled else None) or opened.done("fixmatch/verdict").result


def rounds_found(opened: Run, tested: dict[str, Any], pooled: dict[str, Any]) -> tuple[RoundFound, ...]:
    """The rounds of this recipe: those with a tested student, and a last one that found nothing to learn from."""
    found: list[RoundFound] = []
    planned = from_dict(SelfTraining, read_json(opened.path / "recipe.json")["self_training"]).plan()
    for number in range(1, len(planned) + 1):
        taught = named("student", number) in tested
        if not taught and not (opened.path / f"round-{number}" / "selection" / MARK).exists():
            break
        selection = opened.done(f"round-{number}/selection").result
        if taught or not selection["rows"]:
            verdict = opened.done(f"round-{number}/verdict").result if taught else None
            verdict = (pooled["rounds"][number - 1] if pooled else None) or verdict
            found.append(RoundFound(number, selection, verdict))
        if not taught:
            break
    return tuple(found)
