"""What a finished run of attributes, embeddings or boxes left, read again: the one source of its report and model card."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.weights import described_in
from eyas.run import Done, Run
from eyas.studies.finished import Finished, finished, inputs_of, recipe_of
from eyas.studies.learning import MODEL

# What a recipe has for one task alone. It has all of them, and what is for another task had no effect.
OWN = {"columns": "attributes", "embedding": "embed", "detection": "detect"}


@dataclass(frozen=True)
class TaskRun(Finished):
    """A finished run of `eyas train` of another task than classification.

    Attributes:
        task: what was learned.
        outputs: names of what the network answers, in order.
        tested: the network on the test split, in the figures of the task.
        pseudo: the stage with boxes of unlabelled images, where the model learned from some.
    """

    task: str
    outputs: tuple[str, ...]
    tested: dict[str, Any]
    pseudo: Done | None

    @property
    def scored(self) -> dict[str, Any]:
        """Figures on the test split of what ships; of the trained network where nothing does."""
        return self.artifacts[self.ships]["test"] if self.ships else self.tested

    @property
    def spent(self) -> tuple[int, int]:
        """Parameters and multiply-adds of one image; of a detector, the whole of it."""
        result = self.stages["model"].result
        if "madds" in result:
            return result["params"], result["madds"]
        found = cost(parse(self.arch), len(self.outputs))
        return found.params, found.madds


def gather_task(run: Path) -> TaskRun:
    """Read a finished run of another task than classification.

    Raises:
        UserError: it is not one, or not finished.
    """
    recipe = recipe_of(run)
    opened = Run(run)
    model = opened.done("model")
    pseudo = _pseudo(opened, model)
    first = {"teacher": opened.done("teacher")} if pseudo else {}
    found = finished(run, _own(recipe), {**first, "model": model}, ("model",), "")
    known = described_in(model.folder / MODEL)
    assert known is not None, f"{model.folder / MODEL} names no outputs"
    parts = {each.name: getattr(found, each.name) for each in fields(found)}
    return TaskRun(**parts, task=recipe["task"], outputs=known[1], tested=opened.done("test").result, pseudo=pseudo)


def _own(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe without what is for other tasks, or what a teacher decides."""
    task, taught = recipe["task"], recipe["teacher"] is not None
    others = {name for name, of in OWN.items() if of != task}
    others |= {"teacher", "unlabeled_only"} if task == "detect" else {"embedding"} if taught else set()
    return {name: value for name, value in recipe.items() if name not in others}


def _pseudo(opened: Run, model: Done) -> Done | None:
    """Where a detector's boxes of unlabelled images are that the model learned from.

    Raises:
        UserError: they are others now.
    """
    asked = inputs_of(model.folder).get("pseudo")
    if asked is None:
        return None
    pseudo, first = opened.done("pseudo"), opened.done("teacher")
    if pseudo.digest != asked or inputs_of(pseudo.folder)["teacher"] != first.digest:
        raise UserError(f"{opened.path} is not finished: teacher is newer than model; give the run's command again")
    return pseudo
