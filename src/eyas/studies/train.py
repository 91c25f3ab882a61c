"""`eyas train`: one supervised run."""

from dataclasses import dataclass
from pathlib import Path

import torch

from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.nn.weights import has_published
from eyas.recipe import Splits, Training
from eyas.run import Run, write_json
from eyas.studies.learning import supervised, test_of
from eyas.studies.prepare import choose_resolution, prepare
from eyas.studies.proof import Accuracy


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
    training: Training = Training(),
    splits: Splits = Splits(),
    labels: int = 0,
    seed: int = 0,
) -> Trained:
    """Train one network on labelled images.

    Args:
        data: labelled images: a folder of class folders, a CSV, or a built-in set (elpv, fashion-mnist).
        out: directory of the run; the same command goes on with it.
        arch: for example mobilenet_v1x0.5@160; auto takes what is installed with published weights.
        training: how it is trained.
        splits: shares held out where the data does not say.
        labels: use only so many labels besides those of the test split; 0 uses all.
        seed: what all randomness follows from.

    Raises:
        UserError: the data, the architecture or the directory cannot be used.
    """
    source = str(data)
    value = choose_arch(arch, source)
    with Run.open(out) as run:
        ready = prepare(run, source, None, labels, splits, value.resolution, seed, hidden_joins_pile=False)
        asked = {"study": "train", "data": source, "arch": str(value), "labels": labels, "seed": seed}
        write_json(run.path / "recipe.json", {**asked, "training": training, "splits": splits})
        trained = run.stage(
            "model",
            lambda folder: supervised(folder, "training", value, ready, training, seed),
            arch=str(value),
            data=ready.digest,
            training=training,
            seed=seed,
        )
        tested = run.stage("test", lambda _: test_of({"model": trained.folder}, ready), model=trained.digest, data=ready.digest)
    return Trained(Path(out), str(value), Accuracy(**tested.result["model"]["accuracy"]))


def choose_arch(arch: str, data: str) -> Arch:
    """The architecture of that name; `auto`: the strongest with published weights installed, at a resolution for the data.

    Images of 64 pixels and less keep a feature map of 8 times less, not 32 (Noisy Student's code does so at 32 pixels).
    """
    if arch != "auto":
        return parse(arch)
    resolution = choose_resolution(data, torch.cuda.is_available())
    if resolution <= 64:
        return parse(f"mobilenet_v1x0.5@{resolution}/8")
    published = has_published(parse("efficientnet_lite0"))
    return parse(f"{'efficientnet_lite0' if published else 'mobilenet_v1'}@{resolution}")
