"""`eyas train` of another task than classification: prepared, trained or taught by a teacher, and measured."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.nn.detector import Form
from eyas.recipe import Splits, Training
from eyas.run import Done, Run
from eyas.studies import attributes, detection, train_embed
from eyas.studies.attributes import Attributed, measured_attributes
from eyas.studies.batch_size import settled
from eyas.studies.detection import Boxed, read_boxed, tested_boxes
from eyas.studies.learning import Start
from eyas.studies.model import find_model
from eyas.studies.prepare import Data, prepare
from eyas.studies.teaching import check_task
from eyas.studies.train_attributes import distil_attributes, train_attributes
from eyas.studies.train_detect import labelled_pile, train_detect
from eyas.studies.train_embed import Embedding, distil_embed, measured_embed

Task = Literal["attributes", "embed", "detect"]


@dataclass(frozen=True)
class Detection:
    """How things are found.

    Attributes:
        form: of the detector; SSDLite has separable layers in its head too, Faster R-CNN looks at each proposal again.
        score: smallest score of a box that an unlabelled image is given, where there are such images: a first detector
            learns from the labels and finds them, and the model learns from both.
    """

    form: Form = "ssd"
    score: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.score <= 1:
            raise UserError(f"detection.score is {self.score:g}; it is the score of a box, above 0 and at most 1")


@dataclass(frozen=True)
class Asked:
    """What a training of another task than classification was asked for.

    Attributes:
        task: what is learned.
        data: labelled images.
        training: how.
        splits: shares held out where the data does not say; of identities, for embeddings.
        labels: use only so many labels besides those of the test split; 0 uses all. The others join the pile.
        seed: what all randomness follows from.
        unlabeled: images that a teacher's answers are learned on too.
        teacher: a run whose answers are learned in place of the labels.
        unlabeled_only: whether they are learned on unlabelled images alone.
        columns: of the data that are attributes, where they are no labels.
        embedding: how vectors are learned; of a student, the teacher's width is taken.
        detection: how things are found.
    """

    task: Task
    data: str
    training: Training
    splits: Splits = field(default_factory=Splits)
    labels: int = 0
    seed: int = 0
    unlabeled: str | None = None
    teacher: str | None = None
    unlabeled_only: bool = False
    columns: tuple[str, ...] = ()
    embedding: Embedding = field(default_factory=Embedding)
    detection: Detection = field(default_factory=Detection)

    def reader(self) -> Callable[[str], Manifest]:
        """What the data is read with."""
        match self.task:
            case "attributes":
                return attributes.reader_of(self.columns)
            case "embed":
                return train_embed.reader_of(self.splits, self.seed)
            case "detect":
                return read_boxed


def check_asked(asked: Asked) -> None:
    """Refuse what can be seen to be wrong before any image is read: options without effect, settings, the teacher.

    Raises:
        UserError: something is.
    """
    training, taught = asked.training, asked.teacher is not None
    check_options(asked.task, training, asked.unlabeled, asked.teacher, asked.unlabeled_only, asked.columns)
    match asked.task:
        case "attributes":
            attributes.check_training(training)
        case "embed":
            train_embed.check_training(training)
            if training.batch and not taught:
                train_embed.check_batch(training, asked.embedding)
        case "detect":
            detection.check_training(training)
            if not training.batch:
                raise UserError("training.batch 0 finds the largest batch of a classifier; give detectors one, for example 16")
    if asked.teacher is not None:
        check_task(find_model(asked.teacher), asked.task)


def check_options(
    task: Literal["classify", "attributes", "embed", "detect"],
    training: Training,
    unlabeled: str | None,
    teacher: str | None,
    unlabeled_only: bool,
    columns: tuple[str, ...],
) -> None:
    """Refuse options of `eyas train` that would have no effect on the task.

    Raises:
        UserError: there is one.
    """
    students = task in ("attributes", "embed")
    if task == "classify" and (unlabeled is not None or teacher is not None):
        raise UserError("--unlabeled and --teacher of eyas train are for other tasks; eyas fit learns classes from them")
    if task == "detect" and teacher is not None:
        raise UserError(
            "a detector's raw answers are not learned by another one; leave out --teacher: with --unlabeled it learns from "
            "boxes that a first detector is sure of"
        )
    if unlabeled_only and not students:
        raise UserError(f"--unlabeled_only is for attributes and embeddings, and the task is {task}; leave it out")
    if teacher is None and (unlabeled is not None or unlabeled_only) and students:
        option = "--unlabeled_only" if unlabeled is None else "--unlabeled"
        raise UserError(f"{option} needs a teacher where the task is {task}: it answers for the labels; give --teacher")
    if columns and task != "attributes":
        raise UserError(f"--columns names attributes, and the task is {task}; leave it out")
    if training.small_loss and task != "classify":
        raise UserError(f"training.small_loss doubts the class of an image, and the task is {task}; set it to 0")


def prepare_task(run: Run, asked: Asked, begin: Start, cache: Path | None = None) -> Data:
    """The data of a task, ready to train on; `check_asked` comes first.

    Args:
        run: where it goes.
        asked: what is to be learned, and how.
        begin: the network.
        cache: the folder that decoding is shared between runs through.

    Raises:
        UserError: the data is not for the task.
    """
    splits, seed, side = asked.splits, asked.seed, begin.arch.resolution
    view, reader = asked.training.test_crop, asked.reader()
    return prepare(run, asked.data, asked.unlabeled, asked.labels, splits, side, seed, True, cache, False, view, reader)


def train_task(run: Run, asked: Asked, begin: Start, ready: Data) -> tuple[Done, Done]:
    """Train one network; the stages `model` and `test`: a `Told`, a `Detected`, or `verification` and `retrieval`.

    Args:
        run: where it goes.
        asked: what is to be learned, and how.
        begin: the network.
        ready: what `prepare_task` made.

    Raises:
        UserError: the data, the training or the teacher is not for the task.
    """
    if asked.task == "detect":
        return _detector(run, asked, begin, ready)
    found = settled(run, "batch", begin, ready, asked.training)
    if asked.task == "attributes":
        return _attributes(run, replace(asked, training=found), begin, ready)
    # A batch that memory allows holds whole groups of an identity.
    each = asked.embedding.images
    training = found if asked.training.batch else replace(found, batch=found.batch // each * each)
    return _embedder(run, replace(asked, training=training), begin, ready)


def _attributes(run: Run, asked: Asked, begin: Start, data: Data) -> tuple[Done, Done]:
    training, seed, columns = asked.training, asked.seed, asked.columns
    if asked.teacher is not None:
        known = find_model(asked.teacher)
        trained = distil_attributes(run, begin, known, data, training, seed, columns, asked.unlabeled_only)
    else:
        trained = train_attributes(run, begin, data, training, seed, columns)
    return trained, measured_attributes(run, "test", trained, Attributed.of(data, columns))


def _embedder(run: Run, asked: Asked, begin: Start, data: Data) -> tuple[Done, Done]:
    training, seed = asked.training, asked.seed
    if asked.teacher is not None:
        trained = distil_embed(run, begin, find_model(asked.teacher), data, training, seed, asked.unlabeled_only)
    else:
        trained = train_embed.train_embed(run, begin, data, training, seed, asked.embedding)
    return trained, measured_embed(run, "test", trained, data)


def _detector(run: Run, asked: Asked, begin: Start, data: Data) -> tuple[Done, Done]:
    training, seed, form = asked.training, asked.seed, asked.detection.form
    pseudo = None
    if data.pile is not None and len(data.pile):
        first = train_detect(run, begin, data, training, seed, form, name="teacher")
        pseudo = labelled_pile(run, first, data, asked.detection.score)
    trained = train_detect(run, begin, data, training, seed, form, pseudo)
    return trained, tested_boxes(run, "test", trained, Boxed.of(data))
