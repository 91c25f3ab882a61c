"""A second opinion of the pile: FixMatch (2001.07685), beside Noisy Student and against the same control."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from eyas.data.batches import Part
from eyas.run import Done
from eyas.studies.noisy_student import Course, Learner, Round, School, control_of, has_pile, proof_of
from eyas.tasks.consistency import Consistency

NAME = "fixmatch"


def fixmatch(school: School, course: Course) -> Course:
    """The course with a network that learned labels and pile at once, calling the unlabelled images itself.

    It has the first teacher's architecture and start, and in every batch as many unlabelled images as a student has
    pseudo-labelled ones; each of them twice, so that a step takes longer. Without a pile or a ratio the course stays as it is.
    """
    ratio = school.choice.ratio
    if not ratio or not has_pile(school.data):
        return course
    learner = Learner(school, NAME, school.training, ratio, school.begin)
    student = school.run.joint_stage(
        f"{school.prefix}{NAME}/student",
        lambda folder: _student(folder, learner),
        confidence=school.choice.confidence,
        **learner.digested,
    )
    control = _first_control(school, course, learner)
    if control is None:
        make = partial(control_of, learner=learner)
        control = school.run.joint_stage(f"{school.prefix}{NAME}/control", make, **learner.digested)
    return replace(course, second=Round(NAME, student, control, proof_of(school, NAME, student, control, course.teacher)))


def _first_control(school: School, course: Course, learner: Learner) -> Done | None:
    """The control of the first round, where it is the very network that would be trained again."""
    if not course.rounds:
        return None
    asked, begin = school.plan[0]
    training = replace(school.training, epochs=asked.epochs or school.training.epochs)
    same = Learner(school, NAME, training, asked.ratio, begin).digested == learner.digested
    return course.rounds[0].control if same else None


def _student(folder: Path, learner: Learner) -> dict[str, Any]:
    data, batch = learner.school.data, learner.training.batch
    # An image that is mixed with another one is no longer what its weak view shows.
    noise = replace(learner.training.augment, mixup=0.0, cutmix=0.0)
    pile = Part(data.unlabelled(), batch * learner.ratio, augment=noise, weak=True)
    task = Consistency(learner.task, learner.school.choice.confidence)
    return learner.learn(folder, "FixMatch", (Part(data.examples("train"), batch), pile), task)
