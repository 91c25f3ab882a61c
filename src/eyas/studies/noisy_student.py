"""One round of Noisy Student: teacher, labels, selection, noised student; and the control that tells whether it helped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eyas.data.batches import Part
from eyas.nn.weights import load_network
from eyas.recipe import SelfTraining, Training
from eyas.run import Done, Run, write_json
from eyas.studies.label import label, read_labels
from eyas.studies.learning import MODEL, Lesson, Start, correct, learn, probabilities
from eyas.studies.prepare import Data
from eyas.studies.proof import compare
from eyas.studies.select import Selection, calibrate, select, temperature
from eyas.tasks.classify import Classify

CONFIDENCE = 0.95  # share of bootstrap resamples in which the student must be ahead


@dataclass(frozen=True)
class Round:
    """What one round left in the run."""

    labels: Done
    selection: Done
    student: Done
    control: Done
    verdict: dict[str, Any]

    @property
    def helped(self) -> bool:
        """Whether the pile made a better model than the labels alone, at equal compute."""
        return self.verdict["helped"]


def noisy_round(
    run: Run, name: str, teacher: Done, begin: Start, data: Data, training: Training, choice: SelfTraining, seed: int
) -> Round | None:
    """Teacher to student, and the proof; `None` where no image of the pile was confident enough."""
    labels = run.stage(
        f"{name}/labels",
        lambda folder: label(folder, load_network(teacher.folder / MODEL)[0], data),
        teacher=teacher.digest,
        data=data.digest,
    )
    selection = run.stage(
        f"{name}/selection",
        lambda folder: _select(folder, teacher, labels, data, choice),
        teacher=teacher.digest,
        labels=labels.digest,
        choice=choice,
        data=data.digest,
    )
    if not selection.result["rows"]:
        return None
    common = {"start": begin.facts, "data": data.digest, "training": training, "ratio": choice.ratio, "seed": seed}
    student = run.stage(
        f"{name}/student",
        lambda folder: _student(
            folder, name, begin, selected(selection, labels, data, choice), labels, data, training, choice, seed
        ),
        selection=selection.digest,
        **common,
    )
    control = run.stage(f"{name}/control", lambda folder: _control(folder, name, begin, data, training, choice, seed), **common)
    verdict = run.stage(
        f"{name}/verdict",
        lambda folder: _verdict(folder, student, control, data),
        student=student.digest,
        control=control.digest,
        data=data.digest,
    )
    return Round(labels, selection, student, control, verdict.result)


def selected(selection: Done, labels: Done, data: Data, choice: SelfTraining) -> Selection:
    """The selection again, from the labels and the temperature that were written."""
    _, given = read_labels(labels.folder)
    return select(calibrate(given, selection.result["temperature"]), data.classes, choice)


def _select(folder: Path, teacher: Done, labels: Done, data: Data, choice: SelfTraining) -> dict[str, Any]:
    validation = data.examples("validation")
    given = probabilities(load_network(teacher.folder / MODEL)[0], validation)
    softened = temperature(given, validation.targets.argmax(1).astype(np.int64))
    found = select(calibrate(read_labels(labels.folder)[1], softened), data.classes, choice).findings
    write_json(folder / "selection.json", {"temperature": softened, **found})
    return {"temperature": softened, **found}


def _student(
    folder: Path,
    name: str,
    begin: Start,
    chosen: Selection,
    labels: Done,
    data: Data,
    training: Training,
    choice: SelfTraining,
    seed: int,
) -> dict[str, Any]:
    """An equal network, not started from the teacher, on labelled and pseudo-labelled images together."""
    labelled = data.examples("train")
    ids, _ = read_labels(labels.folder)
    pseudo = data.unlabelled([ids[row] for row in chosen.rows], chosen.targets)
    sources = (Part(labelled, training.batch), Part(pseudo, training.batch * choice.ratio))
    task = Classify(data.classes, training.label_smoothing)
    lesson = Lesson(f"{name}: noised student", task, sources, training.steps(len(labelled)), training, seed)
    return learn(folder, begin.network(data.classes, training, seed), lesson, data)


def _control(
    folder: Path, name: str, begin: Start, data: Data, training: Training, choice: SelfTraining, seed: int
) -> dict[str, Any]:
    """The same network, noise, steps and images a step from the labels alone: longer training must not pass for a gain."""
    labelled = data.examples("train")
    task = Classify(data.classes, training.label_smoothing)
    sources = (Part(labelled, training.batch * (1 + choice.ratio)),)
    lesson = Lesson(f"{name}: supervised control", task, sources, training.steps(len(labelled)), training, seed)
    return learn(folder, begin.network(data.classes, training, seed), lesson, data)


def _verdict(folder: Path, student: Done, control: Done, data: Data) -> dict[str, Any]:
    validation = data.examples("validation")
    answered = [
        correct(probabilities(load_network(done.folder / MODEL)[0], validation), validation) for done in (student, control)
    ]
    found = compare(answered[0], answered[1])
    helped = found.share_better >= CONFIDENCE
    verdict = {**asdict(found), "helped": helped, "sentence": sentence(asdict(found), helped)}
    write_json(folder / "verdict.json", verdict)
    return verdict


def sentence(found: dict[str, Any], helped: bool) -> str:
    """The verdict in one sentence."""
    points = f"{found['difference']:+.1f} points (95 % interval {found['low']:+.1f} to {found['high']:+.1f})"
    gain = f"student less equal-compute control: {points} on {found['images']} validation images"
    if helped:
        return f"The pile helped; {gain}."
    harm = found["share_better"] <= 1 - CONFIDENCE
    return f"{'The pile did harm' if harm else 'It is not proven that the pile helped'}, and its round was dropped; {gain}."
