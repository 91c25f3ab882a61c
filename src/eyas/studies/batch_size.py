"""`training.batch 0`: the largest batch that fits into memory, found once in a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from eyas.data.batches import Part, Stream
from eyas.learn.batch_size import largest
from eyas.learn.device import choose
from eyas.recipe import Training
from eyas.run import Run
from eyas.studies.learning import Start
from eyas.studies.prepare import Data
from eyas.tasks.classify import Classify
from eyas.team import current


def settled(run: Run, name: str, begin: Start, data: Data, training: Training, ratio: int = 0) -> Training:
    """The training with its batch. Where that is 0, a stage finds it, so that it is the same for all that share it.

    Args:
        run: keeps what was found.
        name: of the stage.
        begin: the largest network that will be trained so.
        data: what on.
        training: as it was asked for.
        ratio: unlabelled images in a batch for each labelled one.
    """
    if training.batch:
        return training

    def find(_: Path) -> dict[str, Any]:
        labelled, device = data.examples("train"), choose()
        flips, side = data.mirrors(training.augment.flips), begin.arch.resolution
        sample = Stream((Part(labelled, 1 + ratio),), training.augment, flips, side, seed=0).at(0)
        network = begin.network(data.classes, training, seed=0).to(device.name)
        return {"batch": largest(network, Classify(data.classes), sample, training, device, len(labelled))}

    done = run.stage(name, find, start=begin.facts, data=data.digest, training=training, ratio=ratio)
    return replace(training, batch=done.result["batch"] * current().size)  # it fits into one of several devices
