"""The attributes of a run's images, and how well a network tells them, with intervals."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eyas.data.attributes import attribute_names, attribute_targets, by_attributes, say_constant
from eyas.data.batches import Examples, in_order
from eyas.data.manifest import Manifest, Split
from eyas.data.readers import read_attributes
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.learn.evaluate import answers
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.recipe import Training
from eyas.run import Done, Run
from eyas.studies.learning import MODEL, Exam
from eyas.studies.prepare import Data, positions
from eyas.tasks.attributes import Attributes
from eyas.tasks.scores import precision_draws

RESAMPLES = 1000

Rows = Float[np.ndarray, "n k"]


@dataclass(frozen=True)
class Precision:
    """Average precision with its 95 % bootstrap interval: images are drawn again.

    Attributes:
        value: of one attribute, or the mean of several.
        low: lower end.
        high: upper end.
        images: that it is known of.
        there: how many of them have the attribute; of a mean, how many attributes there are in it.
    """

    value: float
    low: float
    high: float
    images: int
    there: int


@dataclass(frozen=True)
class Told:
    """How well attributes are told: the mean over those that differ among the images, each of them, and the constant ones."""

    mean: Precision
    each: dict[str, Precision]
    constant: tuple[str, ...]


@dataclass(frozen=True)
class Attributed:
    """Prepared images with their attributes as targets."""

    data: Data
    names: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, data: Data, columns: tuple[str, ...] = ()) -> "Attributed":
        """Those of `data`, from its labels, or from the named columns."""
        return cls(data, attribute_names(data.manifest, columns), columns)

    def examples(self, split: Split) -> Examples:
        """The images of a split.

        Raises:
            UserError: there are none.
        """
        rows = self.data.rows(split)
        targets = attribute_targets(rows, self.names, self.columns)
        return Examples(self.data.store, positions(self.data.store, rows), targets, labelled=True)

    def pile(self) -> Examples | None:
        """The images that nothing is known of; none where there are none."""
        if self.data.pile is None or not len(self.data.pile):
            return None
        return self.data.unlabelled(targets=np.full((len(self.data.pile), len(self.names)), np.nan, np.float32))

    def exam(self) -> Exam:
        """What networks are judged by: mean average precision on the validation images."""
        return Exam(Attributes(self.names), self.examples("validation"), self.names, "attributes")


def reader_of(columns: tuple[str, ...] = ()) -> Callable[[str], Manifest]:
    """What `prepare` reads such data with."""
    return lambda source: by_attributes(read_attributes(source), columns)


def check_training(training: Training) -> None:
    """Refuse settings that balance classes: an image has many attributes.

    Raises:
        UserError: one is on.
    """
    if training.class_balance or training.class_weights != "none":
        raise UserError("training.class_balance and class_weights are for one class an image; attributes are learned without")


def probabilities_of(network: Network, examples: Examples) -> Rows:
    """A network's probability of each attribute, of images without noise."""
    device, arch = choose(), network.arch
    task = Attributes(tuple(str(index) for index in range(examples.targets.shape[1])))
    images = in_order(examples, arch.resolution, view=arch.preprocessing.view)
    return answers(network.to(device.name), task, images, device).numpy()


def tell(given: Rows, targets: Rows, names: tuple[str, ...], seed: int = 0) -> Told:
    """Average precision of each attribute and their mean, with intervals.

    An attribute that is the same for all images has none, and is no part of the mean. One that is so in a resample only is
    left out of that resample's mean.

    Raises:
        UserError: every attribute is the same for all images.
    """
    constant = say_constant(names, targets, f"{len(targets)} images")
    if len(constant) == len(names):
        raise UserError(
            f"all {len(names)} attributes are the same for all of the {len(targets)} images; there is nothing to rank"
        )
    used = [place for place, name in enumerate(names) if name not in constant]
    known, there = ~np.isnan(targets), targets >= 0.5
    found = precision_draws(given, targets, RESAMPLES, seed)[:, used].T
    each = {
        names[k]: _precision(values, int(known[:, k].sum()), int((there & known)[:, k].sum()))
        for k, values in zip(used, found, strict=True)
    }
    ranked = np.isfinite(found)
    means = np.full(1 + RESAMPLES, np.nan)  # of a resample with nothing to rank
    np.divide(np.where(ranked, found, 0).sum(0), ranked.sum(0), out=means, where=ranked.any(0))
    return Told(_precision(means, len(given), len(used)), each, constant)


def measured_attributes(run: Run, name: str, trained: Done, told: Attributed) -> Done:
    """The stage that measures a trained network on the test split: what `Told` holds."""

    def make(_: Path) -> dict[str, Any]:
        network = load_network(trained.folder / MODEL)[0]
        examples = told.examples("test")
        return asdict(tell(probabilities_of(network, examples), examples.targets, told.names))

    return run.joint_stage(name, make, model=trained.digest, data=told.data.digest, columns=told.columns)


def _precision(values: Float[np.ndarray, " r"], images: int, there: int) -> Precision:
    usable = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(usable, [2.5, 97.5]) if len(usable) else (values[0], values[0])
    return Precision(float(values[0]), float(low), float(high), images, there)
