"""Noisy Student: teacher, labels, selection, noised student, which is the next teacher; and the control beside each round."""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from eyas import recipe
from eyas.arch.parse import like, parse
from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.nn.weights import load_network
from eyas.recipe import SelfTraining, Training
from eyas.run import Done, Run, write_json
from eyas.studies.answering import correct, probabilities
from eyas.studies.labelling import VERSION, label_pile
from eyas.studies.learning import LOG, MODEL, Lesson, Start, learn, start
from eyas.studies.prepare import Data
from eyas.studies.proof import compare, judged
from eyas.studies.select import choose, read_chosen
from eyas.studies.soft_labels import Probabilities
from eyas.tasks.classify import Classify
from eyas.tasks.task import Task


@dataclass(frozen=True)
class School:
    """What is the same in every round.

    Attributes:
        run: where every stage leaves its result.
        prefix: of the names of the stages.
        begin: what the first teacher begins as.
        plan: the rounds that are asked for, with what the student of each begins as.
        data: labelled images, and the pile.
        training: how every network is trained.
        choice: what is taken from the pile.
        seed: what all randomness follows from.
    """

    run: Run
    prefix: str
    begin: Start
    plan: tuple[tuple[recipe.Round, Start], ...]
    data: Data
    training: Training
    choice: SelfTraining
    seed: int


@dataclass(frozen=True)
class Round:
    """What one round left in the run; without a student where no image of the pile was confident enough.

    `selection` says which images were taken; there is none where the network chooses them while it learns.
    """

    name: str
    student: Done | None
    control: Done | None
    verdict: dict[str, Any]
    selection: Done | None = None

    @property
    def helped(self) -> bool:
        """Whether the pile made a better model than the labels alone, at equal compute."""
        return self.verdict["helped"]


@dataclass(frozen=True)
class Course:
    """A teacher and the rounds that followed; `second` is another method's opinion of the pile."""

    teacher: Done
    rounds: tuple[Round, ...]
    second: Round | None = None

    @property
    def networks(self) -> dict[str, Done]:
        """Every network by its name: `teacher`, `control` and `student` of the first round, `control-2`, ..."""
        found = {"teacher": self.teacher}
        for number, each in enumerate(self.rounds, 1):
            if each.control and each.student:
                found |= {named("control", number): each.control, named("student", number): each.student}
        if self.second and self.second.control and self.second.student:
            found["fixmatch"] = self.second.student
            if self.second.control not in found.values():
                found["fixmatch-control"] = self.second.control
        return found

    @property
    def decisive(self) -> Round:
        """The round that the verdict is about: the last that was proven to help, else the last."""
        return (self.proven or [*([self.second] if self.second else []), *self.rounds])[-1]

    @property
    def proven(self) -> list[Round]:
        """Those that made a better model than the labels alone: the second opinion, then the rounds in their order."""
        found = [self.second] if self.second else []
        return [each for each in (*found, *self.rounds) if each.helped and each.student]


def named(who: str, number: int) -> str:
    """The name of a round's network."""
    return who if number == 1 else f"{who}-{number}"


def self_train(school: School) -> Course:
    """A teacher, and rounds of students until one of them is proven worse than its teacher (Noisy Student, Algorithm 1).

    The teacher sees as many images a step as the first student will: it is to be the best that the labels alone give, and no
    student is to seem better for having learned longer (docs/log.md).
    """
    ratio = school.plan[0][0].ratio if school.plan and has_pile(school.data) else 0
    first = Learner(school, "", school.training, ratio, school.begin)
    teacher = school.run.joint_stage(
        f"{school.prefix}teacher",
        lambda folder: control_of(folder, first, "teacher") | {"weights": school.begin.facts["weights"]},
        **first.digested,
    )
    rounds: list[Round] = []
    last = teacher
    for number, (asked, begin) in enumerate(school.plan if has_pile(school.data) else (), 1):
        before = rounds[-1].selection if rounds else None
        rounds.append(_round(school, f"round-{number}", asked, last, begin, before, (first, teacher)))
        if rounds[-1].student is None or not rounds[-1].verdict["goes_on"]:
            break
        last = rounds[-1].student
    return Course(teacher, tuple(rounds))


def has_pile(data: Data) -> bool:
    """Whether there are unlabelled images that can be used."""
    return data.pile is not None and len(data.pile) > 0


def planned(choice: SelfTraining, begin: Start, weights: str) -> tuple[tuple[recipe.Round, Start], ...]:
    """Each round with what its student begins as, where the teacher begins as `begin`.

    Raises:
        UserError: there is no such architecture, or it cannot begin with its teacher's weights.
    """
    found: list[tuple[recipe.Round, Start]] = []
    before = begin
    for asked in choice.plan():
        arch = before.arch if asked.arch == "teacher" else like(parse(asked.arch), begin.arch)
        if asked.start == "teacher" and arch != before.arch:
            raise UserError(
                f"round {len(found) + 1} begins {arch} with the weights of its teacher, which is {before.arch}: give it the "
                "teacher's architecture, or start: published"
            )
        if arch != before.arch:
            before = begin if arch == begin.arch else start(arch, "none" if weights == "none" else "auto")
        found.append((asked, before))
    return tuple(found)


def _round(
    school: School,
    name: str,
    asked: recipe.Round,
    teacher: Done,
    begin: Start,
    before: Done | None,
    first: "tuple[Learner, Done]",  # what it was trained as, and what came of it
) -> Round:
    """Teacher to student, and the proof; `before` is the selection of the round before, `first` the first teacher."""
    earlier = before.result if before else None
    stage, data, choice = school.run.stage, school.data, school.choice
    prefix = f"{school.prefix}{name}"
    labels = stage(
        f"{prefix}/labels",
        lambda folder: label_pile(folder, teacher.folder / MODEL, data),
        version=VERSION,
        teacher=teacher.digest,
        data=data.digest,
    )
    selection = stage(
        f"{prefix}/selection",
        lambda folder: choose(folder, teacher.folder / MODEL, labels.folder, data, choice, earlier),
        teacher=teacher.digest,
        labels=labels.digest,
        choice=_choosing(choice),
        before=before.digest if before else None,
        data=data.digest,
    )
    if not selection.result["rows"]:
        return Round(name, None, None, {"helped": False, "goes_on": False, "sentence": NOTHING}, selection)
    training = replace(school.training, epochs=asked.epochs or school.training.epochs)
    warm = teacher if asked.start == "teacher" else None
    learner = Learner(school, name, training, asked.ratio, begin)
    student = school.run.joint_stage(
        f"{prefix}/student",
        lambda folder: _student(folder, learner, read_chosen(selection.folder), warm),
        selection=selection.digest,
        weighting=choice.weighting,
        warm=warm.digest if warm else None,
        **learner.digested,
    )
    same = first[1] if first[0].digested == learner.digested else None
    make = partial(copy_of, same) if same else partial(control_of, learner=learner)
    control = school.run.joint_stage(f"{prefix}/control", make, **learner.digested)
    return Round(name, student, control, proof_of(school, name, student, control, teacher), selection)


def proof_of(school: School, name: str, student: Done, control: Done, teacher: Done) -> dict[str, Any]:
    """The verdict on a student, from its answers to the validation split."""
    verdict = school.run.stage(
        f"{school.prefix}{name}/verdict",
        lambda folder: _verdict(folder, student, control, teacher, school.data),
        student=student.digest,
        control=control.digest,
        teacher=teacher.digest,
        data=school.data.digest,
    )
    return verdict.result


NOTHING = "Nothing in the pile was confident enough to learn from; the labels alone were used until the last distillation."


def _choosing(choice: SelfTraining) -> SelfTraining:
    """The choice without what a selection does not depend on."""
    plain = SelfTraining()
    return replace(choice, rounds=plain.rounds, ratio=plain.ratio, weighting=plain.weighting)


@dataclass(frozen=True)
class Learner:
    """Student and control of a round: the same network, noise, steps and images a step."""

    school: School
    name: str
    training: Training
    ratio: int
    begin: Start

    @property
    def task(self) -> Classify:
        """What all of them learn."""
        school = self.school
        return Classify(school.data.classes, self.training.label_smoothing, weighting=school.choice.weighting)

    @property
    def digested(self) -> dict[str, Any]:
        """All that a control depends on."""
        school = self.school
        shared = {"start": self.begin.facts, "data": school.data.digest, "training": self.training}
        return shared | {"ratio": self.ratio, "seed": school.seed}

    def learn(
        self, folder: Path, who: str, sources: tuple[Part, ...], task: Task | None = None, warm: Done | None = None
    ) -> dict[str, Any]:
        """Teach the network on `sources`, with the weights of `warm` where it is given."""
        school, training = self.school, self.training
        network = self.begin.network(school.data.classes, training, school.seed)
        if warm:
            network.load_state_dict(load_network(warm.folder / MODEL)[0].state_dict())
        steps = training.steps(len(school.data.examples("train")))
        label = f"{school.prefix}{self.name}: {who}" if self.name else f"{school.prefix}{who}"
        return learn(folder, network, Lesson(label, task or self.task, sources, steps, training, school.seed), school.data)


def _student(folder: Path, learner: Learner, chosen: tuple[list[str], Probabilities], warm: Done | None) -> dict[str, Any]:
    """On labelled and pseudo-labelled images together."""
    data, batch = learner.school.data, learner.training.batch
    pseudo = data.unlabelled(*chosen)
    sources = (Part(data.examples("train"), batch), Part(pseudo, batch * learner.ratio))
    return learner.learn(folder, "noised student", sources, warm=warm)


def control_of(folder: Path, learner: Learner, who: str = "supervised control") -> dict[str, Any]:
    """From the labels alone: longer training must not pass for a gain."""
    sources = (Part(learner.school.data.examples("train"), learner.training.batch * (1 + learner.ratio)),)
    return learner.learn(folder, who, sources)


def copy_of(same: Done, folder: Path) -> dict[str, Any]:
    """What a training left that would be done again: mostly the first round's control, which is the teacher itself."""
    for name in (MODEL, LOG):
        shutil.copyfile(same.folder / name, folder / name)
    return same.result


def _verdict(folder: Path, student: Done, control: Done, teacher: Done, data: Data) -> dict[str, Any]:
    validation = data.examples("validation")
    answered = {
        name: correct(probabilities(load_network(done.folder / MODEL)[0], validation), validation)
        for name, done in {"student": student, "control": control, "teacher": teacher}.items()
    }
    found = judged(compare(answered["student"], answered["control"]), compare(answered["student"], answered["teacher"]))
    write_json(folder / "verdict.json", found)
    return found
