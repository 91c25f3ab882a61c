"""Batches: a pure function of (seed, step), made ahead of time in threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from eyas.data.augment import augment, prepare
from eyas.data.store import Store
from eyas.recipe import Augment

AHEAD = 3  # batches made before they are asked for


@dataclass(frozen=True, slots=True)
class Batch:
    """Images as they are, what is to be learned from each, and whether people said so or a teacher did."""

    images: UInt8[Tensor, "b h w 3"]
    targets: Float[Tensor, "b k"]
    labelled: Bool[Tensor, " b"]

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        return Batch(self.images.to(device), self.targets.to(device), self.labelled.to(device))


@dataclass(frozen=True, slots=True)
class Examples:
    """Images of a store with their targets: rows of probabilities, one-hot where people labelled."""

    store: Store
    positions: Int64[np.ndarray, " n"]
    targets: Float32[np.ndarray, "n k"]
    labelled: bool

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Part:
    """`count` examples of one source in every batch."""

    examples: Examples
    count: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Training batches. `stream.at(step)` depends on nothing but the stream's own values and the step."""

    parts: tuple[Part, ...]
    augment: Augment
    flips: str
    resolution: int
    seed: int

    def at(self, step: int) -> Batch:
        """The batch of `step`: each part runs through a new shuffle of all its images before it begins the next."""
        images, targets, labelled = [], [], []
        for index, part in enumerate(self.parts):
            for slot, row in enumerate(self._rows(part, index, step)):
                # From 1: a generator seeded with (.., 0) is the one of the shuffle, as a number left out counts as 0.
                rng = np.random.default_rng((self.seed, index, step, slot + 1))
                pixels = part.examples.store[int(part.examples.positions[row])]
                images.append(three_channels(augment(pixels, self.augment, self.flips, self.resolution, rng)))
                targets.append(part.examples.targets[row])
                labelled.append(part.examples.labelled)
        return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets)), torch.tensor(labelled))

    def run(self, start: int, stop: int, threads: int = 2) -> Iterator[Batch]:
        """Batches `start` to `stop`, made `AHEAD` of time."""
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Batch]] = deque(pool.submit(self.at, step) for step in range(start, min(start + AHEAD, stop)))
            for step in range(start, stop):
                if step + AHEAD < stop:
                    waiting.append(pool.submit(self.at, step + AHEAD))
                yield waiting.popleft().result()

    def _rows(self, part: Part, index: int, step: int) -> list[int]:
        images = len(part.examples)
        first, last = step * part.count, (step + 1) * part.count
        epochs = range(first // images, max(first, last - 1) // images + 1)
        orders = [np.random.default_rng((self.seed, index, epoch)).permutation(images) for epoch in epochs]
        skipped = first - epochs.start * images
        return np.concatenate(orders)[skipped : skipped + part.count].tolist()


def in_order(examples: Examples, resolution: int, size: int = 64) -> Iterator[Batch]:
    """Every example once, in order and without noise, for evaluation."""
    for start in range(0, len(examples), size):
        rows = range(start, min(start + size, len(examples)))
        images = np.stack([three_channels(prepare(examples.store[int(examples.positions[row])], resolution)) for row in rows])
        targets = torch.from_numpy(examples.targets[start : start + size])
        yield Batch(torch.from_numpy(images), targets, torch.full((len(rows),), examples.labelled))


def stacked(examples: Examples, resolution: int) -> UInt8[np.ndarray, "n r r 3"]:
    """All images of `examples` without noise, as one array."""
    return np.concatenate([batch.images.numpy() for batch in in_order(examples, resolution)])


def one_hot(labels: list[str], classes: tuple[str, ...]) -> Float32[np.ndarray, "n k"]:
    """Labels as rows of probabilities."""
    index = {name: number for number, name in enumerate(classes)}
    return np.eye(len(classes), dtype=np.float32)[[index[label] for label in labels]]


def three_channels(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """A grey image as three equal channels; a colour image as it is."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
