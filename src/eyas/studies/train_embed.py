"""Networks that embed: from which images show the same, or from a larger network's vectors."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eyas.data.batches import Examples, Part, in_order
from eyas.data.identities import by_identity, identity_targets
from eyas.data.manifest import Manifest, Split
from eyas.data.readers import read
from eyas.data.sampling import Groups
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.learn.evaluate import answers
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.progress import say
from eyas.recipe import Splits, Training
from eyas.run import Done, Run
from eyas.studies.learning import MODEL, Exam, Lesson, Start, learn
from eyas.studies.prepare import Data, positions
from eyas.studies.teaching import check_task, checksum, in_proportion, taught
from eyas.studies.verification import every, retrieve, verify
from eyas.tasks.embed import Embed


@dataclass(frozen=True)
class Embedding:
    """How vectors are learned.

    Attributes:
        width: length of the vector (FaceNet: 128).
        margin: by how much squared distances are to differ (FaceNet: 0.2).
        images: of an identity in every batch; the batch holds as many identities as there is room for.
    """

    width: int = 128
    margin: float = 0.2
    images: int = 4

    @property
    def task(self) -> Embed:
        """What is learned."""
        return Embed(self.width, self.margin)


def reader_of(splits: Splits, seed: int) -> Callable[[str], Manifest]:
    """What `prepare` reads such data with: labels are identities, each of them in one split."""
    return lambda source: by_identity(read(source), splits, seed)


def identified(data: Data, split: Split) -> Examples:
    """The images of a split with the numbers of their identities.

    Raises:
        UserError: there are none.
    """
    rows = data.rows(split)
    return Examples(data.store, positions(data.store, rows), identity_targets(rows.column("label")), labelled=True)


def exam_of(data: Data, embedding: Embedding) -> Exam:
    """What networks are judged by: retrieval among the validation images."""
    outputs = tuple(f"v{index}" for index in range(embedding.width))
    return Exam(embedding.task, identified(data, "validation"), outputs, "embed")


def check_training(training: Training) -> None:
    """Refuse settings that blend identities, or that are for classes.

    Raises:
        UserError: naming the setting.
    """
    if training.augment.mixup or training.augment.cutmix:
        raise UserError(
            "augment.mixup and cutmix blend two identities into one image, which has none then; embeddings go without"
        )
    if training.class_balance or training.class_weights != "none":
        raise UserError("training.class_balance and class_weights are for classes; identities come equally often anyway")


def check_batch(training: Training, embedding: Embedding) -> None:
    """Refuse a batch in which there are no triplets.

    Raises:
        UserError: it is no multiple of an identity's images, or too small for two identities or for its parts.
    """
    each = embedding.images
    if each < 2 * training.accumulate or training.batch % each or training.batch < 2 * each:
        raise UserError(
            f"a batch of {training.batch} with {each} images of each identity, in {training.accumulate} parts: give a batch "
            "that is a multiple of embedding.images and twice as large at least, and 2 images or more for each part"
        )


def train_embed(
    run: Run,
    begin: Start,
    data: Data,
    training: Training,
    seed: int,
    embedding: Embedding = Embedding(),
    name: str = "model",
) -> Done:
    """The stage that trains a network on which images show the same; `name` is the stage's.

    Raises:
        UserError: there are too few identities with two images, or the training is not for them.
    """
    check_training(training)
    check_batch(training, embedding)
    task, exam = embedding.task, exam_of(data, embedding)
    examples = identified(data, "train")
    numbers = examples.targets[:, 0].astype(np.int64)
    groups = Groups.of(numbers, embedding.images)
    if alone := len(np.unique(numbers)) - len(groups.members):
        say(f"{alone} identities have one image to train on; nothing is like it, so they are left out")

    def make(folder: Path) -> dict[str, Any]:
        part, steps = Part(examples, training.batch, groups=groups), training.steps(len(examples))
        lesson = Lesson(name, task, (part,), steps, training, seed, exam)
        found = learn(folder, begin.under(task.head(begin.arch.features), training, seed), lesson, data)
        return found | {"weights": begin.facts["weights"]}

    facts = {"start": begin.facts, "data": data.digest, "training": training, "seed": seed, "embedding": embedding}
    return run.joint_stage(name, make, task="embed", **facts)


def distil_embed(
    run: Run,
    begin: Start,
    teacher: Path,
    data: Data,
    training: Training,
    seed: int,
    unlabelled_only: bool = False,
    name: str = "model",
) -> Done:
    """The stage that teaches a network a larger one's vectors, on labelled and unlabelled images, or on the latter only.

    Its vectors are as wide as the teacher's.

    Raises:
        UserError: the teacher does not embed, the training is not for it, or there are no unlabelled images to learn on.
    """
    check_training(training)
    known = checksum(teacher)
    check_task(teacher, "embed")
    exam = exam_of(data, Embedding(width=len(load_network(teacher)[1])))
    pile = (
        data.unlabelled(targets=np.zeros((len(data.pile), 1), np.float32)) if data.pile is not None and len(data.pile) else None
    )
    if unlabelled_only and pile is None:
        raise UserError("only unlabelled images are to be learned from, and there are none; give some with --unlabeled")

    def make(folder: Path) -> dict[str, Any]:
        sources = in_proportion(training.batch, None if unlabelled_only else identified(data, "train"), pile)
        return taught(folder, name, begin, teacher, sources, exam, data, training, seed)

    facts = {"start": begin.facts, "data": data.digest, "training": training, "seed": seed}
    return run.joint_stage(name, make, task="embed", teacher=known, unlabelled_only=unlabelled_only, **facts)


def vectors_of(network: Network, examples: Examples) -> Float[np.ndarray, "n d"]:
    """A network's unit vectors of images without noise."""
    device, arch = choose(), network.arch
    images = in_order(examples, arch.resolution, view=arch.preprocessing.view)
    return answers(network.to(device.name), Embed(width=2), images, device).numpy()


def measured_embed(run: Run, name: str, trained: Done, data: Data) -> Done:
    """The stage that measures verification of all pairs, and retrieval, among the test images."""

    def make(_: Path) -> dict[str, Any]:
        examples = identified(data, "test")
        numbers = examples.targets[:, 0].astype(np.int64)
        given = vectors_of(load_network(trained.folder / MODEL)[0], examples)
        found = verify(given, numbers, every(numbers))
        return {"verification": asdict(found), "retrieval": asdict(retrieve(given, numbers))}

    return run.joint_stage(name, make, model=trained.digest, data=data.digest)
