"""Images decoded once into one memory-mapped file, with an index beside it."""

import errno
import hashlib
import io
import json
import os
import shutil
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from eyas.data.decode import Pixels, Refusal, decode
from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.progress import work
from eyas.run import write_atomic

PIXELS = "pixels.bin"  # uint8, images one after the other, each [h, w, c]
INDEX = "index.parquet"  # written last: a store is whole when it is there
PART = ".pixels.part"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("offset", pa.int64()),  # bytes
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("channels", pa.int32()),
        ("hash", pa.string()),  # of the pixels at full size: equal for equal pictures, whatever their files
        ("original_height", pa.int32()),
        ("original_width", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not used, and why."""

    id: str
    source: str
    reason: str


@dataclass(frozen=True)
class Store:
    """Prepared images: `store[i]` is uint8 [h, w, c], a read-only view into `pixels`."""

    index: pa.Table
    pixels: np.ndarray

    def __len__(self) -> int:
        return self.index.num_rows

    def __getitem__(self, i: int) -> Pixels:
        offset, height, width, channels = self._places[i]
        return self.pixels[offset : offset + height * width * channels].reshape(height, width, channels)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images, in the order of the manifest that they were built from."""
        return tuple(self.index["id"].to_pylist())

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """One digest an image; equal digests are equal pictures."""
        return tuple(self.index["hash"].to_pylist())

    def position(self, id: str) -> int:
        """Where the image `id` is; KeyError if it is not here."""
        return self._positions[id]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {id: i for i, id in enumerate(self.ids)}

    @cached_property
    def _places(self) -> list[tuple[int, int, int, int]]:
        columns = (self.index[name].to_pylist() for name in ("offset", "height", "width", "channels"))
        return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class Built:
    """A store, and the images of the manifest that are not in it."""

    store: Store
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    pixels: Pixels
    hash: str
    height: int
    width: int


def build(manifest: Manifest, folder: Path, side: int, threads: int | None = None) -> Built:
    """Decode every image of the manifest once and keep it with its short side reduced to `side` pixels, never enlarged.

    The same manifest and files give the same bytes, whatever the number of threads. What cannot be decoded is left
    out and listed. At most a few images a thread are in memory.

    Raises:
        UserError: the folder cannot be written, or the disk is full; no half store is left.
    """
    with _writing(folder) as file:
        rows, refused = _fill(file, manifest, side, threads or _processors())
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({"refused": json.dumps([asdict(r) for r in refused])})
    with _explained(folder):
        (folder / PART).replace(folder / PIXELS)
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_atomic(folder / INDEX, buffer.getvalue())
    return open_built(folder)


def open_store(folder: Path) -> Store:
    """The store in `folder`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return open_built(folder).store


def open_built(folder: Path) -> Built:
    """What `build` returned, again.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        index = pq.read_table(folder / INDEX)
        size = (folder / PIXELS).stat().st_size
    except FileNotFoundError:
        raise UserError(f"{folder} holds no prepared images: was the run that makes them finished?") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"the prepared images in {folder} cannot be read: {error}; remove the folder and run again") from None
    expected = int(np.prod([index[name].to_numpy() for name in ("height", "width", "channels")], axis=0, dtype=np.int64).sum())
    if size != expected:
        raise UserError(f"{folder / PIXELS} has {size} bytes where {expected} belong; remove the folder and run again")
    pixels = np.memmap(folder / PIXELS, np.uint8, "r") if size else np.zeros(0, np.uint8)
    refused = json.loads((index.schema.metadata or {})[b"refused"])
    return Built(Store(index.replace_schema_metadata(), pixels), tuple(Refused(**row) for row in refused))


def shrink(pixels: Pixels, side: int) -> Pixels:
    """The image with its short side at `side` pixels, antialiased; a smaller one as it is."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short <= side:
        return pixels
    size = (round(width * side / short), round(height * side / short))
    grey = pixels.shape[2] == 1
    image = Image.fromarray(pixels[..., 0] if grey else pixels)
    # Bicubic over the whole footprint of a pixel; box-averaging first to three times the size is faster, looks the same.
    small = np.array(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    return small[..., None] if grey else small


def pixel_hash(pixels: Pixels) -> str:
    """A digest of the picture; a grey picture stored in three equal channels has that of its grey self."""
    first = pixels[..., :1]
    if pixels.shape[2] == 3 and np.array_equal(first, pixels[..., 1:2]) and np.array_equal(first, pixels[..., 2:]):
        pixels = first
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).reshape(-1).data)
    return digest.hexdigest()


def _fill(file: IO[bytes], manifest: Manifest, side: int, threads: int) -> tuple[list[dict[str, int | str]], list[Refused]]:
    """Write the pixels; the rows of the index and what was refused."""
    rows: list[dict[str, int | str]] = []
    refused: list[Refused] = []
    ids, sources = manifest.column("id"), manifest.column("source")
    offset = 0
    with work("reading images", total=len(manifest)) as progress:
        for done, result in enumerate(_in_order(sources, side, threads)):
            if isinstance(result, Refusal):
                refused.append(Refused(ids[done], sources[done], str(result)))
            else:
                rows.append({"id": ids[done], "offset": offset, **_row(result)})
                offset += file.write(np.ascontiguousarray(result.pixels).data)
            progress.at(done + 1, note=f"{len(refused)} refused" if refused else "")
    return rows, refused


def _row(image: _Prepared) -> dict[str, int | str]:
    height, width, channels = image.pixels.shape
    size = {"height": height, "width": width, "channels": channels}
    return size | {"hash": image.hash, "original_height": image.height, "original_width": image.width}


def _in_order(sources: Iterable[str], side: int, threads: int) -> Generator[_Prepared | Refusal]:
    """Results in the order of the sources; at most four a thread are waiting to be written."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[_Prepared | Refusal]] = deque()
    try:
        for source in sources:
            waiting.append(pool.submit(_prepare, source, side))
            if len(waiting) >= 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(source: str, side: int) -> _Prepared | Refusal:
    try:
        pixels = decode(source)
    except Refusal as refusal:
        return refusal
    return _Prepared(shrink(pixels, side), pixel_hash(pixels), *pixels.shape[:2])


@contextmanager
def _writing(folder: Path) -> Generator[IO[bytes]]:
    """The file of pixels under a temporary name, on the disk when the block ends, gone when it fails."""
    part = folder / PART
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)  # an earlier index must never meet new pixels
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free // 1_000_000
            raise UserError(
                f"the disk is full: the prepared images do not fit in {folder} ({free} MB free); "
                "free some space or give --out another disk"
            ) from None
        raise UserError(f"cannot write prepared images to {folder}: {error.strerror or error}") from None


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
