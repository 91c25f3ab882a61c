"""What a trained network answers to a split, and how often it is right."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from eyas.data.batches import Examples, in_order
from eyas.learn.device import choose
from eyas.learn.evaluate import answers
from eyas.nn.build import Network
from eyas.nn.weights import load_network
from eyas.studies.learning import MODEL
from eyas.studies.prepare import Data
from eyas.studies.proof import accuracy
from eyas.tasks.classify import Classify


def probabilities(network: Network, examples: Examples) -> Float32[np.ndarray, "n k"]:
    """Answers of a network to images without noise."""
    device = choose()
    task = Classify(tuple(str(index) for index in range(examples.targets.shape[1])))
    arch = network.arch
    images = in_order(examples, arch.resolution, view=arch.preprocessing.view)
    return answers(network.to(device.name), task, images, device).numpy()


def correct(given: Float32[np.ndarray, "n k"], examples: Examples) -> Bool[np.ndarray, " n"]:
    """Which images were answered rightly."""
    return given.argmax(1) == examples.targets.argmax(1)


def test_of(folders: dict[str, Path], data: Data) -> dict[str, Any]:
    """Every model on the test split: accuracy with its interval, and the confusion matrix (rows: the truth)."""
    examples = data.examples("test")
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        network, _ = load_network(folder / MODEL)
        given = probabilities(network, examples)
        scored = asdict(accuracy(correct(given, examples)))
        found[name] = {"arch": str(network.arch), "accuracy": scored, "confusion": confusion(given, examples)}
    return found


def confusion(given: Float32[np.ndarray, "n k"], examples: Examples) -> list[list[int]]:
    """How often each class (row) was answered as each class (column)."""
    matrix = np.zeros((given.shape[1],) * 2, np.int64)
    np.add.at(matrix, (examples.targets.argmax(1), given.argmax(1)), 1)
    return matrix.tolist()
