"""Images as a device will see them: from their encoded files, by the page that goes with every exported file.

What was trained saw prepared images. Were the device to see other ones (another channel order, another resize, another
crop), no comparison on those would tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from eyas.data.decode import Pixels, Refusal, decode
from eyas.data.manifest import Split
from eyas.data.prepared import pixel_hash
from eyas.data.sources import opened
from eyas.deploy import predict as page
from eyas.errors import ContractError
from eyas.progress import say, work
from eyas.studies.prepare import Data

Images = UInt8[np.ndarray, "n h w 3"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The labelled images of a run as devices see them; those that were asked for last are kept."""

    data: Data
    kept: dict[str, Images] = field(default_factory=dict)

    def images(self, split: Split, facts: dict[str, Any]) -> Images:
        """The images of a split in the order of `Data.examples`, each made from its file as the page makes it.

        An image whose file is gone or another one by now is made from its prepared pixels, and a sentence says how many. So
        are all where those are JPEG: the trained network, which is asked on them, would not see the same.

        Args:
            split: of the data.
            facts: what the artifact.json of the exported file says, as the page reads it.

        Raises:
            ContractError: the page cannot read a file that Eyas could.
        """
        key = repr((split, facts["resolution"], facts["crop"], facts["frame"]))
        if key not in self.kept:
            self.kept.clear()
            self.kept[key] = np.stack(list(self._seen(split, facts)))
        return self.kept[key]

    def _seen(self, split: Split, facts: dict[str, Any]) -> Iterator[Pixels]:
        rows = self.data.manifest.where(split=split)
        lost, exact = 0, not self.data.store.jpeg
        with work(f"reading the {split} images as a device does", len(rows)) as progress:
            for number, (id, source) in enumerate(zip(rows.column("id"), rows.column("source"), strict=True)):
                position = self.data.store.position(id)
                picture = self._picture(source, self.data.store.hashes[position]) if exact else None
                lost += exact and picture is None
                yield page.shown(self.data.store[position] if picture is None else picture, facts)
                progress.at(number + 1)
        if lost:
            say(
                f"the files of {lost} of {len(rows)} {split} images are gone, or others than when they were prepared: of those "
                "the prepared pixels are compared"
            )

    def _picture(self, source: str, hash: str) -> Pixels | None:
        """What the page makes of a file; None where it is not the one that was prepared."""
        try:
            with opened(source) as file:
                picture = page.decode(file.read())
        except Refusal:
            return None
        except page.Unreadable as error:
            if not _is(source, hash):
                return None
            raise ContractError(f"predict.py of the exported file cannot read {source}: {error}") from None
        return picture if pixel_hash(picture) == hash or _is(source, hash) else None


def _is(source: str, hash: str) -> bool:
    """Whether it is still the picture that was prepared, as Eyas reads it."""
    try:
        return pixel_hash(decode(source)) == hash
    except Refusal:
        return False
