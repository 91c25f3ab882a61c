"""A teacher's answers to the pile, in parquet shards."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from eyas.nn.build import Network
from eyas.progress import work
from eyas.run import write_atomic
from eyas.studies.learning import probabilities
from eyas.studies.prepare import Data

SHARD = 4096  # images


def label(folder: Path, network: Network, data: Data) -> dict[str, Any]:
    """Write the answers of `network`, without noise, to every clean image of the pile; shards that are there are kept.

    Columns: `id`, `probabilities` (fixed-size list of float16, one a class), `top` (index of the class), `confidence`.
    """
    assert data.pile is not None
    ids = data.pile.column("id")
    with work("labelling the pile", len(ids)) as progress:
        for start in range(0, len(ids), SHARD):
            path = folder / f"{start // SHARD:05d}.parquet"
            shard = ids[start : start + SHARD]
            if not path.exists():
                _write(path, shard, probabilities(network, data.unlabelled(shard)))
            progress.at(start + len(shard))
    return {"images": len(ids), "arch": str(network.arch)}


def read_labels(folder: Path) -> tuple[list[str], Float32[np.ndarray, "n k"]]:
    """Ids and probabilities that `label` wrote, in order."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    table = pa.concat_tables(tables)
    given = np.array(table["probabilities"].to_pylist(), dtype=np.float32)
    return table["id"].to_pylist(), given / given.sum(1, keepdims=True)


def _write(path: Path, ids: list[str], given: Float32[np.ndarray, "n k"]) -> None:
    flat = pa.array(given.astype(np.float16).reshape(-1))
    table = pa.table(
        {
            "id": ids,
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, given.shape[1]),
            "top": given.argmax(1),
            "confidence": given.max(1),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())
