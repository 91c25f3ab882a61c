"""Successive halving on the user's own data: candidates trained briefly, the worse half dropped, the rest trained for longer.

Every rung trains its networks from their start again, for twice as many steps as the rung before, so each has a whole
schedule and the rungs cost about the same: N networks cost N x log2(N) times the first training (Jamieson and Talwalkar
2016, 1502.07943). All of a rung see the same images in the same order.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from eyas.arch.cost import cost
from eyas.arch.parse import like, parse
from eyas.arch.spec import Arch
from eyas.data.batches import Part
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.nn.build import Network
from eyas.nn.inherit import inherit
from eyas.progress import say
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.learning import MODEL, Lesson, Start, learn, start
from eyas.studies.plan_candidates import Candidate
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
from eyas.team import current

STEPS = 50  # of the first rung
BATCH = 32  # where the training's own is still to be found


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a brief training found of a network.

    Attributes:
        arch: as text.
        rung: the last one that it was trained in, from 1.
        steps: of that rung.
        validation: accuracy on the validation split behind it.
    """

    arch: str
    rung: int
    steps: int
    validation: float


@dataclass(frozen=True)
class Trainer:
    """How candidates are trained for a look.

    Attributes:
        run: the stages go there.
        data: what on; validation images judge.
        training: of the run; only its length changes.
        teacher: what the networks may inherit from; None where there is none.
        weights: `none` begins with drawn ones; else with published ones where they are installed.
        seed: of all networks alike.
    """

    run: Run
    data: Data
    training: Training
    teacher: Start | None
    weights: str
    seed: int


def check_count(explore: int) -> None:
    """Whether so many candidates can be explored; 0: none are.

    Raises:
        UserError: they cannot.
    """
    if explore < 0 or explore == 1:
        raise UserError(f"--explore is {explore}; it must be 2 or above, for one network is compared with nothing, or 0")


def short_list(fitting: Iterable[Candidate], count: int) -> list[str]:
    """The preferred network of each table, then the second of each, until there are `count`; formats do not matter here."""
    tables: dict[str, list[str]] = {}
    for one in fitting:
        names = tables.setdefault(one.table, [])
        if one.arch not in names:
            names.append(one.arch)
    longest = max(map(len, tables.values()), default=0)
    turns = [names[turn] for turn in range(longest) for names in tables.values() if turn < len(names)]
    return turns[:count]


def explore(trainer: Trainer, archs: Sequence[str], steps: int = STEPS) -> dict[str, Proxy]:
    """Train, drop the worse half, train the rest for longer, until one is left; what is found of each, by name.

    Args:
        trainer: how.
        archs: networks, the preferred first: of two that do equally well the first stays.
        steps: of the first rung.
    """
    left, found = list(archs), dict[str, Proxy]()
    _announce(trainer, left, steps)
    for rung, (count, length) in enumerate(rungs(len(archs), steps), start=1):
        left = left[:count]
        scores = {name: _trained(trainer, name, rung, length).result["validation"] for name in left}
        found |= {name: Proxy(name, rung, length, score) for name, score in scores.items()}
        left.sort(key=lambda name: -scores[name])
    return found


def apply(found: dict[str, Proxy], candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates with what was found of their networks."""
    return [
        replace(one, explored=found[one.arch].validation, rung=found[one.arch].rung) if one.arch in found else one
        for one in candidates
    ]


def rungs(count: int, steps: int = STEPS) -> list[tuple[int, int]]:
    """Networks and steps of each rung, until one network is left."""
    found = []
    while count > 1:
        found.append((count, steps))
        count, steps = math.ceil(count / 2), 2 * steps
    return found


def _trained(trainer: Trainer, name: str, rung: int, steps: int) -> Done:
    begin, training = _start(trainer, name), _brief(trainer.training, steps)
    inputs = {"start": begin.facts, "data": trainer.data.digest, "training": training, "seed": trainer.seed}
    inputs["teacher"] = trainer.teacher.facts if trainer.teacher else None

    def teach(folder: Path) -> dict[str, Any]:
        network, data = _network(trainer, begin, training), trainer.data
        task = Classify(data.classes, training.label_smoothing)
        sources = (Part(data.examples("train"), training.batch),)
        lesson = Lesson(f"exploring {name}, rung {rung}", task, sources, steps, training, trainer.seed)
        result = learn(folder, network, lesson, data)
        current().agree(lambda: (folder / MODEL).unlink(missing_ok=True))  # its accuracy is all that is wanted of it
        return result

    return trainer.run.joint_stage(f"explore/rung-{rung}/{name.replace('/', '-stride-')}", teach, **inputs)


def _start(trainer: Trainer, name: str) -> Start:
    arch = like(parse(name), trainer.teacher.arch) if trainer.teacher else parse(name)
    if trainer.teacher and str(arch) == str(trainer.teacher.arch):
        return trainer.teacher
    return start(arch, "none" if trainer.weights == "none" else "auto")


def _network(trainer: Trainer, begin: Start, training: Training) -> Network:
    """The network as it would begin as a student; the teacher gives what weights it begins with itself."""
    classes, seed = trainer.data.classes, trainer.seed
    network = begin.network(classes, training, seed)
    if trainer.teacher and trainer.teacher.weights and not begin.weights and inherits(begin.arch, trainer.teacher.arch):
        inherit(network, trainer.teacher.network(classes, training, seed))
    return network


def inherits(arch: Arch, teacher: Arch) -> bool:
    """Whether a network can take over a teacher's most important channels."""
    return (arch.name, arch.depth) == (teacher.name, teacher.depth) and arch.width <= teacher.width


def _brief(training: Training, steps: int) -> Training:
    """The training for so many steps: judged once, at its end, and fine-tuned not at all."""
    batch = training.batch or BATCH
    return replace(training, batch=batch, evaluate_every=steps, fine_tune=0.0, plateau=0, patience=0, compile="off")


def _announce(trainer: Trainer, archs: Sequence[str], steps: int) -> None:
    """Say beforehand what it costs: the time of one step, measured on the first network, times all MAdds."""
    asked, classes = rungs(len(archs), steps), len(trainer.data.classes)
    text = ", then ".join(f"{count} networks for {length} steps" for count, length in asked)
    mean = sum(cost(parse(name), classes).madds for name in archs) / len(archs)
    seconds = sum(count * length for count, length in asked) * mean * _seconds_a_madd(trainer, archs[0])
    say(f"exploring {text}; about {_duration(seconds)} in all")


def _seconds_a_madd(trainer: Trainer, name: str) -> float:
    """What a training step takes, over the MAdds of its network."""
    begin, training, device = _start(trainer, name), _brief(trainer.training, 1), choose()
    network = begin.network(trainer.data.classes, training, trainer.seed).to(device.name).train()
    side = begin.arch.resolution
    images = torch.zeros(training.batch, side, side, 3, dtype=torch.uint8, device=device.name)
    for _ in range(2):  # the first allocates
        began = perf_counter()
        network(images).float().square().sum().backward()
        if device.name != "cpu":
            torch.cuda.synchronize()
        took = perf_counter() - began
    return took / cost(begin.arch, len(trainer.data.classes)).madds


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
