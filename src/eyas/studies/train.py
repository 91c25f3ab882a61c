"""`eyas train`: one supervised run."""

from dataclasses import dataclass
from pathlib import Path

import torch

from eyas.arch.parse import parse
from eyas.arch.scale import at, strided
from eyas.arch.spec import Arch
from eyas.nn.published import find, installed
from eyas.progress import say
from eyas.recipe import Splits, Training
from eyas.run import Run, write_json
from eyas.studies.answering import test_of
from eyas.studies.batch_size import settled
from eyas.studies.learning import Start, start, supervised
from eyas.studies.prepare import cache_of, choose_resolution, prepare
from eyas.studies.proof import Accuracy
from eyas.studies.suspects import check_held_out

SMALL, STRIDE = 64, 8  # pixels of a small image, and the output stride that it gets


@dataclass(frozen=True)
class Trained:
    """What `eyas train` leaves: the run's directory and the accuracy on the test split."""

    run: Path
    arch: str
    test: Accuracy


def train(
    data: str | Path,
    out: str | Path,
    arch: str = "auto",
    weights: str = "auto",
    training: Training = Training(),
    splits: Splits = Splits(),
    labels: int = 0,
    seed: int = 0,
    cache_dir: str = "auto",
) -> Trained:
    """Train one network on labelled images.

    Args:
        data: labelled images: a folder of class folders, a CSV, or a built-in set (elpv, fashion-mnist).
        out: directory of the run; the same command goes on with it.
        arch: for example mobilenet_v1x0.5@160; auto takes what the weights are of, else what is installed with some.
        weights: what to begin with: auto (those of an installed package), none, a file, hf:OWNER/NAME or torchvision:NAME.
        training: how it is trained.
        splits: shares held out where the data does not say.
        labels: use only so many labels besides those of the test split; 0 uses all.
        seed: what all randomness follows from.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.

    Raises:
        UserError: the data, the architecture or the directory cannot be used.
    """
    source = str(data)
    begin = choose_start(arch, weights, source)
    value = begin.arch
    with Run.open(out) as run:
        cache, view = cache_of(cache_dir), training.test_crop
        ready = prepare(run, source, None, labels, splits, value.resolution, seed, False, cache, view=view)
        asked = {"study": "train", "data": source, "arch": str(value), "weights": weights, "labels": labels, "seed": seed}
        write_json(run.path / "recipe.json", {**asked, "training": training, "splits": splits})
        training = settled(run, "batch", begin, ready, training)
        trained = run.joint_stage(
            "model",
            lambda folder: supervised(folder, "training", begin, ready, training, seed),
            start=begin.facts,
            data=ready.digest,
            training=training,
            seed=seed,
        )
        tested = run.joint_stage(
            "test", lambda _: test_of({"model": trained.folder}, ready), model=trained.digest, data=ready.digest
        )
        check_held_out(run, trained, ready)
    return Trained(Path(out), str(value), Accuracy(**tested.result["model"]["accuracy"]))


def choose_start(arch: str, weights: str, data: str) -> Start:
    """The architecture of that name and its weights; `auto`: what the weights are of, at a resolution for the data.

    Raises:
        UserError: one of them is not known, or they do not belong together.
    """
    if arch != "auto":
        return start(parse(arch), weights)
    resolution = choose_resolution(data, torch.cuda.is_available())
    given = find(weights) if weights not in ("auto", "none") else None
    if given:
        strong = given.arch
    elif resolution <= SMALL:
        strong = parse("mobilenet_v1x0.5")
    else:
        strong = parse("efficientnet_lite0" if weights == "auto" and installed(parse("efficientnet_lite0")) else "mobilenet_v1")
    return start(fitted_to(strong, resolution), weights)


def fitted_to(arch: Arch, resolution: int) -> Arch:
    """The architecture at a resolution; at a small one with an output stride of 8, so that its last map is not a point.

    Noisy Student's code does so at 32 pixels.
    """
    if resolution > SMALL or arch.total_stride <= STRIDE:
        return at(arch, resolution)
    say(f"the images are small: {arch.name} at {resolution} pixels gets an output stride of {STRIDE}, not {arch.total_stride}")
    return at(strided(arch, STRIDE), resolution)
