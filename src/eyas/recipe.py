"""Every choice of a run, as frozen values. A recipe decides; it never changes and never acts.

Without slots: the command line reads defaults through `vars`.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from eyas.errors import UserError

R = TypeVar("R")
Flips = Literal["auto", "none", "horizontal", "both"]


@dataclass(frozen=True)
class Augment:
    """Noise on the input.

    Attributes:
        operations: RandAugment operations an image; 0 turns it off. Noisy Student uses 2.
        magnitude: RandAugment magnitude out of 10. Noisy Student takes 27 for 300 M images, and 5 for its small set, SVHN.
        crop: smallest share of the area that a random crop keeps; 1 turns cropping off.
        flips: `auto` asks the data set (both ways for solar cells), and mirrors left-right when it does not say.
        operation_set: the `paper`'s 14 operations, or the 16 of the `code` that Noisy Student was trained with: those
            without identity, and with invert, cutout and solarize_add.
        erase: share of the images of which a random rectangle is blanked (random erasing).
        mixup: alpha of the Beta distribution that images, and targets, are mixed with their neighbours by; 0 turns it off.
        cutmix: the same, of the area that a neighbour is pasted into; where both are on, each image has one of the two.
    """

    operations: int = 2
    magnitude: float = 5.0
    crop: float = 0.6
    flips: Flips = "auto"
    operation_set: Literal["paper", "code"] = "paper"
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        _require(self, "0 or above", "operations", "magnitude", "mixup", "cutmix")
        _require(self, "above 0 and at most 1", "crop")
        _require(self, "from 0 to 1", "erase")


@dataclass(frozen=True)
class Training:
    """How one network is trained.

    Attributes:
        epochs: passes over the labelled images.
        min_steps: optimizer steps at least, however few images there are.
        batch: labelled images a step.
        optimizer: `adamw`, `sgd` (Nesterov momentum 0.9) or `rmsprop` (momentum 0.9, as the papers).
        rate: peak learning rate; warmed up linearly, then decayed by a half cosine.
        warmup: share of the steps that warm up.
        weight_decay: on kernels other than depthwise ones, not on norms and biases (MobileNets, section 3).
        label_smoothing: on labelled images only.
        ema: decay of the averaged weights, reached gradually. The papers' 0.9999 suits 100,000 steps.
        norm_momentum: share of a new batch in the running statistics. The papers' 0.01 and less suit long runs.
        dropout: in front of the classifier (Noisy Student: 0.5).
        drop_path: stochastic depth of the last block, less in earlier ones, linearly (Noisy Student: 0.2).
        clip: largest gradient norm; 0 turns clipping off.
        checkpoint_every: optimizer steps between checkpoints.
        evaluate_every: optimizer steps between evaluations on the validation split; 0 chooses 8 in a run.
        class_balance: how far labelled images of scarce classes are drawn more often: 0 draws every image equally often,
            1 every class, values between them something between.
        class_weights: `balanced` weighs the loss of a labelled image by the scarcity of its class.
    """

    epochs: float = 20.0
    min_steps: int = 200
    batch: int = 32
    optimizer: Literal["adamw", "sgd", "rmsprop"] = "adamw"
    rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    ema: float = 0.99
    norm_momentum: float = 0.1
    dropout: float = 0.2
    drop_path: float = 0.1
    clip: float = 2.0
    checkpoint_every: int = 50
    evaluate_every: int = 0
    class_balance: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        _require(self, "above 0", "epochs", "rate")
        _require(self, "1 or above", "batch", "checkpoint_every")
        _require(self, "0 or above", "min_steps", "weight_decay", "clip", "evaluate_every")
        _require(self, "from 0 to 1", "warmup", "class_balance")
        _require(self, "at least 0 and below 1", "label_smoothing", "ema", "dropout", "drop_path")
        _require(self, "above 0 and at most 1", "norm_momentum")

    def steps(self, images: int) -> int:
        """Optimizer steps of a run over `images` labelled images, at least 1."""
        return max(1, self.min_steps, round(self.epochs * images / self.batch))


@dataclass(frozen=True)
class SelfTraining:
    """What is taken from the pile, and how it is mixed in (Noisy Student, section 2 and 3.1).

    Attributes:
        threshold: smallest confidence of the teacher, after temperature calibration, that an image is kept at (the
            paper's 0.3 is for 1,000 classes; what is used is at least 1.2 / classes).
        balance: give every class as many pseudo-labelled images as the median class: the most confident are kept, the
            scarce repeated.
        ratio: pseudo-labelled images for each labelled one in a batch.
        labels: `soft` keeps the teacher's probabilities, `hard` their largest.
    """

    threshold: float = 0.6
    balance: bool = True
    ratio: int = 1
    labels: Literal["soft", "hard"] = "soft"

    def __post_init__(self) -> None:
        _require(self, "from 0 to 1", "threshold")
        _require(self, "0 or above", "ratio")


@dataclass(frozen=True)
class Splits:
    """Shares of the labelled images held out where the data does not say.

    Attributes:
        validation: share of the training images that choices are made on.
        test: share that is touched once, at the end.
    """

    validation: float = 0.25
    test: float = 0.2

    def __post_init__(self) -> None:
        _require(self, "above 0 and below 1", "validation", "test")


def to_dict(value: Any) -> Any:
    """A recipe as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_dict(getattr(value, item.name)) for item in fields(value)}
    return value


def from_dict(kind: type[R], data: dict[str, Any]) -> R:
    """The recipe of type `kind` again; `from_dict(type(r), to_dict(r)) == r`. What is left out keeps its default.

    Raises:
        UserError: a name that `kind` does not have, a value of another type, or one out of its range.
    """
    hints = get_type_hints(kind)
    for name in data:
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1, cutoff=0.0)
            raise UserError(f"recipe {kind.__name__} has no {name!r}; did you mean {near[0]!r}? It has {', '.join(hints)}")
    return kind(**{name: _read(f"{kind.__name__}.{name}", hints[name], value) for name, value in data.items()})


def _read(where: str, hint: Any, value: Any) -> Any:
    """A value from JSON as the type that `hint` names."""
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, dict):
            return from_dict(hint, value)
        expected = "an object of settings"
    elif get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        expected = " or ".join(repr(choice) for choice in get_args(hint))
    else:
        if hint not in _TYPES or type(value) is hint or (hint is float and type(value) is int):
            return float(value) if hint is float else value
        expected = _TYPES[hint]
    raise UserError(f"recipe {where} is {value!r}; it must be {expected}")


_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_RANGES: dict[str, Callable[[float], bool]] = {
    "above 0": lambda value: 0 < value < math.inf,
    "0 or above": lambda value: 0 <= value < math.inf,
    "1 or above": lambda value: 1 <= value < math.inf,
    "from 0 to 1": lambda value: 0 <= value <= 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "above 0 and at most 1": lambda value: 0 < value <= 1,
    "above 0 and below 1": lambda value: 0 < value < 1,
}


def _require(recipe: Any, expected: str, *names: str) -> None:
    for name in names:
        value = getattr(recipe, name)
        if not _RANGES[expected](value):
            raise UserError(f"recipe {type(recipe).__name__}.{name} is {value!r}; it must be {expected}")
