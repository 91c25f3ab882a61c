"""How any network of any study is trained, from its start to its best weights, and what it then answers."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eyas.arch.parse import described
from eyas.arch.scale import seen
from eyas.arch.spec import Arch
from eyas.data.batches import Examples, Part, Stream, in_order
from eyas.data.sampling import balanced, scarcity
from eyas.errors import UserError
from eyas.learn.checkpoint import Checkpoints
from eyas.learn.device import Device, choose
from eyas.learn.evaluate import answers
from eyas.learn.schedule import stop
from eyas.learn.state import State
from eyas.learn.train import Step, train
from eyas.learn.way import Way, choose_way
from eyas.learn.way import read as read_way
from eyas.nn.answers import Kind
from eyas.nn.build import Network, build
from eyas.nn.published import Weights, find, load
from eyas.nn.sync_norm import synchronise
from eyas.nn.weights import save_network
from eyas.progress import Pace, record, work
from eyas.recipe import Training
from eyas.run import plain, read_json, write_atomic, write_json
from eyas.studies.log import Log
from eyas.studies.prepare import Data
from eyas.studies.resolution import Phase, in_phases, phases, train_side
from eyas.tasks.classify import Classify
from eyas.tasks.small_loss import SmallLoss
from eyas.tasks.task import Task
from eyas.team import current

MODEL = "model.safetensors"
LOG = "log.jsonl"
WAY = ".way.json"  # the dot: scratch of a stage, no part of its result
PICTURES = 16  # of a batch, for whoever follows
GROWTH = 0.2  # of the steps, in which training.small_loss is reached
EVALUATIONS = 8  # on the validation split, in a run that does not say


@dataclass(frozen=True)
class Exam:
    """What a network is judged by: the first of the task's figures on these images, the larger the better.

    Attributes:
        task: as it is answered, without what only learning needs.
        examples: the images, with what is to be answered.
        outputs: what the network's outputs mean, in order; kept with its weights, as the task's name is.
        kind: that name.
    """

    task: Task
    examples: Examples
    outputs: tuple[str, ...]
    kind: Kind = "classify"


@dataclass(frozen=True)
class Lesson:
    """What a network is to be taught: a task, on so many images of each source a step, for so many steps.

    Without an `exam` it is judged as a classifier of the validation images.
    """

    label: str
    task: Task
    sources: tuple[Part, ...]
    steps: int
    training: Training
    seed: int
    exam: Exam | None = None


@dataclass(frozen=True)
class Start:
    """What a network begins as: its architecture, and published weights unless they are drawn.

    With `new_head` the head is drawn even where the weights have one of the same size: they were trained for other classes.
    """

    arch: Arch
    weights: Weights | None
    new_head: bool = False

    def network(self, classes: Sequence[str], training: Training, seed: int) -> Network:
        """The network, with a head for `classes`; what the weights do not hold is drawn from `seed`."""
        return self.under(nn.Linear(self.arch.features, len(classes)), training, seed)

    def under(self, head: nn.Module, training: Training, seed: int) -> Network:
        """The network under any head, for example `task.head(start.arch.features)`."""
        arch = seen(self.arch, training.test_crop)
        network = build(arch, head, training.dropout, training.drop_path, training.norm_momentum, seed)
        if self.weights:
            drawn = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
            load(network, self.weights)
            if self.new_head:
                network.head.load_state_dict(drawn)
        return network

    @property
    def facts(self) -> dict[str, Any]:
        """All that it depends on, as JSON."""
        return {**described(self.arch), "weights": self.weights.origin if self.weights else None}


def start(arch: Arch, weights: str = "auto") -> Start:
    """The start of `arch` from the weights that `eyas.nn.published.find` knows under that name.

    Raises:
        UserError: there are none, or they are of another network.
    """
    found = find(weights, arch)
    return Start(found.arch if found else arch, found)


def supervised(folder: Path, label: str, begin: Start, data: Data, training: Training, seed: int) -> dict[str, Any]:
    """Train a network on the labelled training images."""
    examples = data.examples("train")
    task = Classify(data.classes, training.label_smoothing)
    lesson = Lesson(label, task, (Part(examples, training.batch),), training.steps(len(examples)), training, seed)
    found = learn(folder, begin.network(data.classes, training, seed), lesson, data)
    return found | {"weights": begin.facts["weights"]}


def learn(folder: Path, network: Network, lesson: Lesson, data: Data) -> dict[str, Any]:
    """Teach `network` the lesson, and where its training asks for it fine-tune it behind that; see `_learn`."""

    def teach(place: Path, network: Network, phase: Phase) -> dict[str, Any]:
        label = f"{lesson.label}, {phase.name}" if phase.name else lesson.label
        part = replace(lesson, label=label, sources=phase.sources, steps=phase.steps, training=phase.training)
        return _learn(place, network, part, data)

    asked = phases(lesson.training, network.arch, lesson.sources, lesson.steps)
    return in_phases(folder, network, asked, teach, MODEL, LOG)


def _learn(folder: Path, network: Network, lesson: Lesson, data: Data) -> dict[str, Any]:
    """Teach `network` to the end, from its checkpoint where there is one; the best weights stay in `model.safetensors`.

    The averaged weights are judged on the validation split; of equally good ones the later are kept.

    Raises:
        UserError: the loss is not a number; the batch that it came from is kept beside the log.
    """
    training = lesson.training
    stream, task = _stream(lesson, train_side(network.arch, training), data), _weighted(lesson.task, data, training)
    if training.sync_norm:
        synchronise(network)
    way = _way(folder, network.to(choose().name), lesson)
    device = way.device(choose())
    exam = lesson.exam or Exam(Classify(data.classes), data.examples("validation"), data.classes)
    state = State.new(network, training, lesson.seed)
    task = _choosy(task, state, lesson)
    way.apply(state.model, device)
    checkpoints = Checkpoints(folder)
    checkpoints.restore(state)
    every = training.evaluate_every or max(1, -(-lesson.steps // EVALUATIONS))
    until = state.step if stop(state.scores, training) else lesson.steps
    batches, pace = stream.run(state.step, until, device=device.name), Pace()
    with work(lesson.label, lesson.steps) as progress, Log(folder / LOG, state.step) as log:
        for step in train(state, task, batches, training, lesson.steps, device):
            line = _line(step, lesson, folder, stream)
            if step.number % every == 0 or step.number == lesson.steps:
                line["validation"] = _judged(state, folder, exam, device)
            log.add(line)
            record(lesson.label, line, lambda images=step.batch.images: images[:PICTURES].cpu().numpy())
            over = step.number == lesson.steps or stop(state.scores, training)
            if over or step.number % training.checkpoint_every == 0:
                log.settle()
                checkpoints.save(state)
            speed = f"{pace.after(len(step.batch) * current().size):.0f} images/s"
            progress.at(step.number, f"loss {line['loss']:.3f}, best {max(state.best, 0):.1%}, {speed}")
            if over:
                break
    current().agree(lambda: (folder / WAY).unlink(missing_ok=True))
    checkpoints.clear()
    found = {"arch": str(network.arch), "steps": state.step, "best_step": state.best_step, "validation": state.best}
    return found | {"way": plain(way)}


def _way(folder: Path, network: Network, lesson: Lesson) -> Way:
    """How the steps are computed: as it was decided when the training began, so that one that goes on is exact."""
    training, team = lesson.training, current()
    images = sum(part.count for part in lesson.sources) // training.accumulate // team.size
    if training.checkpoint_activations or training.accumulate > 1 or team.size > 1:
        training = replace(training, compile="off")  # what is compiled is one network with one shape of batches, alone

    def decide() -> dict[str, Any]:
        if not (folder / WAY).exists():
            computed = lesson.steps * training.accumulate  # so many parts of batches
            write_json(folder / WAY, choose_way(network, training, max(1, images), computed, choose()))
        return read_json(folder / WAY)

    return read_way(team.agree(decide))


def _judged(state: State, folder: Path, exam: Exam, device: Device) -> dict[str, float]:
    """How good the averaged weights are on the images of the exam; the best so far are written."""
    arch = state.ema.arch
    images = in_order(exam.examples, arch.resolution, view=arch.preprocessing.view)
    given = answers(state.ema, exam.task, images, device)
    found = exam.task.metrics(given, torch.from_numpy(exam.examples.targets))
    score = next(iter(found.values()))
    state.scores.append(score)
    if score >= state.best:
        state.best, state.best_step = score, state.step
        save_network(state.ema, folder / MODEL, exam.outputs, exam.kind)
    return found


def _line(step: Step, lesson: Lesson, folder: Path, stream: Stream) -> dict[str, Any]:
    """What the log says of a step."""
    *losses, gradient = torch.stack([*step.losses.values(), step.gradient]).tolist()  # waits for an accelerator once
    terms = dict(zip(step.losses, losses, strict=True))
    line = {"step": step.number, "rate": step.rate, "loss": sum(losses), **terms, "gradient": gradient}
    wrong = [name for name, value in line.items() if not math.isfinite(value)]
    if wrong:
        kept = folder / "not-finite.npz"
        _keep_batch(kept, step, stream)
        raise UserError(
            f"{lesson.label}: the {wrong[0]} of step {step.number} is not a finite number; lower training.rate or set "
            f"training.clip. What it came from is in {kept}"
        )
    return line


def _keep_batch(path: Path, step: Step, stream: Stream) -> None:
    """Images as the network saw them, their targets, and which images of the data they are."""
    ids = [
        part.examples.store.ids[part.examples.positions[row]]
        for index, part in enumerate(stream.parts)
        for row in stream.own_rows(index, step.number - 1)
    ]
    buffer = io.BytesIO()
    batch = step.batch.to("cpu")
    np.savez_compressed(buffer, images=batch.images, targets=batch.targets, labelled=batch.labelled, ids=np.array(ids))
    write_atomic(path, buffer.getvalue())


def _stream(lesson: Lesson, resolution: int, data: Data) -> Stream:
    """The batches of a lesson: labelled images as often as `class_balance` says; a pile is balanced when it is chosen."""
    training = lesson.training
    sources = tuple(_drawn(part, training) for part in lesson.sources)
    return Stream(sources, training.augment, data.mirrors(training.augment.flips), resolution, lesson.seed)


def _drawn(part: Part, training: Training) -> Part:
    if not training.class_balance or not part.examples.labelled:
        return part
    return replace(part, weights=balanced(part.examples.targets, training.class_balance))


def _choosy(task: Task, state: State, lesson: Lesson) -> Task:
    """Classification that drops the largest losses, more of them from step to step, where `small_loss` asks for it."""
    share, steps = lesson.training.small_loss, max(1, round(GROWTH * lesson.steps))
    if not share or not isinstance(task, Classify):
        return task
    return SmallLoss(task, share, lambda: min(1.0, state.step / steps))


def _weighted(task: Task, data: Data, training: Training) -> Task:
    """Classification with `class_weights`; a task that looks at no labels as it is."""
    if training.class_weights == "none" or not isinstance(task, Classify):
        return task
    return replace(task, weights=tuple(scarcity(data.examples("train").targets).tolist()))
