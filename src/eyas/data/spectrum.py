"""Thumbnails as frequencies: what the eight mirrorings and turns do to them, and how alike two are, crops included."""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from eyas.data.quality import THUMBNAIL

Thumbnails = UInt8[np.ndarray, "_ 32 32"]

KEPT = 12  # frequencies a side that are compared: beyond them, strong compression leaves nothing to recognise
FLAT = 0.5  # root mean square of the grey levels below which there is nothing to compare
SHARES = (0.975, 0.95, 0.925)  # of the sides that a crop may have kept
CHUNK = 512  # pairs at a time


def spectra(thumbnails: Thumbnails) -> Float32[np.ndarray, "n 12 12"]:
    """The lowest frequencies of each thumbnail, the mean taken out, weighted by frequency as natural pictures fall off."""
    found = _cosines() @ thumbnails.astype(np.float32) @ _cosines().T
    return found * slopes()


def views(spectrum: Float32[np.ndarray, "n k k"]) -> Float32[np.ndarray, "8 n k k"]:
    """The spectra of the eight mirrorings and turns: view 4a + 2b + c swaps the axes, then mirrors them."""
    signs = ((-1.0) ** np.arange(spectrum.shape[-1])).astype(np.float32)
    turned = (spectrum, spectrum.transpose(0, 2, 1))
    return np.stack([s * a * b for s in turned for a in (np.float32(1), signs[:, None]) for b in (np.float32(1), signs[None])])


def turn(thumbnails: UInt8[np.ndarray, "n h w"], view: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w"]:
    """The thumbnails themselves in the views of `views`."""
    found = thumbnails.copy()
    for number in range(8):
        rows = view == number
        seen = thumbnails[rows].transpose(0, 2, 1) if number & 4 else thumbnails[rows]
        seen = seen[:, ::-1] if number & 2 else seen
        found[rows] = seen[:, :, ::-1] if number & 1 else seen
    return found


def unit(raw: Float32[np.ndarray, "n k k"]) -> Float32[np.ndarray, "n k k"]:
    """Spectra of length one, so that products are correlations; nothing where there is no texture."""
    plain = np.divide(raw, slopes(), out=np.zeros_like(raw), where=slopes() > 0)
    flat = np.sqrt((plain**2).sum((1, 2))) < FLAT * THUMBNAIL
    norm = np.sqrt((raw**2).sum((1, 2)))
    return np.where(flat[:, None, None], 0, raw / np.maximum(norm, 1e-6)[:, None, None]).astype(np.float32)


def aligned(one: UInt8[np.ndarray, "m 32 32"], other: UInt8[np.ndarray, "m 32 32"]) -> Float32[np.ndarray, " m"]:
    """The correlation of two thumbnails when either is taken for a slight crop of the other, at its best place."""
    found = np.full(len(one), -1, np.float32)
    for start in range(0, len(one), CHUNK):
        rows = slice(start, start + CHUNK)
        for whole, part in ((one[rows], other[rows]), (other[rows], one[rows])):
            goal = unit(spectra(part))
            for share in SHARES:
                found[rows] = np.maximum(found[rows], _windows(whole, share, goal))
    return found


def _windows(
    whole: UInt8[np.ndarray, "m 32 32"], share: float, unit: Float32[np.ndarray, "m k k"]
) -> Float32[np.ndarray, " m"]:
    cosines = _cropped(share)
    places = len(cosines) // KEPT
    found = (cosines @ whole.astype(np.float32) @ cosines.T).reshape(len(whole), places, KEPT, places, KEPT)
    found *= slopes()[:, None]
    norms = np.sqrt(np.einsum("mpuqv,mpuqv->mpq", found, found))
    return (np.einsum("mpuqv,muv->mpq", found, unit) / np.maximum(norms, 1e-6)).max((1, 2), initial=-1)


@cache
def _cosines() -> Float32[np.ndarray, "12 32"]:
    """The lowest rows of the orthonormal cosine transform (DCT-II)."""
    frequency, place = np.arange(KEPT)[:, None], np.arange(THUMBNAIL)[None]
    found = np.cos(np.pi * (2 * place + 1) * frequency / (2 * THUMBNAIL)) * np.sqrt(2 / THUMBNAIL)
    found[0] /= np.sqrt(2)
    return found.astype(np.float32)


@cache
def _cropped(share: float) -> Float32[np.ndarray, "_ 32"]:
    """The same for windows that keep `share` of a side, at five places from one end to the other."""
    found = []
    for place in (0, 0.25, 0.5, 0.75, 1):
        at = np.clip((np.arange(THUMBNAIL) + 0.5) * share + place * (1 - share) * THUMBNAIL - 0.5, 0, THUMBNAIL - 1)
        low = np.floor(at).astype(int)
        sample = np.zeros((THUMBNAIL, THUMBNAIL), np.float32)
        sample[np.arange(THUMBNAIL), low] += 1 - (at - low)
        sample[np.arange(THUMBNAIL), np.minimum(low + 1, THUMBNAIL - 1)] += at - low
        found.append(_cosines() @ sample)
    return np.concatenate(found).astype(np.float32)


@cache
def slopes() -> Float32[np.ndarray, "12 12"]:
    """Weights that make all frequencies of a natural picture count: its amplitudes fall as one over the frequency."""
    return np.hypot(*np.mgrid[:KEPT, :KEPT]).astype(np.float32)
