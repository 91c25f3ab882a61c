"""Networks that tell attributes: from what people said of images, or from a larger network's answers."""

from pathlib import Path

from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.attributes import Attributed, check_training
from eyas.studies.learning import Lesson, Start, learn
from eyas.studies.prepare import Data
from eyas.studies.teaching import checksum, in_proportion, taught
from eyas.tasks.attributes import Attributes


def train_attributes(
    run: Run, begin: Start, data: Data, training: Training, seed: int, columns: tuple[str, ...] = (), name: str = "model"
) -> Done:
    """The stage that trains a network on the attributes of the labelled images; `name` is the stage's.

    Raises:
        UserError: the data has no attributes, or the training is not for them.
    """
    check_training(training)
    told = Attributed.of(data, columns)

    def make(folder: Path) -> dict[str, object]:
        examples = told.examples("train")
        task = Attributes(told.names, training.label_smoothing)
        steps = training.steps(len(examples))
        lesson = Lesson(name, task, (Part(examples, training.batch),), steps, training, seed, told.exam())
        found = learn(folder, begin.under(task.head(begin.arch.features), training, seed), lesson, data)
        return found | {"weights": begin.facts["weights"]}

    facts = {"start": begin.facts, "data": data.digest, "training": training, "seed": seed, "columns": columns}
    return run.joint_stage(name, make, task="attributes", **facts)


def distil_attributes(
    run: Run,
    begin: Start,
    teacher: Path,
    data: Data,
    training: Training,
    seed: int,
    columns: tuple[str, ...] = (),
    unlabelled_only: bool = False,
    name: str = "model",
) -> Done:
    """The stage that teaches a network a larger one's answers, on labelled and unlabelled images, or on the latter only.

    Raises:
        UserError: the teacher tells other attributes, or there are no unlabelled images to learn on.
    """
    check_training(training)
    told = Attributed.of(data, columns)
    pile = told.pile()
    if unlabelled_only and pile is None:
        raise UserError("only unlabelled images are to be learned from, and there are none; give some with --unlabeled")

    def make(folder: Path) -> dict[str, object]:
        sources = in_proportion(training.batch, None if unlabelled_only else told.examples("train"), pile)
        return taught(folder, name, begin, teacher, sources, told.exam(), data, training, seed)

    facts = {"start": begin.facts, "data": data.digest, "training": training, "seed": seed, "columns": columns}
    known = checksum(teacher)
    return run.joint_stage(name, make, task="attributes", teacher=known, unlabelled_only=unlabelled_only, **facts)
