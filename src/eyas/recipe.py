"""Every choice of a run, as frozen values. A recipe decides; it never changes and never acts.

Without slots: the command line reads defaults through `vars`.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
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
        _floats(self)


@dataclass(frozen=True)
class Training:
    """How one network is trained.

    Attributes:
        epochs: passes over the labelled images.
        min_steps: optimizer steps at least, however few images there are.
        batch: labelled images a step; 0 finds the largest that fits into memory.
        optimizer: `adamw`, `sgd` (Nesterov momentum 0.9) or `rmsprop` (as TensorFlow and so the papers compute it).
        rate: peak learning rate.
        rate_batch: the batch that `rate` is for: with another batch the rate is scaled by their ratio; 0 takes it as it is.
        warmup: share of the steps in which the rate rises linearly to its peak.
        schedule: after that: half a `cosine` to 0, `exponential` decay in stairs as the EfficientNets, or `constant`.
        decay_factor: what exponential decay multiplies the rate with, every `decay_epochs`.
        decay_epochs: passes over the labelled images between two stairs of exponential decay.
        plateau: evaluations in a row without a better one after which the rate is multiplied with `plateau_factor`; 0: never.
        plateau_factor: see `plateau`.
        patience: evaluations in a row without a better one after which the training ends early; 0: never.
        weight_decay: on kernels other than depthwise ones, not on norms and biases (MobileNets, section 3).
        label_smoothing: on labelled images only.
        ema: decay of the averaged weights, reached gradually. The papers' 0.9999 suits 100,000 steps.
        norm_momentum: share of a new batch in the running statistics. The papers' 0.01 and less suit long runs.
        sync_norm: where several processes train, whether batch norm sees what all of them see of a batch, or each its own.
        dropout: in front of the classifier (Noisy Student: 0.5).
        drop_path: stochastic depth of the last block, less in earlier ones, linearly (Noisy Student: 0.2).
        clip: largest gradient norm; 0 turns clipping off.
        freeze: stages, from the stem on, that stay as they are, statistics included; all of them leaves the head to learn.
        layer_decay: every stage further from the head has its rate multiplied once more with this; 1: the same rate for all.
        checkpoint_activations: keep only what goes into each block and compute the rest again for the gradient: slower, in
            less memory, with the same result.
        accumulate: in how many parts the gradient of a step is computed: more need less memory at a time. Batch norm sees
            one part at a time.
        precision: of matrix work in training: `auto` measures at the start of a long run which is faster (learn/way.py).
        fused: whether on a processor our own kernels compute what lies between matrix products, which a C++ compiler makes on
            this machine; `auto` does so in a long run where it is faster.
        compile: `on` has torch compile the network, which takes minutes; `auto` does so where a run is long enough to repay it.
        test_crop: share of the sides that a centred box keeps which the network is evaluated on and shipped for; 1 is the
            whole image (published networks: 0.875, which cuts off what is at the border).
        train_resolution: side of the training images over that of the evaluated ones (FixRes, Noisy Student: below 1).
        fine_tune: passes over the labelled images at the end, in the resolution of evaluation, without noise but slight
            crops and mirrorings, shallow stages frozen (Noisy Student, section 3.1: 1.5); kept where it is no worse.
        checkpoint_every: optimizer steps between checkpoints.
        evaluate_every: optimizer steps between evaluations on the validation split; 0 chooses 8 in a run.
        class_balance: how far labelled images of scarce classes are drawn more often: 0 draws every image equally often,
            1 every class, values between them something between.
        class_weights: `balanced` weighs the loss of a labelled image by the scarcity of its class.
        small_loss: share of the labelled images of a batch that is not learned from, those with the largest losses: for data
            with about so many wrong labels (co-teaching). It is reached in a fifth of the steps.
    """

    epochs: float = 20.0
    min_steps: int = 200
    batch: int = 32
    optimizer: Literal["adamw", "sgd", "rmsprop"] = "adamw"
    rate: float = 1e-3
    rate_batch: int = 0
    warmup: float = 0.1
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    decay_factor: float = 0.97
    decay_epochs: float = 2.4
    plateau: int = 0
    plateau_factor: float = 0.1
    patience: int = 0
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    ema: float = 0.99
    norm_momentum: float = 0.1
    sync_norm: bool = False
    dropout: float = 0.2
    drop_path: float = 0.1
    clip: float = 2.0
    freeze: int = 0
    layer_decay: float = 1.0
    checkpoint_activations: bool = False
    accumulate: int = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    fused: Literal["auto", "on", "off"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    test_crop: float = 1.0
    train_resolution: float = 1.0
    fine_tune: float = 0.0
    checkpoint_every: int = 50
    evaluate_every: int = 0
    class_balance: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    small_loss: float = 0.0
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        _require(self, "above 0", "epochs", "rate", "decay_epochs")
        _require(self, "1 or above", "accumulate", "checkpoint_every")
        _require(self, "0 or above", "min_steps", "batch", "rate_batch", "weight_decay", "clip", "evaluate_every")
        _require(self, "0 or above", "plateau", "patience", "freeze", "fine_tune")
        _require(self, "from 0 to 1", "warmup", "class_balance")
        _require(self, "at least 0 and below 1", "label_smoothing", "ema", "dropout", "drop_path", "small_loss")
        _require(self, "above 0 and at most 1", "norm_momentum", "decay_factor", "plateau_factor", "layer_decay")
        _require(self, "above 0 and at most 1", "test_crop", "train_resolution")
        if self.compile == self.fused == "on":
            raise UserError("training.compile and training.fused are both on; a network is computed in one way: give one")
        _floats(self)

    def steps(self, images: int) -> int:
        """Optimizer steps of a run over `images` labelled images, at least 1; the batch must be known."""
        return max(1, self.min_steps, round(self.epochs * images / self.batch))


@dataclass(frozen=True)
class Round:
    """One round of self-training: who learns from the pseudo-labels of the network before.

    Attributes:
        arch: architecture of the student and its control, equal to the teacher's or larger; `teacher` takes the same.
        ratio: pseudo-labelled images for each labelled one in a batch; 0 takes `self_training.ratio`.
        start: `published` begins the student as the first teacher began; `teacher` with the teacher's weights (the paper
            found that to be no better than a long training from scratch).
        epochs: passes over the labelled images; 0 takes `training.epochs`.
    """

    arch: str = "teacher"
    ratio: int = 0
    start: Literal["published", "teacher"] = "published"
    epochs: float = 0.0

    def __post_init__(self) -> None:
        _require(self, "0 or above", "ratio", "epochs")
        _floats(self)


@dataclass(frozen=True)
class SelfTraining:
    """What is taken from the pile, and how it is mixed in (Noisy Student, section 2 and 3.1).

    Attributes:
        threshold: smallest confidence of the teacher, after temperature calibration, that an image is kept at (the
            paper's 0.3 is for 1,000 classes; what is used is at least 1.2 / classes).
        balance: give every class as many pseudo-labelled images as the median class: the most confident are kept, the
            scarce repeated.
        accuracy: where above 0, the threshold is chosen instead: the smallest confidence at which this share of the
            validation images that are as confident is answered rightly.
        outliers: images of the pile are rejected whose energy (Liu et al. 2020) is above that of all but this share of the
            validation images, however confident the teacher is; 0 rejects none, as the paper.
        per_class: pseudo-labelled images that every class gets when balanced (Noisy Student: 130,000), or has at most when
            not; 0: as many as the median class, or all.
        rounds: how many, or a list that says what each is: [{arch: efficientnet_b0, ratio: 3}, {ratio: 6}]. They end
            early when a student is proven worse than its teacher.
        ratio: pseudo-labelled images for each labelled one in a batch (Noisy Student: 14, 14, 28 for its largest network, 3
            for B1 to B7, 1 for B0); 0 learns nothing from them.
        labels: `soft` keeps the teacher's probabilities, `hard` their largest.
        weighting: of the losses of labelled and pseudo-labelled images: by their number in the batch (`images`, the text and
            the code of Noisy Student), or one as much as the other (`sources`, its Algorithm 1).
        confidence: with FixMatch, the smallest probability that the network learns its own answer from (the paper: 0.95).
    """

    threshold: float = 0.6
    balance: bool = True
    accuracy: float = 0.0
    outliers: float = 0.0
    per_class: int = 0
    rounds: int | tuple[Round, ...] = 1
    ratio: int = 1
    labels: Literal["soft", "hard"] = "soft"
    weighting: Literal["images", "sources"] = "images"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _require(self, "from 0 to 1", "threshold", "accuracy", "confidence")
        _require(self, "at least 0 and below 1", "outliers")
        _require(self, "0 or above", "per_class")
        _require(self, "0 or above", "ratio")
        if isinstance(self.rounds, int):
            _require(self, "0 or above", "rounds")
        _floats(self)

    def plan(self) -> tuple[Round, ...]:
        """The rounds one by one, each with its ratio; none where nothing is to be learned from the pile."""
        rounds = (Round(),) * self.rounds if isinstance(self.rounds, int) else self.rounds
        return tuple(replace(each, ratio=each.ratio or self.ratio) for each in rounds if each.ratio or self.ratio)


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
        _floats(self)


def to_dict(value: Any) -> Any:
    """A recipe as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_dict(getattr(value, item.name)) for item in fields(value)}
    return [to_dict(item) for item in value] if isinstance(value, tuple) else value


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
    elif hint == int | tuple[Round, ...]:
        if type(value) is int:
            return value
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return tuple(from_dict(Round, item) for item in value)
        expected = "a whole number, or a list with an object of settings for each round"
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


def _floats(recipe: Any) -> None:
    """Whole numbers that stand for floats become these: `epochs=20` and `epochs=20.0` are one recipe, and one run."""
    for each in fields(recipe):
        value = getattr(recipe, each.name)
        if each.type is float and type(value) is int:
            object.__setattr__(recipe, each.name, float(value))


def _require(recipe: Any, expected: str, *names: str) -> None:
    for name in names:
        value = getattr(recipe, name)
        if not _RANGES[expected](value):
            raise UserError(f"recipe {type(recipe).__name__}.{name} is {value!r}; it must be {expected}")
