"""Batches: a pure function of (seed, step), made ahead of time in threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from eyas.data.augment import apply, crops, prepare
from eyas.data.mix import mix_targets, shares
from eyas.data.noise import Noise, draw
from eyas.data.sampling import epoch
from eyas.data.store import Store
from eyas.recipe import Augment

AHEAD = 3  # batches made before they are asked for
THREADS = 2  # that make them
KEPT = 4  # epochs of each part whose order is kept: batches are made of two or three at a time


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
    """`count` examples of one source in every batch; with `weights` (mean 1), some are drawn more often than others."""

    examples: Examples
    count: int
    weights: Float64[np.ndarray, " n"] | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """Images of one part, cropped, with the noise that is still to be applied to them."""

    part: int
    images: UInt8[Tensor, "b c r r"]
    noise: Noise


@dataclass(frozen=True, slots=True)
class Stream:
    """Training batches. `stream.at(step)` depends on nothing but the stream's own values and the step."""

    parts: tuple[Part, ...]
    augment: Augment
    flips: str
    resolution: int
    seed: int
    _orders: dict[tuple[int, int], Int64[np.ndarray, " n"]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, step: int) -> Batch:
        """The batch of `step`: each part runs through a new shuffle of all its images before it begins the next."""
        return self._finished(step, self._views(step), "cpu")

    def run(self, start: int, stop: int, threads: int = THREADS, device: str = "cpu") -> Iterator[Batch]:
        """Batches `start` to `stop` on `device`, made `AHEAD` of time; on an accelerator pixels may differ by rounding.

        An accelerator takes cropped images as they are from pinned memory, and changes them itself.
        """
        with ThreadPoolExecutor(threads) as pool:
            make = self.at if device == "cpu" else self._pinned
            waiting = deque(pool.submit(make, step) for step in range(start, min(start + AHEAD, stop)))
            for step in range(start, stop):
                if step + AHEAD < stop:
                    waiting.append(pool.submit(make, step + AHEAD))
                made = waiting.popleft().result()
                yield made if isinstance(made, Batch) else self._finished(step, made, device)

    def rows(self, part: int, step: int) -> list[int]:
        """Which examples of a part are in the batch of `step`, in their order."""
        images, count = len(self.parts[part].examples), self.parts[part].count
        first, last = step * count, (step + 1) * count
        epochs = range(first // images, max(first, last - 1) // images + 1)
        skipped = first - epochs.start * images
        return np.concatenate([self._order(part, number) for number in epochs])[skipped : skipped + count].tolist()

    def _order(self, part: int, number: int) -> Int64[np.ndarray, " n"]:
        """An epoch of a part, kept while it lasts: shuffling a million images for every batch would take longer than it."""
        key = (part, number)
        found = self._orders.get(key)
        if found is None:
            of = self.parts[part]
            found = epoch(of.weights, len(of.examples), np.random.default_rng((self.seed, *key)))
            self._orders[key] = found
            self._orders.pop((part, number - KEPT), None)
        return found

    def _views(self, step: int) -> list[Views]:
        """What is read and drawn on the processor, for each part."""
        found = []
        for index, part in enumerate(self.parts):
            if not part.count:
                continue
            # With 1 at the end: a generator seeded with (.., 0) is the one of the shuffle, as a number left out counts as 0.
            noise = draw(self.augment, self.flips, part.count, np.random.default_rng((self.seed, index, step, 1)))
            images = [part.examples.store[int(part.examples.positions[row])] for row in self.rows(index, step)]
            found.append(Views(index, crops(images, noise, self.resolution), noise))
        return found

    def _pinned(self, step: int) -> list[Views]:
        return [Views(views.part, views.images.pin_memory(), views.noise) for views in self._views(step)]

    def _finished(self, step: int, parts: list[Views], device: str) -> Batch:
        images, targets = [], []
        for views in parts:
            examples, noise = self.parts[views.part].examples, views.noise
            images.append(apply(views.images.to(device, non_blocking=True), noise, self.augment))
            targets.append(mix_targets(examples.targets[self.rows(views.part, step)], shares(noise, self.resolution)))
        labelled = [part.examples.labelled for part in self.parts for _ in range(part.count)]
        return Batch(torch.cat(images), torch.from_numpy(np.concatenate(targets)), torch.tensor(labelled)).to(device)


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
