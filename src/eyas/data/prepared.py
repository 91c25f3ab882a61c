"""Image files to what a store keeps of them: decoded, reduced, measured, and told apart."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from xxhash import xxh3_128

from eyas.data import jpeg
from eyas.data.decode import Pixels, Refusal, decode
from eyas.data.pixels import PixelKernels, pixel_kernels
from eyas.data.quality import SIDE, Look, look
from eyas.data.resize import shrink
from eyas.data.workers import ahead

HASHED = "xxh3_128"  # how; digests of another kind would find no copies
TOGETHER = 8  # images that a thread reads before it hands them on
ALL = 16_000_000  # bytes of them, from which on it reads no more
LOOKS = tuple(field.name for field in fields(Look))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of an image, and its row of the index but for the id and the place."""

    content: bytes | memoryview
    row: dict[str, Any]


def in_order(sources: Sequence[str], side: int, threads: int, as_jpeg: bool) -> Generator[Prepared | Refusal]:
    """What becomes of each source, in their order; made in threads, some images a thread ahead of time, of large ones few."""
    by, starts = pixel_kernels(), range(0, len(sources), TOGETHER)

    def prepared(first: int) -> list[Prepared | Refusal]:
        found: list[Prepared | Refusal] = []
        room = ALL
        for source in sources[first : first + TOGETHER]:
            found.append(_prepare(source, side, as_jpeg, by))
            room -= 0 if isinstance(found[-1], Refusal) else len(found[-1].content)
            if room < 0:
                break
        return found

    for first, some in zip(starts, ahead(prepared, starts, threads), strict=True):
        yield from some
        for source in sources[first + len(some) : first + TOGETHER]:  # large ones: when their turn has come
            yield _prepare(source, side, as_jpeg, by)


def _prepare(source: str, side: int, as_jpeg: bool, by: PixelKernels | None) -> Prepared | Refusal:
    try:
        return _reduced(decode(source), side, as_jpeg, by)
    except Refusal as refusal:
        return refusal
    except MemoryError:
        return Refusal("needs more memory than there is")


def _reduced(pixels: Pixels, side: int, as_jpeg: bool, by: PixelKernels | None) -> Prepared:
    small = np.ascontiguousarray(shrink(pixels, side, by))
    names = ("height", "width", "channels", "original_height", "original_width")
    seen = look(small if min(small.shape[:2]) >= SIDE else pixels, by)  # that is measured at no more than SIDE in any case
    row = dict(zip(names, (*small.shape, *pixels.shape[:2]), strict=True)) | {"hash": pixel_hash(pixels)}
    row |= {name: getattr(seen, name) for name in LOOKS}
    return Prepared(jpeg.encode(small) if as_jpeg else small.reshape(-1).data, row)


def pixel_hash(pixels: Pixels) -> str:
    """A digest of the picture; a grey picture stored in three equal channels has that of its grey self.

    Of 128 bits, made to tell things apart (XXH3), not to withstand who makes two pictures to have the same one.
    """
    if _all_grey(pixels):
        pixels = pixels[..., :1]
    digest = xxh3_128(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).reshape(-1).data)
    return digest.hexdigest()


def _all_grey(pixels: Pixels) -> bool:
    if pixels.shape[2] != 3 or len(set(pixels[0, 0].tolist())) > 1:  # one pixel tells of most pictures that they have colours
        return False
    return all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2))
