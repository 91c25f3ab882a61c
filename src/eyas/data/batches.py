"""Batches: a pure function of (seed, step), made ahead of time in threads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from eyas.data.augment import apply, crops, prepare
from eyas.data.boxes import fitted, moved
from eyas.data.mix import mix_targets, shares
from eyas.data.noise import Noise, draw
from eyas.data.pixels import PixelKernels, pixel_kernels
from eyas.data.resident import Cut, Resident, hold
from eyas.data.sampling import Groups, epoch
from eyas.data.store import Store
from eyas.data.workers import FEW, ahead, threads_beside
from eyas.errors import UserError
from eyas.recipe import Augment
from eyas.team import Team, current

MILD = Augment(operations=0)  # what is left of the noise of weak views; their crops are those of the strong ones
KEPT = 4  # epochs of each part whose order is kept: batches are made of two or three at a time


@dataclass(frozen=True, slots=True)
class Batch:
    """Images as they are, what is to be learned from each, and whether people said so or a teacher did.

    `weak` are unlabelled images of the batch once more, in their order, only cropped and mirrored; a task that asks for them
    learns to answer both alike.
    """

    images: UInt8[Tensor, "b h w 3"]
    targets: Float[Tensor, "b k"]
    labelled: Bool[Tensor, " b"]
    weak: UInt8[Tensor, "u h w 3"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, count: int) -> Iterator["Batch"]:
        """`count` parts of it (fewer where it has fewer images), each with its share of every source."""
        for first in range(min(count, len(self))):
            rows = slice(first, None, count)
            weak = None
            if self.weak is not None:
                unlabelled = torch.cumsum(~self.labelled, 0)[rows][~self.labelled[rows]] - 1
                weak = self.weak[unlabelled]
            yield Batch(self.images[rows], self.targets[rows], self.labelled[rows], weak)

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        weak = self.weak.to(device) if self.weak is not None else None
        return Batch(self.images.to(device), self.targets.to(device), self.labelled.to(device), weak)


@dataclass(frozen=True, slots=True)
class Examples:
    """Images of a store with their targets: rows of probabilities, one-hot where people labelled.

    With `boxes` the targets are boxes (`eyas.data.boxes`), which are cropped and mirrored as their images are.
    """

    store: Store
    positions: Int64[np.ndarray, " n"]
    targets: Float32[np.ndarray, "n k"]
    labelled: bool
    boxes: bool = False

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Part:
    """`count` examples of one source in every batch.

    Attributes:
        examples: the source.
        count: how many of them.
        weights: (mean 1) some are drawn more often than others.
        augment: the noise of this source where it is not the stream's.
        weak: whether the batch has these images once more, only cropped and mirrored.
        groups: the images come in groups of one identity, every batch drawn anew, not in turn.
    """

    examples: Examples
    count: int
    weights: Float64[np.ndarray, " n"] | None = None
    augment: Augment | None = None
    weak: bool = False
    groups: Groups | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """Images of one part, cropped, with their targets and the noise that is still to be applied to them.

    With `neighbour` the first one is another process's: what the second is mixed with. With `weak` they are wanted without
    that noise too.
    """

    images: UInt8[Tensor, "b r r c"] | Cut
    targets: Float32[np.ndarray, "b k"]
    noise: Noise
    augment: Augment
    neighbour: bool
    weak: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """Training batches. `stream.at(step)` depends on nothing but the stream's own values and the step.

    Every process of a team makes its share of each batch; together they are the batch that one process makes.

    Raises:
        UserError: the batch cannot be shared equally.
    """

    parts: tuple[Part, ...]
    augment: Augment
    flips: str
    resolution: int
    seed: int
    team: Team = field(default_factory=current)
    _orders: dict[tuple[int, int], Int64[np.ndarray, " n"]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        images = sum(part.count for part in self.parts)
        if images % self.team.size:
            raise UserError(
                f"a batch has {images} images, which {self.team.size} processes cannot share equally; give training.batch a "
                f"multiple of {self.team.size}"
            )

    def at(self, step: int) -> Batch:
        """The batch of `step`: each part runs through a new shuffle of all its images before it begins the next."""
        return self._made(step, pixel_kernels())

    def run(self, start: int, stop: int, threads: int | None = None, device: str = "cpu") -> Iterator[Batch]:
        """Batches `start` to `stop` on `device`, made ahead of time; on an accelerator pixels may differ by rounding.

        An accelerator changes images itself, and crops them too where all of them fit into a share of its memory; otherwise
        it takes them cropped from pinned memory. Without `threads` as many make them as `threads_beside` the device do, one
        batch each and one more.
        """
        if start >= stop:
            return
        threads = min(threads or threads_beside(device), stop - start)
        if device == "cpu":
            by = pixel_kernels()
            yield from ahead(lambda step: self._made(step, by), range(start, stop), threads)
            return
        held = [hold(part.examples.store, part.examples.positions, device) for part in self.parts]
        by = None if all(held) else pixel_kernels()
        for views in ahead(lambda step: self._pinned(step, held, by), range(start, stop), threads):
            yield self._finished(views, device)

    def rows(self, part: int, step: int) -> list[int]:
        """Which examples of a part are in the batch of `step`, in their order."""
        images, count, groups = len(self.parts[part].examples), self.parts[part].count, self.parts[part].groups
        if groups:
            return groups.draw(count, np.random.default_rng((self.seed, part, step, 2)))
        first, last = step * count, (step + 1) * count
        epochs = range(first // images, max(first, last - 1) // images + 1)
        skipped = first - epochs.start * images
        return np.concatenate([self._order(part, number) for number in epochs])[skipped : skipped + count].tolist()

    def own_rows(self, part: int, step: int) -> list[int]:
        """Of `rows`, those in this process's share."""
        own = self._shares()[part]
        return self.rows(part, step)[own.start : own.stop]

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

    def _made(self, step: int, by: PixelKernels | None) -> Batch:
        """The batch of a step on the processor."""
        return self._finished(self._views(step, [None] * len(self.parts), by), "cpu", by)

    def _views(self, step: int, held: Sequence[Resident | None], by: PixelKernels | None) -> list[Views]:
        """What is read and drawn on the processor, for each part; what an accelerator has `held` is not read."""
        found = []
        for index, (part, own) in enumerate(zip(self.parts, self._shares(), strict=True)):
            if not own:
                continue
            augment = part.augment or self.augment
            neighbour = len(own) < part.count and bool(augment.mixup or augment.cutmix)
            taken = np.arange(own.start - neighbour, own.stop) % part.count
            # With 1 at the end: a generator seeded with (.., 0) is the one of the shuffle, as a number left out counts as 0.
            noise = draw(augment, self.flips, part.count, np.random.default_rng((self.seed, index, step, 1)))
            noise = noise.of(taken)
            rows = np.array(self.rows(index, step))[taken]
            places = part.examples.positions[rows]
            targets = part.examples.targets[rows]
            if part.examples.boxes:
                seeds = [(self.seed, index, step, int(place), 2) for place in taken]
                sides = [(int(height), int(width)) for height, width, _ in part.examples.store.shapes[places]]
                noise = fitted(noise, targets, augment.crop, augment.operation_set, seeds, sides)
                targets = moved(targets, noise)
            if there := held[index]:
                views = Cut(there, rows, noise.crop, self.resolution)
            else:
                views = crops([part.examples.store[int(place)] for place in places], noise, self.resolution, by)
            found.append(Views(views, targets, noise, augment, neighbour, part.weak))
        return found

    def _shares(self) -> list[range]:
        """Which images of each part are this process's: as many of a part as another's or one more, in all equally many."""
        found, dealt = [], 0
        for part in self.parts:
            each, left = divmod(part.count, self.team.size)
            counts = [each + ((rank - dealt) % self.team.size < left) for rank in range(self.team.size)]
            start = sum(counts[: self.team.rank])
            found.append(range(start, start + counts[self.team.rank]))
            dealt += left
        return found

    def _pinned(self, step: int, held: Sequence[Resident | None], by: PixelKernels | None) -> list[Views]:
        return [
            views if isinstance(views.images, Cut) else replace(views, images=views.images.pin_memory())
            for views in self._views(step, held, by)
        ]

    def _finished(self, parts: list[Views], device: str, by: PixelKernels | None = None) -> Batch:
        images, targets, weak = [], [], []
        for views in parts:
            own = slice(int(views.neighbour), None)
            made = views.images.made() if isinstance(views.images, Cut) else views.images
            moved = made.to(device, non_blocking=True)
            if views.weak:
                weak.append(apply(moved.clone(), views.noise.mild(), MILD, by)[own])
            images.append(apply(moved, views.noise, views.augment, by)[own])
            targets.append(mix_targets(views.targets, shares(views.noise, self.resolution))[own])
        labelled = [part.examples.labelled for part, own in zip(self.parts, self._shares(), strict=True) for _ in own]
        again = torch.cat(weak) if weak else None
        whole = images[0] if len(images) == 1 else torch.cat(images)
        return Batch(whole, torch.from_numpy(np.concatenate(targets)), torch.tensor(labelled), again).to(device)


@dataclass(frozen=True, slots=True)
class InOrder:
    """Batches of `size` images without noise; `view` as `prepare` takes it."""

    examples: Examples
    resolution: int
    size: int
    view: float

    def __iter__(self) -> Iterator[Batch]:
        return self.run(FEW)

    def run(self, threads: int) -> Iterator[Batch]:
        """The batches, made ahead of time in so many threads."""
        starts = range(0, len(self.examples), self.size)
        return ahead(self._at, starts, max(1, min(threads, len(starts))))

    def _at(self, start: int) -> Batch:
        examples = self.examples
        rows = range(start, min(start + self.size, len(examples)))
        stored = [examples.store[int(examples.positions[row])] for row in rows]
        images = np.stack([three_channels(prepare(pixels, self.resolution, self.view)) for pixels in stored])
        targets = torch.from_numpy(examples.targets[start : start + self.size])
        return Batch(torch.from_numpy(images), targets, torch.full((len(rows),), examples.labelled))

    def share(self, team: Team) -> "InOrder":
        """This process's images, dealt in turn; as many for each, so that some of the first images may be dealt again."""
        examples, rounds = self.examples, -(-len(self.examples) // team.size)
        rows = (np.arange(rounds) * team.size + team.rank) % len(examples)
        examples = replace(examples, positions=examples.positions[rows], targets=examples.targets[rows])
        return replace(self, examples=examples)


def in_order(examples: Examples, resolution: int, size: int = 64, view: float = 1.0) -> InOrder:
    """Every example once, in order and without noise, for evaluation; `view` as `prepare` takes it."""
    return InOrder(examples, resolution, size, view)


def stacked(examples: Examples, resolution: int, view: float = 1.0) -> UInt8[np.ndarray, "n r r 3"]:
    """All images of `examples` without noise, as one array; `view` as `prepare` takes it."""
    return np.concatenate([batch.images.numpy() for batch in in_order(examples, resolution, view=view)])


def one_hot(labels: list[str], classes: tuple[str, ...]) -> Float32[np.ndarray, "n k"]:
    """Labels as rows of probabilities."""
    index = {name: number for number, name in enumerate(classes)}
    return np.eye(len(classes), dtype=np.float32)[[index[label] for label in labels]]


def three_channels(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """A grey image as three equal channels; a colour image as it is."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
