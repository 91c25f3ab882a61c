"""How any network of any study is trained, from its start to its best weights, and what it then answers."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import nn

from eyas.arch.parse import described
from eyas.arch.spec import Arch
from eyas.data.batches import Examples, Part, Stream, in_order
from eyas.data.sampling import balanced, scarcity
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.learn.evaluate import answers
from eyas.learn.state import State
from eyas.learn.train import train
from eyas.nn.build import Network, build
from eyas.nn.published import Weights, find, load
from eyas.nn.weights import load_network, save_network
from eyas.progress import work
from eyas.recipe import Training
from eyas.run import write_atomic
from eyas.studies.prepare import Data
from eyas.studies.proof import accuracy
from eyas.tasks.classify import Classify
from eyas.tasks.task import Task

MODEL = "model.safetensors"
LOG = "log.jsonl"
EVALUATIONS = 8  # on the validation split, in a run that does not say


@dataclass(frozen=True)
class Lesson:
    """What a network is to be taught: a task, on so many images of each source a step, for so many steps."""

    label: str
    task: Task
    sources: tuple[Part, ...]
    steps: int
    training: Training
    seed: int


@dataclass(frozen=True)
class Start:
    """What a network begins as: its architecture, and published weights unless they are drawn."""

    arch: Arch
    weights: Weights | None

    def network(self, classes: Sequence[str], training: Training, seed: int) -> Network:
        """The network, with a head for `classes`; what the weights do not hold is drawn from `seed`."""
        head = nn.Linear(self.arch.features, len(classes))
        network = build(self.arch, head, training.dropout, training.drop_path, training.norm_momentum, seed)
        if self.weights:
            load(network, self.weights)
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
    """Teach `network` to the end, from its checkpoint where there is one; the best weights stay in `model.safetensors`.

    The averaged weights are judged on the validation split; of equally good ones the later are kept.
    """
    training, steps, device = lesson.training, lesson.steps, choose()
    mirrors = data.mirrors(training.augment.flips)
    sources = tuple(_drawn(part, training) for part in lesson.sources)
    stream = Stream(sources, training.augment, mirrors, network.arch.resolution, lesson.seed)
    task = _weighted(lesson.task, data, training)
    state = State.new(network.to(device.name), training, lesson.seed)
    checkpoint = folder / ".checkpoint.safetensors"
    if checkpoint.exists():
        state.restore(checkpoint)
    lines = _log_until(folder / LOG, state.step)
    every = training.evaluate_every or max(1, -(-steps // EVALUATIONS))
    judge, validation = Classify(data.classes), data.examples("validation")
    with work(lesson.label, steps) as progress:
        for step in train(state, task, stream.run(state.step, steps, device=device.name), training, steps, device):
            losses = _floats(step.losses, lesson.label, step.number)
            line: dict[str, Any] = {"step": step.number, "rate": step.rate, **losses}
            if step.number % every == 0 or step.number == steps:
                given = answers(state.ema, judge, in_order(validation, stream.resolution), device)
                line["validation"] = judge.metrics(given, torch.from_numpy(validation.targets))
                if line["validation"]["accuracy"] >= state.best:
                    state.best, state.best_step = line["validation"]["accuracy"], step.number
                    save_network(state.ema, folder / MODEL, data.classes)
            lines.append(json.dumps(line))
            if step.number % training.checkpoint_every == 0 or step.number == steps:
                write_atomic(folder / LOG, ("\n".join(lines) + "\n").encode())
                state.save(checkpoint)
            progress.at(step.number, f"loss {sum(losses.values()):.3f}, best {max(state.best, 0):.1%}")
    checkpoint.unlink(missing_ok=True)
    return {"arch": str(network.arch), "steps": steps, "best_step": state.best_step, "validation": state.best}


def _drawn(part: Part, training: Training) -> Part:
    """Labelled images as often as `class_balance` says; a pile is balanced when it is chosen."""
    if not training.class_balance or not part.examples.labelled:
        return part
    return replace(part, weights=balanced(part.examples.targets, training.class_balance))


def _weighted(task: Task, data: Data, training: Training) -> Task:
    """Classification with `class_weights`; a task that looks at no labels as it is."""
    if training.class_weights == "none" or not isinstance(task, Classify):
        return task
    return replace(task, weights=tuple(scarcity(data.examples("train").targets).tolist()))


def probabilities(network: Network, examples: Examples) -> Float32[np.ndarray, "n k"]:
    """Answers of a network to images without noise."""
    device = choose()
    task = Classify(tuple(str(index) for index in range(examples.targets.shape[1])))
    return answers(network.to(device.name), task, in_order(examples, network.arch.resolution), device).numpy()


def correct(given: Float32[np.ndarray, "n k"], examples: Examples) -> Bool[np.ndarray, " n"]:
    """Which images were answered rightly."""
    return given.argmax(1) == examples.targets.argmax(1)


def test_of(folders: dict[str, Path], data: Data) -> dict[str, Any]:
    """Every model on the test split: accuracy with its interval, and the confusion matrix (rows: the truth)."""
    examples = data.examples("test")
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        network, _ = load_network(folder / MODEL)
        given = probabilities(network, examples)
        scored = asdict(accuracy(correct(given, examples)))
        found[name] = {"arch": str(network.arch), "accuracy": scored, "confusion": confusion(given, examples)}
    return found


def confusion(given: Float32[np.ndarray, "n k"], examples: Examples) -> list[list[int]]:
    """How often each class (row) was answered as each class (column)."""
    matrix = np.zeros((given.shape[1],) * 2, np.int64)
    np.add.at(matrix, (examples.targets.argmax(1), given.argmax(1)), 1)
    return matrix.tolist()


def _floats(losses: dict[str, torch.Tensor], label: str, step: int) -> dict[str, float]:
    values = {name: loss.item() for name, loss in losses.items()}
    if not all(np.isfinite(value) for value in values.values()):
        raise UserError(f"{label}: the loss is not finite at step {step}; lower training.rate or set training.clip")
    return values


def _log_until(path: Path, step: int) -> list[str]:
    """Lines of the log up to `step`: what came after it is done again."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
