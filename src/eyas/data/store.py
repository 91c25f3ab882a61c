"""Images decoded once into one memory-mapped file, with an index beside it."""

import errno
import io
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data import jpeg
from eyas.data.decode import Pixels, Refusal, size
from eyas.data.landing import Landing, landing
from eyas.data.manifest import Manifest
from eyas.data.prepared import HASHED, in_order
from eyas.data.quality import THUMBNAIL
from eyas.data.workers import processors
from eyas.errors import UserError
from eyas.progress import work
from eyas.run import write_atomic

PIXELS = "pixels.bin"  # images one after the other, each uint8 [h, w, c], or a JPEG file
INDEX = "index.parquet"  # written last: a store is whole when it is there
PART = ".pixels.part"
# Bytes of uint8 pixels; above this, JPEG, which takes about an eighth and half a millisecond an image. Pixels are only
# faster while the system keeps most of them in memory, and more than this few machines can spare. A number and no share
# of the disk: a run that is begun again, on a fuller disk, must read the same images.
RAW_BYTES = 20_000_000_000
SAMPLE = 200  # images whose headers are read to foretell the size
ROWS = 4096  # of the index that are held as Python objects
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
        # Of the picture, see eyas.data.quality.Look.
        ("thumbnail", pa.binary(THUMBNAIL**2)),
        *((name, pa.float32()) for name in ("brightness", "contrast", "dark", "light", "sharpness")),
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
    """Prepared images: `store[i]` is uint8 [h, w, c], read-only; a view into `pixels`, or decoded from the JPEG there."""

    index: pa.Table
    pixels: np.ndarray
    jpeg: bool = False

    def __len__(self) -> int:
        return self.index.num_rows

    def __getitem__(self, i: int) -> Pixels:
        offset, end, height, width, channels = self._places[i].tolist()
        if not self.jpeg:
            return self.pixels[offset:end].reshape(height, width, channels)
        try:
            pixels = jpeg.decode(self.pixels[offset:end].tobytes(), channels == 1)
        except ValueError as error:
            raise UserError(f"the prepared image {self.ids[i]} is damaged ({error}); run again with a new --out") from None
        pixels.flags.writeable = False
        return pixels

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images, in the order of the manifest that they were built from."""
        return tuple(self.index["id"].to_pylist())

    @cached_property
    def shapes(self) -> np.ndarray:
        """Height, width and channels of each image: int64 [n, 3]."""
        return self._places[:, 2:]

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
    def _places(self) -> np.ndarray:
        """Where an image begins and ends in `pixels`, and its shape: int64 [n, 5]."""
        offset, *shape = (self.index[name].to_numpy().astype(np.int64) for name in ("offset", "height", "width", "channels"))
        end = np.append(offset[1:], len(self.pixels)) if self.jpeg else offset + np.prod(shape, axis=0)
        return np.stack([offset, end, *shape], axis=1)


@dataclass(frozen=True)
class Built:
    """A store, and the images of the manifest that are not in it."""

    store: Store
    refused: tuple[Refused, ...]


def build(manifest: Manifest, folder: Path, side: int, threads: int | None = None, raw_bytes: int = RAW_BYTES) -> Built:
    """Decode every image of the manifest once and keep it with its short side reduced to `side` pixels, never enlarged.

    The same manifest and files give the same bytes, whatever the number of threads. What cannot be decoded is left
    out and listed. At most some images a thread are in memory, of large ones few. Pixels are kept as they are, or, where
    they would take more than about `raw_bytes`, as JPEG of quality 95 with colours at full resolution.

    Raises:
        UserError: the folder cannot be written, or the disk is full; no half store is left.
    """
    as_jpeg = foretold_bytes(manifest, side) > raw_bytes
    with _writing(folder) as file:
        index, refused = _fill(file, manifest, side, threads or processors(), as_jpeg)
        told = {"refused": [asdict(row) for row in refused], "bytes": file.written, "jpeg": as_jpeg, "hashed": HASHED}
    _finish(folder, index.replace_schema_metadata({name: json.dumps(value) for name, value in told.items()}))
    del index  # it is about to be read again; a large one is not held twice
    return open_built(folder)


def foretold_bytes(manifest: Manifest, side: int) -> int:
    """About how many bytes the pixels of all images will take, from the headers of at most `SAMPLE` of them."""
    sources = manifest.column("source")
    sample = sources[:: -(-len(sources) // SAMPLE)] if sources else []
    return round(sum(_pixel_bytes(source, side) for source in sample) * len(sources) / max(1, len(sample)))


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
    told = {name.decode(): json.loads(value) for name, value in (index.schema.metadata or {}).items()}
    if not {"refused", "bytes", "jpeg"} <= told.keys() or told.get("hashed") != HASHED:
        raise UserError(f"the prepared images in {folder} are of an earlier version; run again with a new --out")
    if size != told["bytes"]:
        raise UserError(f"{folder / PIXELS} has {size} bytes where {told['bytes']} belong; remove the folder and run again")
    pixels = np.memmap(folder / PIXELS, np.uint8, "r") if size else np.zeros(0, np.uint8)
    store = Store(index.replace_schema_metadata(), pixels, told["jpeg"])
    return Built(store, tuple(Refused(**row) for row in told["refused"]))


def _finish(folder: Path, index: pa.Table) -> None:
    """Put the pixels in their place, then the index, with which the store is whole."""
    with _explained(folder):
        (folder / PART).replace(folder / PIXELS)
        buffer = io.BytesIO()
        pq.write_table(index, buffer)
        write_atomic(folder / INDEX, buffer.getvalue())


def _pixel_bytes(source: str, side: int) -> int:
    try:
        height, width, channels = size(source)
    except Refusal:
        return 0
    scale = min(1.0, side / min(height, width))
    return round(height * scale) * round(width * scale) * channels


def _fill(file: Landing, manifest: Manifest, side: int, threads: int, as_jpeg: bool) -> tuple[pa.Table, list[Refused]]:
    """Write the pixels; the index and what was refused."""
    rows: list[dict[str, Any]] = []
    batches: list[pa.RecordBatch] = []
    refused: list[Refused] = []
    ids, sources = manifest.column("id"), manifest.column("source")
    with work("reading images", total=len(manifest)) as progress:
        for done, result in enumerate(in_order(sources, side, threads, as_jpeg)):
            if isinstance(result, Refusal):
                refused.append(Refused(ids[done], sources[done], str(result)))
            else:
                rows.append({"id": ids[done], "offset": file.written, **result.row})
                file.write(result.content)
            if len(rows) == ROWS:
                batches.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
                rows.clear()
            progress.at(done + 1, note=f"{len(refused)} refused" if refused else "")
    return pa.Table.from_batches([*batches, pa.RecordBatch.from_pylist(rows, SCHEMA)]), refused


@contextmanager
def _writing(folder: Path) -> Generator[Landing]:
    """The file of pixels under a temporary name, on the disk when the block ends, gone when it fails."""
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)  # an earlier index must never meet new pixels
        with landing(folder / PART) as file:
            yield file


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
