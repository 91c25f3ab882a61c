"""`eyas predict`: a trained model's answers to image files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eyas.data.augment import prepare
from eyas.data.batches import three_channels
from eyas.data.decode import Refusal, decode
from eyas.data.store import shrink
from eyas.learn.device import choose
from eyas.progress import work
from eyas.studies.model import open_model
from eyas.studies.prepare import side_of


@dataclass(frozen=True)
class Answer:
    """The answer to one image; for a file that cannot be read only the reason."""

    image: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    error: str | None = None


def predict(run: str | Path, images: list[str]) -> list[Answer]:
    """Answer for each image file with its class and the probability of every class.

    A file that cannot be read stops nothing: its answer is the reason (and the command's exit code is 2).

    Args:
        run: a run of eyas fit or eyas train, or one stage's folder in it.
        images: image files.

    Raises:
        UserError: the run holds no model.
    """
    network, classes = open_model(run)
    device = choose()
    network.to(device.name)
    resolution, view = network.arch.resolution, network.arch.preprocessing.view
    answers = []
    with work("answering", len(images)) as progress:
        for number, image in enumerate(images):
            try:
                # The same two steps as in training: reduced to the prepared size, then to the network's.
                pixels = three_channels(prepare(shrink(decode(image), side_of(resolution, view)), resolution, view))
            except Refusal as refusal:
                answers.append(Answer(image, error=str(refusal)))
                continue
            with torch.inference_mode():
                logits = network(torch.from_numpy(np.array(pixels)[None]).to(device.name))
            given = logits.float().softmax(1)[0].tolist()
            best = int(np.argmax(given))
            answers.append(Answer(image, classes[best], given[best], dict(zip(classes, given, strict=True))))
            progress.at(number + 1)
    return answers
