"""A small network taught by a large one's answers, whatever the task (MobileNets, sections 4.5 and 4.7)."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from eyas.data.batches import Examples, Part
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.nn.answers import Kind
from eyas.nn.weights import kind_of, load_network
from eyas.recipe import Training
from eyas.studies.learning import Exam, Lesson, Start, learn
from eyas.studies.pictures import seen_by_teacher
from eyas.studies.prepare import Data
from eyas.tasks.distill import Distill, Teachable


def check_task(teacher: Path, kind: Kind) -> None:
    """Refuse a teacher of another task.

    Raises:
        UserError: it is.
    """
    found = kind_of(teacher)
    if found != kind:
        raise UserError(
            f"{teacher} was trained for the task {found}, and {kind} is to be learned from it; give another teacher"
        )


def check_teacher(teacher: Path, kind: Kind, outputs: tuple[str, ...]) -> None:
    """Refuse a teacher of another task, or that answers in other outputs.

    Raises:
        UserError: it does.
    """
    check_task(teacher, kind)
    _, known = load_network(teacher)
    if known != outputs:
        lost = sorted({*known} ^ {*outputs})
        differ = f"{lost[0]!r} for one is in one of them only" if lost else "their order differs"
        raise UserError(
            f"{teacher} gives {len(known)} answers, and {len(outputs)} are to be learned: {differ}; give another teacher"
        )


def checksum(model: Path) -> str:
    """What a model file is known by.

    Raises:
        UserError: there is none.
    """
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise UserError(f"no model at {model} ({error.strerror}); give one that eyas train has made") from None


def unregularised(training: Training) -> Training:
    """The training without what keeps a network from learning labels by heart: a teacher's answers need none of it.

    MobileNets, section 4.5: no weight decay, no early stopping. Of the weights on the way the best are kept, as ever.
    """
    return replace(training, weight_decay=0.0, patience=0, plateau=0)


def in_proportion(batch: int, *sources: Examples | None) -> tuple[Part, ...]:
    """Parts of a batch, of each source as many as it has of all images; one at least."""
    there = [each for each in sources if each is not None and len(each)]
    total, left, parts = sum(map(len, there)), batch, []
    for place, each in enumerate(there):
        rest = len(there) - place - 1
        count = left if not rest else min(left - rest, max(1, round(batch * len(each) / total)))
        parts.append(Part(each, count))
        left -= count
    return tuple(part for part in parts if part.count > 0)


def taught(
    folder: Path,
    label: str,
    begin: Start,
    teacher: Path,
    sources: tuple[Part, ...],
    exam: Exam,
    data: Data,
    training: Training,
    seed: int,
) -> dict[str, Any]:
    """Train `begin` to answer as `teacher` does on the images of `sources`, and judge it by `exam`.

    A teacher of another resolution is shown the student's images at its own. How many of the student's held-out images the
    teacher was trained on is said, and kept as `teacher_saw` in the result.

    Args:
        folder: where the model and its log are left.
        label: of the work.
        begin: the student.
        teacher: a model file.
        sources: the images; their labels are not looked at.
        exam: what the student is judged by; its task says how answers are compared.
        data: which mirrorings it allows.
        training: how, see `unregularised`.
        seed: what the student's weights and the batches follow from.

    Raises:
        UserError: the teacher knows something else, or there is nothing to fine-tune on.
    """
    assert isinstance(exam.task, Teachable)
    if training.fine_tune and not any(part.examples.labelled for part in sources):
        raise UserError("training.fine_tune is on labelled images, and only unlabelled ones are learned from; set it to 0")
    check_teacher(teacher, exam.kind, exam.outputs)
    seen = seen_by_teacher(teacher, data)
    known, _ = load_network(teacher)
    task = Distill(exam.task, known.to(choose().name), side=known.arch.resolution)
    gently = unregularised(training)
    steps = gently.steps(sum(len(part.examples) for part in sources))
    lesson = Lesson(label, task, sources, steps, gently, seed, exam)
    found = learn(folder, begin.under(exam.task.head(begin.arch.features), gently, seed), lesson, data)
    return found | {"weights": begin.facts["weights"], "teacher_saw": seen}
