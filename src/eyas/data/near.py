"""Near copies: re-encoded, resized, brightened, slightly cropped, mirrored or turned, found without comparing all pairs.

A perceptual hash proposes pairs, a comparison of thumbnails decides. The hash is the signs of low frequencies of the
thumbnail's cosine transform (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section
3.2), which makes the eight symmetries exact: a mirroring negates the odd frequencies, a quarter turn swaps the axes.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from eyas.data.spectrum import KEPT, Thumbnails, aligned, slopes, spectra, turn, unit, views
from eyas.progress import work

BITS = 64
BANDS, BAND = 10, 20  # tables, and bits of the hash that each is looked up by
DOUBTS = 3  # bits of a band that are tried both ways: those nearest to turning
CROWD = 64  # images under one key; more of them show what all have in common, and other bands must tell them apart
DISTANCE = 14  # bits that may differ
EQUAL = 0.0015  # 1 - correlation that compression alone causes, whatever the picture
RATIO = 0.1  # of a pair's distance to that of different images: below it, the likeness is no coincidence
OTHERS, RANK = 2000, 5  # images that stand for "different"; the distance to the fifth nearest counts, for four may be copies
ALIKE, ALIGNED = 0.5, 8  # correlation from which a pair is worth aligning, and how many of a query's pairs are
CHUNK = 512  # queries at a time
THREADS = 4  # numpy lets others run while it calculates; more would only hold more memory


@dataclass(frozen=True)
class Matches:
    """Near copies, one row each: `query` and `reference` are rows, `likeness` the correlation of the aligned thumbnails."""

    query: Int64[np.ndarray, " m"]
    reference: Int64[np.ndarray, " m"]
    likeness: Float32[np.ndarray, " m"]

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, reference and likeness."""
        return self.query, self.reference, self.likeness


def near_copies(queries: Thumbnails, references: Thumbnails, itself: bool = False) -> Matches:
    """Every query's near copies among the references, under any of the eight symmetries.

    A pair is a near copy when its distance, one less the correlation of the thumbnails, is at most what compression
    causes, or a tenth of the distance at which different images of the references lie from the query. That second
    measure is what keeps pictures that all look alike from being called copies. Pictures without any texture match
    nothing. With `itself`, both are the same images, and each pair is found once, with the earlier row as the reference.
    """
    if not len(queries) or not len(references):
        return _matches([])
    index = Index(references)

    def search(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.arange(start, min(start + CHUNK, len(queries)))
        query, reference, likeness = index.search(queries[rows], own=rows if itself else None)
        return rows[query], reference, likeness

    found = []
    with work("looking for near copies", total=len(queries)) as progress, ThreadPoolExecutor(THREADS) as pool:
        for part in pool.map(search, range(0, len(queries), CHUNK)):
            found.append(part)
            progress.at(min(len(found) * CHUNK, len(queries)))
    return _matches(found)


class Index:
    """References, ready to be searched: 1 KB of thumbnail, 0.6 KB of spectrum and some 50 bytes of keys each."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self.thumbnails = thumbnails
        raw = np.concatenate([spectra(thumbnails[i : i + CHUNK]) for i in range(0, len(thumbnails), CHUNK)])
        self.centres = _centres(raw)
        self.hashes, keys = np.empty(len(raw), np.uint64), np.empty((len(raw), BANDS), np.uint32)
        self.units = np.empty_like(raw)
        for start in range(0, len(raw), CHUNK):
            rows = slice(start, start + CHUNK)
            bits = _values(raw[rows], self.centres) > 0
            self.hashes[rows], keys[rows], self.units[rows] = _packed(bits), _keys(bits), unit(raw[rows])
        textured = np.flatnonzero(self.units.any((1, 2)))
        self.tables = [_Table(keys[textured, band], textured) for band in range(BANDS)]
        shuffled = np.random.default_rng(0).permutation(textured)
        self.others = np.sort(shuffled[:OTHERS])

    def search(
        self, thumbnails: Thumbnails, own: Int64[np.ndarray, " n"] | None
    ) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
        """Rows of queries, of references, and their likeness. With `own`, the queries' rows here, only earlier rows count."""
        seen = views(spectra(thumbnails))
        units = np.stack([unit(view) for view in seen])
        query, view, reference = self._candidates(seen, own)
        likeness = np.einsum("muv,muv->m", units[view, query], self.units[reference])
        best = _best(query, reference, likeness)
        query, view, reference, likeness = query[best], view[best], reference[best], likeness[best]
        limit = self._limits(units, query)
        far = (1 - likeness > limit) & (likeness >= ALIKE) & (_ranks(query, likeness) < ALIGNED)
        turned = turn(thumbnails[query[far]], view[far])
        likeness[far] = np.maximum(likeness[far], aligned(turned, self.thumbnails[reference[far]]))
        sure = 1 - likeness <= limit
        return query[sure], reference[sure], likeness[sure]

    def _candidates(
        self, seen: Float32[np.ndarray, "8 n k k"], own: Int64[np.ndarray, " n"] | None
    ) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
        """Query, view and reference of the pairs that share a band and most bits."""
        count = seen.shape[1]
        values = _values(seen.reshape(-1, *seen.shape[2:]), self.centres)
        bits = values > 0
        hashes, keys = _packed(bits), _keys(bits)
        found = []
        for band, table in enumerate(self.tables):
            for flips in _doubts(values, band):
                asked, reference = table.find(keys[:, band] ^ flips)
                close = np.bitwise_count(hashes[asked] ^ self.hashes[reference]) <= DISTANCE
                if own is not None:
                    close &= reference < own[asked % count]
                found.append(asked[close] * len(self.hashes) + reference[close])
        asked, reference = np.divmod(np.unique(np.concatenate(found)), len(self.hashes))
        return asked % count, asked // count, reference

    def _limits(self, units: Float32[np.ndarray, "8 n k k"], query: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, " m"]:
        """The distance up to which a pair is a copy: set by how far from the query different images lie."""
        asked, back = np.unique(query, return_inverse=True)
        if len(self.others) < 2 * RANK or not len(asked):
            return np.full(len(query), EQUAL, np.float32)  # too few images to know what different means here
        others = self.units[self.others].reshape(len(self.others), -1)
        distance = np.full((len(asked), len(others)), 2, np.float32)
        for view in units:
            np.minimum(distance, 1 - view[asked].reshape(len(asked), -1) @ others.T, out=distance)
        distance[distance <= EQUAL] = 2  # copies by the first measure, and the query itself, are no different images
        fifth = np.partition(distance, RANK - 1, axis=1)[:, RANK - 1]
        return np.maximum(EQUAL, RATIO * np.minimum(fifth, 1)).astype(np.float32)[back]


class _Table:
    """Rows by the bits of one band."""

    def __init__(self, keys: np.ndarray, rows: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self.rows, self.keys = rows[order], keys[order]

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each key's place in `keys`, and a row that has it."""
        first = np.searchsorted(self.keys, keys)
        counts = np.searchsorted(self.keys, keys, "right") - first
        counts[counts > CROWD] = 0
        asked = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
        return asked, self.rows[first[asked] + within]


@cache
def _places() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the frequencies that the bits of the hash are of: the lowest, without the mean."""
    order = np.argsort(slopes().reshape(-1), kind="stable")[1 : BITS + 1]
    return np.divmod(order, KEPT)


@cache
def _bands() -> np.ndarray:
    """The bits of each band, int [bands, band]: drawn once for all, the lower frequencies more often."""
    rng = np.random.default_rng(0)
    weight = 1 / np.hypot(*_places())
    return np.stack([rng.choice(BITS, BAND, replace=False, p=weight / weight.sum()) for _ in range(BANDS)])


def _centres(raw: Float32[np.ndarray, "n k k"]) -> Float32[np.ndarray, "k k"]:
    """What the references have in common: the median of each frequency, where no symmetry changes its sign."""
    middle = np.median(raw[:: max(1, len(raw) // 10_000)], axis=0)
    middle = (middle + middle.T) / 2
    middle[1::2] = 0
    middle[:, 1::2] = 0
    return middle.astype(np.float32)


def _values(spectrum: Float32[np.ndarray, "n k k"], centres: Float32[np.ndarray, "k k"]) -> Float32[np.ndarray, "n 64"]:
    rows, columns = _places()
    return spectrum[:, rows, columns] - centres[rows, columns]


def _packed(bits: Bool[np.ndarray, "n 64"]) -> UInt64[np.ndarray, " n"]:
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)[:, 0]


def _keys(bits: Bool[np.ndarray, "n 64"]) -> np.ndarray:
    powers = np.left_shift(np.uint32(1), np.arange(BAND, dtype=np.uint32))
    return np.stack([(bits[:, band] * powers).sum(1, dtype=np.uint32) for band in _bands()], 1)


def _doubts(values: Float32[np.ndarray, "n 64"], band: int) -> Iterator[np.ndarray]:
    """What to change in each key: nothing, then every set of the least certain bits."""
    weakest = np.argpartition(np.abs(values[:, _bands()[band]]), DOUBTS, axis=1)[:, :DOUBTS].astype(np.uint32)
    masks = np.left_shift(np.uint32(1), weakest)
    for subset in range(2**DOUBTS):
        yield masks[:, [bit for bit in range(DOUBTS) if subset >> bit & 1]].sum(1, dtype=np.uint32)


def _best(query: np.ndarray, reference: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """Of each pair, the place of its best view."""
    order = np.lexsort((-likeness, reference, query))
    first = np.ones(len(order), bool)
    first[1:] = (query[order][1:] != query[order][:-1]) | (reference[order][1:] != reference[order][:-1])
    return order[first]


def _ranks(query: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """Of each pair, how many of the same query are more alike."""
    order = np.lexsort((-likeness, query))
    ranks = np.empty(len(query), np.int64)
    ranks[order] = np.arange(len(query)) - np.searchsorted(query[order], query[order])
    return ranks


def _matches(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Matches:
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    query, reference, likeness = (np.concatenate(column) for column in zip(nothing, *parts, strict=True))
    return Matches(query, reference, likeness)
