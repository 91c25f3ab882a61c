"""The model that fits: the best one where it fits itself, else a small network that learns to answer as it does."""

import shutil
from pathlib import Path
from typing import Any

from eyas.data.batches import Part
from eyas.learn.device import choose
from eyas.nn.inherit import inherit
from eyas.nn.weights import load_network
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.learning import LOG, MODEL, Lesson, Start, learn
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Distill


def fitted_student(run: Run, best: Done, begin: Start, data: Data, training: Training, seed: int) -> Done:
    """The stage that leaves it; `begin` is what fits."""
    inputs = {"best": best.digest, "start": begin.facts, "data": data.digest, "distillation": training, "seed": seed}
    if best.result["arch"] == str(begin.arch):
        return run.stage("student", lambda folder: keep(folder, best), **inputs)
    return run.joint_stage("student", lambda folder: distil(folder, best, begin, data, training, seed), **inputs)


def keep(folder: Path, best: Done) -> dict[str, Any]:
    """The best model is small enough itself."""
    for name in (MODEL, LOG):
        shutil.copyfile(best.folder / name, folder / name)
    return best.result


def distil(folder: Path, best: Done, begin: Start, data: Data, training: Training, seed: int) -> dict[str, Any]:
    """Teach a small network to answer as the best one does, on labelled and unlabelled images alike."""
    teacher, _ = load_network(best.folder / MODEL)
    network, small = begin.network(data.classes, training, seed), begin.arch
    if (small.name, small.depth) == (teacher.arch.name, teacher.arch.depth) and small.width <= teacher.arch.width:
        inherit(network, teacher)
    labelled = data.examples("train")
    pile = data.unlabelled() if data.pile is not None and len(data.pile) else None
    images = len(labelled) + (len(pile) if pile else 0)
    # Labels are not looked at, so both kinds are drawn as they come: in proportion.
    share = min(training.batch, max(1, round(training.batch * len(labelled) / images)))
    sources = (Part(labelled, share),)
    if pile and share < training.batch:
        sources = (*sources, Part(pile, training.batch - share))
    task = Distill(Classify(data.classes), teacher.to(choose().name))
    lesson = Lesson("fitted student", task, sources, training.steps(images), training, seed)
    return learn(folder, network, lesson, data)
