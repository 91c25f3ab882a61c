"""Prepared images that stay on an accelerator: sent there once, not once an epoch, and cropped there."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from eyas.data.store import Store

SHARE = 0.25  # of an accelerator's memory, free or not, that images may take: a run that goes on must crop them where it began
SENT = 2**26  # bytes at a time
AT_ONCE = 32  # images that are cropped at a time: every pixel of theirs is looked up by a number of eight bytes


@dataclass(frozen=True, slots=True)
class Resident:
    """Images one behind the other on a device.

    Attributes:
        pixels: of all images.
        places: where each image begins in them, its height, width and channels.
    """

    pixels: UInt8[Tensor, " bytes"]
    places: Int64[np.ndarray, "n 4"]

    def crops(self, rows: Int64[np.ndarray, " b"], boxes: Float64[np.ndarray, "b 4"], side: int) -> UInt8[Tensor, "b r r c"]:
        """A box of each image (left, top, right, bottom as shares) at `side` x `side`; of mixed images all have three channels.

        Bilinear and antialiased, within a level of `eyas.data.augment.crops`.
        """
        channels = int(self.places[rows, 3].max())
        parts = [slice(first, first + AT_ONCE) for first in range(0, len(rows), AT_ONCE)]
        return torch.cat([self._crops(self.places[rows[part]], boxes[part], side, channels) for part in parts])

    def _crops(
        self, places: Int64[np.ndarray, "b 4"], boxes: Float64[np.ndarray, "b 4"], side: int, channels: int
    ) -> UInt8[Tensor, "b r r c"]:
        offset, height, width, own = places.T
        left, top, right, bottom = np.rint(boxes * np.stack([width, height, width, height], axis=1)).astype(np.int64).T
        left, top = np.minimum(left, width - 1), np.minimum(top, height - 1)
        high, wide = np.clip(bottom, top + 1, height) - top, np.clip(right, left + 1, width) - left
        facts = torch.from_numpy(np.stack([offset + (top * width + left) * own, width, own, high, wide])).to(self.pixels.device)
        first, width_, own_, high_, wide_ = (each.view(-1, 1, 1, 1) for each in facts)
        y = torch.arange(int(high.max()), device=facts.device).view(1, -1, 1, 1).minimum(high_ - 1)
        x = torch.arange(int(wide.max()), device=facts.device).view(1, 1, -1, 1).minimum(wide_ - 1)
        channel = torch.arange(channels, device=facts.device).view(1, 1, 1, -1).minimum(own_ - 1)  # grey in every channel
        found = self.pixels[first + (y * width_ + x) * own_ + channel].float()
        narrow = torch.einsum("brw,bhwc->bhrc", _weights(facts[4], side, int(wide.max())), found)
        small = torch.einsum("bsh,bhrc->bsrc", _weights(facts[3], side, int(high.max())), narrow)
        return small.round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Cut:
    """Crops that are still to be made where the images are; see `Resident.crops`."""

    held: Resident
    rows: Int64[np.ndarray, " b"]
    boxes: Float64[np.ndarray, "b 4"]
    side: int

    def made(self) -> UInt8[Tensor, "b r r c"]:
        """The crops."""
        return self.held.crops(self.rows, self.boxes, self.side)


def hold(store: Store, positions: Int64[np.ndarray, " n"], device: str) -> Resident | None:
    """The images at `positions` on `device`; `None` where they would take more than a share of its memory, or are JPEG."""
    shapes = store.shapes[positions]
    sizes = shapes.prod(axis=1)
    if store.jpeg or sizes.sum() > SHARE * _memory(device):
        return None
    ends = np.cumsum(sizes)
    pixels = torch.empty(int(sizes.sum()), dtype=torch.uint8, device=device)
    begun = 0
    while begun < len(positions):
        at = int(ends[begun] - sizes[begun])
        stop = max(begun + 1, int(np.searchsorted(ends, at + SENT, side="right")))
        some = np.concatenate([store[int(position)].reshape(-1) for position in positions[begun:stop]])
        pixels[at : at + len(some)] = torch.from_numpy(some).to(device)
        begun = stop
    return Resident(pixels, np.column_stack([ends - sizes, shapes]))


def _weights(sizes: Int64[Tensor, " b"], side: int, longest: int) -> Float[Tensor, "b r w"]:
    """What each of `sizes` pixels in a row adds to each of `side`: a triangle two output pixels wide, or two input ones."""
    scale = (sizes / side).view(-1, 1, 1)
    output = torch.arange(side, device=sizes.device).view(1, -1, 1)
    input = torch.arange(longest, device=sizes.device).view(1, 1, -1)
    apart = (input + 0.5 - (output + 0.5) * scale) / scale.clamp(min=1)
    found = (1 - apart.abs()).clamp(min=0) * (input < sizes.view(-1, 1, 1))
    return found / found.sum(2, keepdim=True)


def _memory(device: str) -> int:
    return torch.cuda.mem_get_info(device)[1]
