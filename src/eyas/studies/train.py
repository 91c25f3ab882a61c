"""`eyas train`: one supervised run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from eyas.arch.parse import parse
from eyas.arch.scale import at, strided
from eyas.arch.spec import Arch
from eyas.data.readers import read, task_of
from eyas.errors import UserError
from eyas.nn.published import find, installed
from eyas.progress import say
from eyas.recipe import Splits, Training, to_dict
from eyas.run import Run, write_json
from eyas.studies.answering import test_of
from eyas.studies.batch_size import settled
from eyas.studies.learning import Start, start, supervised
from eyas.studies.prepare import cache_of, choose_resolution, prepare
from eyas.studies.pretrain import for_clean, for_noisy, pretrained, reader_of
from eyas.studies.proof import Accuracy
from eyas.studies.suspects import check_held_out
from eyas.studies.train_embed import Embedding
from eyas.studies.train_task import Asked, Detection, check_asked, check_options, prepare_task, train_task

SMALL, STRIDE = 64, 8  # pixels of a small image, and the output stride that it gets


@dataclass(frozen=True)
class Trained:
    """What `eyas train` leaves.

    Attributes:
        run: its directory.
        arch: the network.
        test: accuracy on the test split; of another task than classification, the figures that are measured of it.
        task: what was learned.
    """

    run: Path
    arch: str
    test: Accuracy | dict[str, Any]
    task: str = "classify"


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
    pretrain: str | Path | None = None,
    label_noise: float = 0.0,
    task: Literal["auto", "classify", "attributes", "embed", "detect"] = "auto",
    unlabeled: str | Path | None = None,
    teacher: str | Path | None = None,
    unlabeled_only: bool = False,
    columns: tuple[str, ...] = (),
    embedding: Embedding = Embedding(),
    detection: Detection = Detection(),
) -> Trained:
    """Train one network on labelled images: on a class, several attributes, an identity or boxes of each.

    Args:
        data: labelled images: a folder of class folders, a CSV, COCO's JSON, or a built-in set (elpv, fashion-mnist).
        out: directory of the run; the same command goes on with it.
        arch: for example mobilenet_v1x0.5@160; auto takes what the weights are of, else what is installed with some.
        weights: what to begin with: auto (those of an installed package), none, a file, hf:OWNER/NAME or torchvision:NAME.
        training: how it is trained.
        splits: shares held out where the data does not say.
        labels: use only so many labels besides those of the test split; 0 uses all.
        seed: what all randomness follows from.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.
        pretrain: noisily labelled images to train on first, whose classes may be others; training.layer_decay below 1 then
            keeps more of what was learned there, and training.small_loss is for them alone.
        label_noise: for study only: share of the labels outside the test split that get another class, drawn by seed; of
            `pretrain` where it is given.
        task: what is learned; auto asks the data: boxes are to be detected, several labels an image are attributes, and so are
            the columns of a table of them or those that `columns` names.
        unlabeled: images without labels, for attributes and embeddings beside a teacher, and for detection.
        teacher: a run whose answers are learned in place of the labels, for attributes and embeddings.
        unlabeled_only: whether they are learned on the unlabelled images alone.
        columns: of a table, that are attributes though they are no labels.
        embedding: how vectors are learned.
        detection: how things are found.

    Raises:
        UserError: the data, the architecture or the directory cannot be used, or an option is for another task.
    """
    source = str(data)
    chosen = task if task != "auto" else "attributes" if columns else task_of(source)
    pile, taught_by = (None if each is None else str(each) for each in (unlabeled, teacher))
    if chosen != "classify":
        if pretrain is not None or label_noise:
            raise UserError(f"--pretrain and --label_noise are for classes, and the task is {chosen}; leave them out")
        options = (pile, taught_by, unlabeled_only, columns, embedding, detection)
        asked = Asked(chosen, source, training, splits, labels, seed, *options)
        check_asked(asked)
        return _other(out, asked, choose_start(arch, weights, source), weights, cache_dir)
    check_options(chosen, training, pile, taught_by, unlabeled_only, columns)
    begin = choose_start(arch, weights, source)
    value = begin.arch
    with Run.open(out) as run:
        cache, view = cache_of(cache_dir), training.test_crop
        noisy = reader_of(label_noise, splits, seed, tested=pretrain is None)
        reader = read if pretrain is not None else noisy
        ready = prepare(run, source, None, labels, splits, value.resolution, seed, False, cache, view=view, reader=reader)
        asked = {"study": "train", "data": source, "arch": str(value), "weights": weights, "labels": labels, "seed": seed}
        noise = {"label_noise": label_noise} if label_noise else {}
        before = {"pretrain": str(pretrain)} if pretrain is not None else {}
        write_json(run.path / "recipe.json", {**asked, **before, **noise, "training": training, "splits": splits})
        training = settled(run, "batch", begin, ready, training)
        if pretrain is not None:
            begin = pretrained(run, str(pretrain), begin, ready, for_noisy(training), splits, seed, cache, noisy)
            training = for_clean(training)
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


def _other(out: str | Path, asked: Asked, begin: Start, weights: str, cache_dir: str) -> Trained:
    """The run of another task than classification."""
    with Run.open(out) as run:
        about = {"study": "train", "arch": str(begin.arch), "weights": weights}
        ready = prepare_task(run, asked, begin, cache_of(cache_dir))
        write_json(run.path / "recipe.json", about | to_dict(asked))
        model, tested = train_task(run, asked, begin, ready)
    return Trained(Path(out), model.result["arch"], tested.result, asked.task)


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
