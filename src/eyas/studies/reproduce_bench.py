"""What all cells of a seed share: one teacher, what it says of the pile, and what was selected by that."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eyas.arch.scale import wider
from eyas.data.augment import apply, crops
from eyas.data.batches import Examples
from eyas.data.noise import draw
from eyas.data.pixels import pixel_kernels
from eyas.learn.device import choose as choose_device
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.progress import work
from eyas.recipe import Augment, SelfTraining, Training
from eyas.run import Done, Run
from eyas.studies.calibrate import calibrate
from eyas.studies.labelling import VERSION, label_pile
from eyas.studies.learning import MODEL, Start
from eyas.studies.noisy_student import School, self_train
from eyas.studies.prepare import Data, load
from eyas.studies.reproduce_cells import Cell, Change
from eyas.studies.select import choose, read_chosen
from eyas.studies.soft_labels import Form, Probabilities, write_shard

NOISED = "targets.parquet"
BATCH = 64
TEACHER, LABELS, NOISED_LABELS = "teacher", "labels", "noised-labels"


@dataclass(frozen=True)
class Bench:
    """A seed's teacher and what followed from it, as values that any process can take.

    Attributes:
        run: the directory.
        data: digest of what was prepared there.
        begin: what the teacher began as.
        training: how every network is trained.
        choice: what is taken from the pile.
        seed: what all randomness follows from.
        made: the finished stages that cells begin with.
    """

    run: Path
    data: str
    begin: Start
    training: Training
    choice: SelfTraining
    seed: int
    made: dict[str, Done]

    def stage(self, cell: Cell) -> str:
        """Where the cell leaves its result."""
        return f"seed-{self.seed}/cells/{cell.name}"

    def inputs(self, cell: Cell) -> dict[str, Any]:
        """All that it depends on, and nothing that only other cells depend on."""
        change = cell.change
        begun = {"start": student_start(self.begin, change).facts, **{name: self.made[name].digest for name in needs(change)}}
        asked: dict[str, Any] = {} if change.method == "teacher" else {"weighting": self.choice.weighting}
        if change.method == "fixmatch":
            asked["confidence"] = self.choice.confidence
        return {"change": change, "data": self.data, "training": self.training, "seed": self.seed} | begun | asked

    def done(self, cell: Cell) -> Done | None:
        """The cell, where it was trained before."""
        return Run(self.run).finished(self.stage(cell), **self.inputs(cell))


@cache
def prepared(run: Path, checksum: str) -> Data:
    """The data of a run, read once a process."""
    return load(run, checksum)


def needs(change: Change) -> tuple[str, ...]:
    """The stages that a cell begins with."""
    if change.method == "teacher":
        return (TEACHER,)
    if change.method != "noisy-student":
        return ()
    found = [LABELS, selection_of(change)]
    if change.labeller == "noised":
        found.append(NOISED_LABELS)
    if change.start == "teacher":
        found.append(TEACHER)
    return tuple(found)


def selection_of(change: Change) -> str:
    """The stage of the selection that a student learns from."""
    return "selection-balanced" if change.balance else "selection-unbalanced"


def student_start(begin: Start, change: Change) -> Start:
    """What the network of a cell begins as. Published weights fit one width only: another one begins with drawn ones."""
    return begin if change.width == 1 else Start(wider(begin.arch, change.width), None)


def bench_of(
    run: Run, data: Data, begin: Start, training: Training, choice: SelfTraining, seed: int, cells: Iterable[Cell]
) -> Bench:
    """Train a seed's teacher, have it label the pile, and select: once, for all `cells`."""
    prefix = f"seed-{seed}/"
    school = School(run, prefix, begin, (), data, training, choice, seed)
    teacher = self_train(school).teacher
    model = teacher.folder / MODEL
    labels = run.stage(
        f"{prefix}{LABELS}",
        lambda folder: label_pile(folder, model, data),
        version=VERSION,
        teacher=teacher.digest,
        data=data.digest,
    )
    made = {TEACHER: teacher, LABELS: labels}
    wanted = {name: cell.change for cell in cells for name in needs(cell.change)}
    for name, change in wanted.items():
        if name.startswith("selection"):
            made[name] = _selected(school, name, replace(choice, balance=change.balance), teacher, labels)
    if change := wanted.get(NOISED_LABELS):
        made[NOISED_LABELS] = _noised(school, teacher, made[selection_of(change)])
    return Bench(run.path, data.digest, begin, training, choice, seed, made)


def _selected(school: School, name: str, choice: SelfTraining, teacher: Done, labels: Done) -> Done:
    plain = SelfTraining()
    asked = replace(choice, rounds=plain.rounds, ratio=plain.ratio, weighting=plain.weighting, confidence=plain.confidence)
    return school.run.stage(
        f"{school.prefix}{name}",
        lambda folder: choose(folder, teacher.folder / MODEL, labels.folder, school.data, asked),
        teacher=teacher.digest,
        labels=labels.digest,
        choice=asked,
        data=school.data.digest,
    )


def _noised(school: School, teacher: Done, selection: Done) -> Done:
    """What the teacher says of the selected images when it is noised as a student is."""
    data, training = school.data, school.training

    def make(folder: Path) -> dict[str, Any]:
        ids = list(dict.fromkeys(read_chosen(selection.folder)[0]))
        network = noised_network(teacher.folder / MODEL, school)
        flips = data.mirrors(training.augment.flips)
        given = noised_answers(network, data.unlabelled(ids), training.augment, flips, school.seed)
        softened = calibrate(given, selection.result["temperature"])
        columns = {"id": ids, **Form.asked(len(data.classes), 0).columns(softened)}
        write_shard(folder / NOISED, columns, {"images": len(ids)})
        return {"images": len(ids)}

    return school.run.stage(
        f"{school.prefix}{NOISED_LABELS}",
        make,
        teacher=teacher.digest,
        selection=selection.digest,
        training=training,
        seed=school.seed,
    )


def noised_network(model: Path, school: School) -> Network:
    """The teacher with the dropout and stochastic depth that it was trained with."""
    network = school.begin.network(school.data.classes, school.training, school.seed)
    network.load_state_dict(load_network(model)[0].state_dict())
    return network


@torch.no_grad()
def noised_answers(network: Network, examples: Examples, augment: Augment, flips: str, seed: int) -> Probabilities:
    """Answers to images with input noise, dropout and stochastic depth; batch norm is as in evaluation.

    Images are not mixed with each other: an answer to a mixture would be no label of either.
    """
    device, side = choose_device(), network.arch.resolution
    alone = replace(augment, mixup=0.0, cutmix=0.0)
    network.to(device.name).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    found = [np.zeros((0, examples.targets.shape[1]), np.float32)]
    with torch.random.fork_rng(), work("labelling with noise", len(examples)) as progress:
        torch.manual_seed(seed)
        for start in range(0, len(examples), BATCH):
            places = examples.positions[start : start + BATCH]
            noise = draw(alone, flips, len(places), np.random.default_rng((seed, start, 1)))
            views = crops([examples.store[int(place)] for place in places], noise, side, pixel_kernels())
            logits = network(apply(views, noise, alone, pixel_kernels()).to(device.name))
            found.append(logits.float().softmax(1).cpu().numpy())
            progress.at(start + len(places))
    return np.concatenate(found)
