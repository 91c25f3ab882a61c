"""`eyas embed`: a vector for every image, in one parquet file; and that file, opened again."""

import hashlib
import io
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import nn
from torch.nn import functional

from eyas.data.readers import read_pile
from eyas.data.workers import ahead, threads_beside
from eyas.errors import UserError
from eyas.learn.device import choose
from eyas.nn.build import Network
from eyas.nn.weights import kind_of, load_network
from eyas.progress import Pace, say, work
from eyas.run import PARTIAL, read_json, write_atomic, write_json
from eyas.studies.label import pile_of
from eyas.studies.labelling import SHARD, Pile, batches, show
from eyas.studies.model import find_model
from eyas.studies.teaching import checksum

FACTS = "eyas"  # entry of the file's metadata: which network the vectors are of
NOTES = "facts.json"
ROWS = 16384  # read at a time
TYPES = {"float16": pa.float16(), "float32": pa.float32()}

Vectors = Float32[np.ndarray, "n d"]


@dataclass(frozen=True)
class Embedded:
    """What `eyas embed` leaves.

    Attributes:
        out: the file.
        arch: the network that the vectors are of.
        learned: whether it was trained to embed; if not, they are what its head stands on.
        width: length of a vector.
        images: with a vector.
        unreadable: images without one.
    """

    out: Path
    arch: str
    learned: bool
    width: int
    images: int
    unreadable: int


def embed(run: str | Path, data: str | Path, out: str | Path, precision: Literal["float16", "float32"] = "float32") -> Embedded:
    """Write a vector of length 1 for every image, to find like ones by: rows of id, source and vector.

    A network that was trained to embed answers with its vectors; of any other it is what the head stands on. A command that
    was stopped goes on where it was; the file is there when it is whole.

    Args:
        run: a run of eyas train, or one stage's folder in it.
        data: images, in anything that eyas fit takes; labels there are not read.
        out: the file, which ends in .parquet.
        precision: of the numbers; float16 takes half the room, and cosines are right to about 0.001.

    Raises:
        UserError: there is no network or no image that can be read, or the file is of another kind.
    """
    path, model = Path(out), find_model(run)
    if path.suffix != ".parquet":
        raise UserError(f"{out} is to hold vectors; give --out a name that ends in .parquet")
    network, learned = embedder(model)
    pile = pile_of(read_pile(str(data)), network.arch)
    facts = {"model": str(model.absolute()), "checksum": checksum(model), "arch": str(network.arch), "learned": learned}
    parts = path.with_name(f".{path.name}.parts")
    _claim(parts, facts | {"images": _digest(pile), "precision": precision})
    refused = _write_parts(parts, network, pile, TYPES[precision])
    images = len(pile) - len(refused)
    if not images:
        raise UserError(f"none of {len(pile)} images in {data} can be read; of the first: {refused[0]}")
    if refused:
        say(f"{len(refused)} of {len(pile)} images cannot be read and have no vector; {refused[0]}")
    _join(parts, len(pile), path, facts | {"width": _width(network)})
    return Embedded(path, str(network.arch), learned, _width(network), images, len(refused))


def embedder(model: Path) -> tuple[Network, bool]:
    """A network whose answers are vectors, and whether it learned them; else its head is taken off.

    Raises:
        UserError: the file holds no network, or a detector.
    """
    kind = kind_of(model)
    if kind == "detect":
        raise UserError(f"{model} is a detector, which has boxes and no vector; give a run that learned another task")
    learned = kind == "embed"
    network = load_network(model)[0]
    if not learned:
        network.head = nn.Identity()
    return network, learned


@torch.inference_mode()
def vectors(network: Network, images: UInt8[np.ndarray, "n r r 3"]) -> Vectors:
    """Vectors of length 1 of images at the network's resolution."""
    device = choose()
    given = network.to(device.name)(torch.from_numpy(images).to(device.name))
    return functional.normalize(given.float(), dim=1).cpu().numpy()


def read_index(index: Path) -> tuple[dict[str, Any], Generator[tuple[list[str], list[str], Vectors]]]:
    """What is known of the network behind a file of vectors; and ids, sources and vectors, some rows at a time.

    Raises:
        UserError: it is not such a file.
    """
    try:
        file = pq.ParquetFile(index)
    except FileNotFoundError:
        raise UserError(f"no vectors at {index}; give the --out of eyas embed") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{index} cannot be read as a file of vectors: {error}") from None
    text = (file.schema_arrow.metadata or {}).get(FACTS.encode())
    if text is None:
        raise UserError(f"{index} holds no vectors of Eyas; give the --out of eyas embed")

    def rows() -> Generator[tuple[list[str], list[str], Vectors]]:
        for batch in file.iter_batches(ROWS, columns=["id", "source", "vector"]):
            found = batch["vector"].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            yield batch["id"].to_pylist(), batch["source"].to_pylist(), found.reshape(batch.num_rows, -1)

    return json.loads(text), rows()


def _claim(parts: Path, facts: dict[str, Any]) -> None:
    """Make the folder of parts; what another command left there goes."""
    if (parts / NOTES).exists() and read_json(parts / NOTES) == facts:
        return
    shutil.rmtree(parts, ignore_errors=True)
    try:
        parts.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot write beside {parts.parent}: {error.strerror}; give --out a place that you may write to"
        ) from None
    write_json(parts / NOTES, facts)


def _digest(pile: Pile) -> str:
    """Changes when an image is another one, or in another place."""
    digest = hashlib.sha256()
    for chunk in pile.marks.chunks:
        digest.update(b"".join(chunk.to_pylist()))
    return digest.hexdigest()[:32]


def _write_parts(parts: Path, network: Network, pile: Pile, kind: pa.DataType) -> list[str]:
    """Write a part for each `SHARD` images, where it is not there yet; what cannot be read, and why."""
    pace = Pace()
    with work("embedding", len(pile)) as progress:
        for start in range(0, len(pile), SHARD):
            rows = np.arange(start, min(start + SHARD, len(pile)))
            if not _part(parts, start).exists():
                _write_part(_part(parts, start), network, pile, rows, kind)
            progress.at(int(rows[-1]) + 1, f"{pace.after(len(rows)):.0f} images/s")
    schemas = [pq.read_schema(_part(parts, start)).metadata for start in range(0, len(pile), SHARD)]
    return [reason for found in schemas for reason in json.loads(found[b"refused"])]


def _write_part(path: Path, network: Network, pile: Pile, rows: Int64[np.ndarray, " n"], kind: pa.DataType) -> None:
    used, refused, found = [], [], []
    for shown in ahead(lambda some: show(pile, some, network), batches(rows), threads_beside(choose().name)):
        used += shown.rows
        refused += [f"{pile.ids[row].as_py()}: {reason}" for row, reason in shown.refused]
        if shown.rows:
            found.append(vectors(network, shown.images))
    given = np.concatenate(found) if found else np.zeros((0, _width(network)), np.float32)
    flat = pa.array(given.reshape(-1)).cast(kind)
    columns = {name: column.take(pa.array(used, pa.int64())) for name, column in (("id", pile.ids), ("source", pile.sources))}
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, given.shape[1])})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"refused": json.dumps(refused)}), buffer)
    write_atomic(path, buffer.getvalue())


def _join(parts: Path, images: int, path: Path, facts: dict[str, Any]) -> None:
    """One file of all parts, a part at a time; then they go."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
    names = [_part(parts, start) for start in range(0, images, SHARD)]
    schema = pq.read_schema(names[0]).with_metadata({FACTS: json.dumps(facts)})
    try:
        with pq.ParquetWriter(temporary, schema) as writer:
            for name in names:
                writer.write_table(pq.read_table(name).replace_schema_metadata(schema.metadata))
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; mend that and give the same command again") from None
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(parts)


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start // SHARD:05d}.parquet"


def _width(network: Network) -> int:
    return network.head.out_features if isinstance(network.head, nn.Linear) else network.arch.features
