"""Training below the resolution of evaluation, and the short fine-tune at it that ends the training (FixRes).

Random crops show a network things larger than they are in a whole image of the same size, so one that is evaluated at a
larger resolution than it was trained at sees them as large as it learnt them (Touvron et al. 2019, 1906.06423). What then
no longer fits, the statistics of the deep layers and the classifier, is fine-tuned at the resolution of evaluation.
Noisy Student trains so (section 3.1): 1.5 epochs on labelled images without noise, with the shallow layers fixed.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eyas.arch.spec import Arch, scaled_stages
from eyas.data.batches import Part
from eyas.nn.build import Network
from eyas.nn.weights import tensors_of
from eyas.recipe import Training
from eyas.run import read_json, write_atomic, write_json
from eyas.team import current

SLOWER = 0.1  # rate of the fine-tune over the peak of the training
MILD = 0.9  # share of what evaluation sees that a crop of the fine-tune keeps at least
RESULT = "result.json"  # of a phase that is done


@dataclass(frozen=True)
class Phase:
    """A part of a training: its name ("" for the main one), how it is trained, on what, and for how many steps."""

    name: str
    training: Training
    sources: tuple[Part, ...]
    steps: int


Teach = Callable[[Path, Network, Phase], dict[str, Any]]
"""Trains a network in a folder and returns `arch`, `steps`, `best_step` and `validation`."""


def train_side(arch: Arch, training: Training) -> int:
    """Side in pixels of the training images: a whole multiple of the network's total stride, unless it is evaluation's."""
    if training.train_resolution == 1:
        return arch.resolution
    stride = arch.total_stride
    return min(arch.resolution, stride * max(1, round(training.train_resolution * arch.resolution / stride)))


def shallow(arch: Arch) -> int:
    """How many stages, from the stem on, work on larger maps than the last: they are fixed in the fine-tune."""
    return max(index for index, stage in enumerate(scaled_stages(arch)) if stage.stride > 1 or index == 0)


def phases(training: Training, arch: Arch, sources: tuple[Part, ...], steps: int) -> tuple[Phase, ...]:
    """The training as it was asked for, and behind it the fine-tune where `training.fine_tune` asks for one."""
    main = Phase("", training, sources, steps)
    if not training.fine_tune:
        return (main,)
    batch = training.batch or sum(part.count for part in sources)
    (labelled,) = (replace(part, count=batch) for part in sources if part.examples.labelled)
    gently = fine_tuning(training, arch)
    return main, Phase("fine-tuning", gently, (labelled,), gently.steps(len(labelled.examples)))


def fine_tuning(training: Training, arch: Arch) -> Training:
    """How the end of `training` is trained: at evaluation's resolution, on nearly what evaluation sees, slowly."""
    augment = training.augment
    crop = max(augment.crop, MILD * training.test_crop**2)  # of the area; a test crop shows things larger, as a crop does
    return replace(
        training,
        epochs=training.fine_tune,
        min_steps=1,
        rate=SLOWER * training.rate,
        schedule="constant",
        warmup=0.0,
        plateau=0,
        patience=0,
        freeze=max(training.freeze, shallow(arch)),
        train_resolution=1.0,
        fine_tune=0.0,
        augment=replace(augment, operations=0, erase=0.0, mixup=0.0, cutmix=0.0, crop=crop),
    )


def in_phases(folder: Path, network: Network, asked: tuple[Phase, ...], teach: Teach, model: str, log: str) -> dict[str, Any]:
    """Train `network` in every phase, each from the best weights of the one before; the best of all stay in `folder`.

    A phase that was finished before is not done again. Of equally good weights the later are kept.

    Args:
        folder: where files `model` and `log` are left; the phases are folders in it until all are done.
        network: what begins the first phase; it is changed.
        asked: the phases, as `phases` made them.
        teach: trains one.
        model: name of the file that `teach` leaves the best weights in.
        log: name of the file that it leaves a line for each step in, with its `step`.
    """
    if len(asked) == 1:
        return teach(folder, network, asked[0])
    team = current()
    places = [folder / f".phase-{number}" for number in range(1, len(asked) + 1)]
    results: list[dict[str, Any]] = []
    for place, phase in zip(places, asked, strict=True):
        if results:
            network.load_state_dict(tensors_of(places[len(results) - 1] / model))
        kept = team.agree(lambda place=place: _begun(place))
        if kept is None:
            made = teach(place, network, phase)
            team.agree(lambda place=place, made=made: write_json(place / RESULT, made))
        results.append(kept or made)
    return team.agree(lambda: _assembled(folder, places, results, model, log))


def _begun(place: Path) -> dict[str, Any] | None:
    """The result of a phase that was finished before."""
    place.mkdir(exist_ok=True)
    return read_json(place / RESULT) if (place / RESULT).exists() else None


def _assembled(folder: Path, places: list[Path], results: list[dict[str, Any]], model: str, log: str) -> dict[str, Any]:
    """The best weights of all phases and one log, left in `folder`; the phases' own folders go."""
    scores = [result["validation"] for result in results]
    best = max(range(len(scores)), key=lambda index: (scores[index], index))
    before = [sum(result["steps"] for result in results[:index]) for index in range(len(results))]
    write_atomic(folder / model, (places[best] / model).read_bytes())
    lines = [line for place, offset in zip(places, before, strict=True) for line in _shifted(place / log, offset)]
    write_atomic(folder / log, ("\n".join(lines) + "\n").encode())
    for place in places:
        shutil.rmtree(place)
    return {
        **results[best],
        "steps": sum(result["steps"] for result in results),
        "best_step": before[best] + results[best]["best_step"],
        "phases": scores,
    }


def _shifted(log: Path, offset: int) -> list[str]:
    """The lines of a log, their steps counted from the beginning of the training."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [json.dumps(line | {"step": line["step"] + offset}) for line in lines]
