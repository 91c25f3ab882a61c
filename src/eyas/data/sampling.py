"""In which order the images of a source are drawn, and how often each."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from eyas.errors import UserError


def balanced(targets: Float32[np.ndarray, "n k"], power: float) -> Float64[np.ndarray, " n"]:
    """How often each image is to be drawn in an epoch of n draws, by the scarcity of its class.

    `power` 0 draws each image once; 1 draws each class equally often; 0.5 lies between (square-root sampling).
    """
    weights = targets.astype(np.float64) @ scarcity(targets, power)
    return weights * len(weights) / weights.sum()


def scarcity(targets: Float32[np.ndarray, "n k"], power: float = 1.0) -> Float64[np.ndarray, " k"]:
    """A weight for each class: its share of the images to the power of -`power`; 0 for a class without images.

    The images' mean weight is 1. With power 1 it is n / (classes with images x images of the class).
    """
    counts = targets.sum(0, dtype=np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1e-12) ** -power, 0.0)
    return weights * counts.sum() / (weights * counts).sum()


def epoch(weights: Float64[np.ndarray, " n"] | None, images: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """`images` draws in random order: each image once, or with `weights` (mean 1) as often as its weight says.

    An image of weight 2.3 is drawn twice or three times, 2.3 times on average (systematic resampling in a random order).
    """
    order = rng.permutation(images)
    if weights is None:
        return order
    ends = np.minimum(np.floor(np.cumsum(weights[order]) + rng.random()), images)
    ends[-1] = images  # what the weights sum to, but for rounding
    return rng.permutation(np.repeat(order, np.diff(ends, prepend=0.0).astype(np.int64)))


@dataclass(frozen=True, eq=False)
class Groups:
    """Batches of a few images of each of some identities (P x K): what pairs and triplets are made of.

    Attributes:
        members: the rows of each identity that can be drawn: those with two images or more.
        each: images of an identity in a batch (K).
    """

    members: tuple[Int64[np.ndarray, " _"], ...]
    each: int

    @classmethod
    def of(cls, identities: Int64[np.ndarray, " n"], each: int) -> "Groups":
        """The groups of images that have the same number.

        Raises:
            UserError: fewer than two identities have two images.
        """
        order = np.argsort(identities, kind="stable")
        starts = np.flatnonzero(np.diff(identities[order], prepend=-1))
        members = tuple(rows for rows in np.split(order, starts[1:]) if len(rows) > 1)
        if len(members) < 2:
            raise UserError(
                f"{len(members)} of {len(starts)} identities have two images or more to train on; an embedding is learned from "
                "at least two such identities"
            )
        return cls(members, each)

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` rows: K of each of count / K identities, every identity as likely; few images of one are repeated.

        There are as many different identities as there can be.
        """
        wanted = count // self.each
        turns = [rng.permutation(len(self.members)) for _ in range(-(-wanted // len(self.members)))]
        return [row for group in np.concatenate(turns)[:wanted] for row in self._some(self.members[group], rng)]

    def _some(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator) -> list[int]:
        turns = [rng.permutation(rows) for _ in range(-(-self.each // len(rows)))]
        return np.concatenate(turns)[: self.each].tolist()
