"""Finding other images of the same identity: every image asks for its like among all the others."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

AT = (1, 5, 10)  # first answers that are looked at for recall
CHUNK = 512  # queries ranked at a time


@dataclass(frozen=True)
class Retrieval:
    """A figure for each query.

    Attributes:
        identities: of the queries: those images that another one shares its identity with.
        figures: `recall@k` is 1 where one of the k nearest is of the same identity, `average_precision` is over the ranking
            of all other images.
        alone: images whose identity no other has; they ask nothing, but are among what is found.
    """

    identities: Int64[np.ndarray, " q"]
    figures: dict[str, Float64[np.ndarray, " q"]]
    alone: int

    def mean(self, figure: str) -> float:
        """Mean over the queries; 0 where there are none."""
        return float(self.figures[figure].mean()) if len(self.identities) else 0.0


def retrieval(vectors: Float[np.ndarray, "n d"], identities: Int64[np.ndarray, " n"]) -> Retrieval:
    """How images with others of their identity find those; `vectors` have length 1, nearest is the largest product.

    Of equally near images the earlier one comes first.
    """
    _, index, counts = np.unique(identities, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(counts[index] > 1)
    parts = [_figures(vectors, identities, queries[start : start + CHUNK]) for start in range(0, len(queries), CHUNK)]
    none = {name: np.zeros(0) for name in (*(f"recall@{k}" for k in AT), "average_precision")}
    figures = {name: np.concatenate([empty, *(part[name] for part in parts)]) for name, empty in none.items()}
    return Retrieval(identities[queries], figures, len(vectors) - len(queries))


def _figures(
    vectors: Float[np.ndarray, "n d"], identities: Int64[np.ndarray, " n"], rows: Int64[np.ndarray, " q"]
) -> dict[str, Float64[np.ndarray, " q"]]:
    """Those of some queries."""
    near = vectors[rows] @ vectors.T
    near[np.arange(len(rows)), rows] = -np.inf  # itself comes last
    order = np.argsort(-near, axis=1, kind="stable")[:, :-1]
    same = identities[order] == identities[rows][:, None]
    found = np.cumsum(same, 1, dtype=np.float64)
    # The mean, over the images to find, of the share of right ones up to each.
    precision = (found / np.arange(1, same.shape[1] + 1) * same).sum(1) / found[:, -1]
    return {f"recall@{k}": same[:, :k].any(1).astype(np.float64) for k in AT} | {"average_precision": precision}
