"""Training on much noisily labelled data before the clean data of the task (MobileNets, section 4.3)."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from eyas.data.duplicates import firewall
from eyas.data.label_noise import with_wrong_labels
from eyas.data.manifest import Manifest
from eyas.data.readers import read
from eyas.data.splits import draw_test
from eyas.errors import UserError
from eyas.nn.published import find
from eyas.nn.weights import load_network
from eyas.progress import say
from eyas.recipe import Splits, Training
from eyas.run import Run
from eyas.studies.learning import MODEL, Start, supervised
from eyas.studies.prepare import Data, prepare

FOLDER = "pretraining"  # in the run; its stages are as those of a run of eyas train
APART = "apart"
KEPT = "manifest.parquet"


def pretrained(
    run: Run,
    noisy: str,
    begin: Start,
    data: Data,
    training: Training,
    splits: Splits,
    seed: int,
    cache: Path | None,
    reader: Callable[[str], Manifest] = read,
) -> Start:
    """What a network begins the task with after training on `noisy`: its backbone, and its head where the classes are the same.

    Images of the task's validation and test splits, near copies among them, are taken out of the noisy data first. What is
    chosen there is chosen by noisy labels, on its validation split; its test split, which nobody would look at, is trained
    on. Nothing of the task's test split is looked at.

    Args:
        run: the task's; what is done here is in the folder `pretraining` of it.
        noisy: labelled images, whose classes may be others.
        begin: what the pretraining begins with.
        data: of the task.
        training: of the noisy data; `small_loss` and `label_smoothing` are made for wrong labels.
        splits: shares held out of the noisy data.
        seed: what all randomness follows from.
        cache: the folder that decoding is shared between runs through.
        reader: of the noisy data.

    Raises:
        UserError: the noisy data cannot be used, or nothing is left of it.
    """
    (run.path / FOLDER).mkdir(exist_ok=True)
    inner, side, view = Run(run.path / FOLDER), begin.arch.resolution, training.test_crop
    ready = prepare(inner, noisy, None, 0, splits, side, seed, False, cache, view=view, reader=reader)

    def part(folder: Path) -> dict[str, Any]:
        kept, found = firewall(ready.manifest, ready.store, data.manifest, data.store)
        untested(kept).save(folder / KEPT)
        return found

    apart = inner.stage(APART, part, noisy=ready.digest, data=data.digest)
    clean = replace(ready, manifest=Manifest.load(apart.folder / KEPT))
    _say_dropped(noisy, apart.result, len(ready.manifest))
    if min(len(clean.manifest.where(split=split)) for split in ("train", "validation")) < len(clean.classes):
        raise UserError(
            f"{len(clean.manifest)} images of {noisy} are left to pretrain on, for {len(clean.classes)} classes; the others "
            "are in the data itself"
        )
    done = inner.joint_stage(
        "model",
        lambda folder: supervised(folder, "pretraining", begin, clean, training, seed),
        start=begin.facts,
        data=apart.digest,
        training=training,
        seed=seed,
    )
    return _after(done.folder / MODEL, begin, data.classes)


def reader_of(label_noise: float, splits: Splits, seed: int, tested: bool = True) -> Callable[[str], Manifest]:
    """What `prepare` reads data with: as it is, or with so many wrong labels outside the test split, for study.

    Of data that is not `tested`, labels anywhere are wrong.
    """
    if not label_noise:
        return read

    def found(source: str) -> Manifest:
        manifest = read(source)
        return with_wrong_labels(draw_test(manifest, splits, seed) if tested else untested(manifest), label_noise, seed)

    return found


def untested(manifest: Manifest) -> Manifest:
    """The rows with those of the test split among those to train on."""
    return manifest.with_splits(["train" if split == "test" else split for split in manifest.column("split")])


def for_noisy(training: Training) -> Training:
    """How the noisy data is learned: every stage at the full rate."""
    return replace(training, layer_decay=1.0, freeze=0)


def for_clean(training: Training) -> Training:
    """How the task's own data is learned after that: no label of it is doubted."""
    return replace(training, small_loss=0.0)


def _after(model: Path, begin: Start, classes: tuple[str, ...]) -> Start:
    """The start from a pretrained model; the head is new where it was for other classes."""
    weights = find(str(model), begin.arch)
    assert weights
    with model.open("rb") as file:
        origin = f"{FOLDER}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
    known = load_network(model)[1]
    return Start(weights.arch, replace(weights, origin=origin), new_head=known != classes)


def _say_dropped(noisy: str, found: dict[str, Any], images: int) -> None:
    dropped = images - found["images"]
    if dropped:
        say(f"{dropped} of {images} images of {noisy} are not pretrained on: the data itself holds them, or copies of them")
