"""Every choice of a run, as frozen values. A recipe decides; it never changes and never acts."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_type_hints

R = TypeVar("R")
Flips = Literal["auto", "none", "horizontal", "both"]


@dataclass(frozen=True, slots=True)
class Augment:
    """Noise on the input.

    Attributes:
        operations: RandAugment operations an image; 0 turns it off. Noisy Student uses 2.
        magnitude: RandAugment magnitude out of 10. The paper's 27 is for 300 M images; 9 is RandAugment's for ResNet-50.
        crop: smallest share of the area that a random crop keeps; 1 turns cropping off.
        flips: `auto` asks the data set (both ways for solar cells), and mirrors left-right when it does not say.
    """

    operations: int = 2
    magnitude: float = 9.0
    crop: float = 0.35
    flips: Flips = "auto"


@dataclass(frozen=True, slots=True)
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
    augment: Augment = field(default_factory=Augment)

    def steps(self, images: int) -> int:
        """Optimizer steps of a run over `images` labelled images."""
        return max(self.min_steps, round(self.epochs * images / self.batch))


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Splits:
    """Shares of the labelled images held out where the data does not say.

    Attributes:
        validation: share of the training images that choices are made on.
        test: share that is touched once, at the end.
    """

    validation: float = 0.25
    test: float = 0.2


def to_dict(value: Any) -> Any:
    """A recipe as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_dict(getattr(value, item.name)) for item in fields(value)}
    return value


def from_dict(kind: type[R], data: dict[str, Any]) -> R:
    """The recipe of type `kind` again; `from_dict(type(r), to_dict(r)) == r`."""
    hints = get_type_hints(kind)
    values = {name: from_dict(hints[name], item) if is_dataclass(hints[name]) else item for name, item in data.items()}
    return kind(**values)
