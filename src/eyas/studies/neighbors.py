"""`eyas neighbors`: the images of a file of vectors that are nearest to an image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from eyas.data.manifest import Manifest
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.studies.embed import embedder, read_index, vectors
from eyas.studies.label import pile_of
from eyas.studies.labelling import show
from eyas.studies.model import find_model
from eyas.studies.teaching import checksum


@dataclass(frozen=True)
class Neighbor:
    """An image of the file, and the cosine of its vector with that of the image that was asked for."""

    id: str
    source: str
    cosine: float


def neighbors(image: str | Path, index: str | Path, top: int = 10, run: str | Path | None = None) -> list[Neighbor]:
    """Find the images most like one, the nearest first; of equally near ones the earlier in the file.

    Every vector is looked at, a part of the file at a time: exact, and quick up to a million or so.

    Args:
        image: an image file.
        index: the file that eyas embed wrote.
        top: how many.
        run: the run whose network the vectors are of; the file says where it was.

    Raises:
        UserError: the image cannot be read, the file holds no vectors, or the network is another one.
    """
    if top < 1:
        raise UserError(f"top is {top}; ask for 1 or more")
    facts, parts = read_index(Path(index))
    model = find_model(run if run is not None else facts["model"])
    if checksum(model) != facts["checksum"]:
        raise UserError(
            f"the vectors in {index} are of another network ({facts['arch']}, checksum {facts['checksum'][:8]}) than {model}; "
            "give --run the one they are of, or embed the images again"
        )
    asked = _vector(embedder(model)[0], Path(image))
    best: list[Neighbor] = []
    for ids, sources, found in parts:
        cosines = found @ asked
        order = np.argsort(-cosines, kind="stable")[:top].tolist()
        best += [Neighbor(ids[row], sources[row], float(cosines[row])) for row in order]
        best = sorted(best, key=lambda each: -each.cosine)[:top]
    return best


def _vector(network: Network, image: Path) -> Float32[np.ndarray, " d"]:
    """The vector of an image file, seen as those in the file were."""
    place = str(image.absolute())
    shown = show(pile_of(Manifest.of({"id": [place], "source": [place]}), network.arch), [0], network)
    if shown.refused:
        raise UserError(f"{image} cannot be used: {shown.refused[0][1]}")
    return vectors(network, shown.images)[0]
