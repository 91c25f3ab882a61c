"""Where a network runs, and in which precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Device:
    """A processor or an accelerator as the loop sees it."""

    name: str
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[None]:
        """Inside, matrix work runs in bfloat16 where that is faster."""
        return torch.autocast(self.name, torch.bfloat16, enabled=self.bfloat16)

    def seed(self, number: int) -> None:
        """Begin the random numbers of this device and of the processor anew; `torch.manual_seed` asks every kind there is."""
        torch.default_generator.manual_seed(number)
        if self.name == "cuda":
            torch.cuda.manual_seed(number)


def choose() -> Device:
    """The accelerator when there is one; bfloat16 where there are matrix units for it.

    With bfloat16 vectors but no matrix units (AVX-512 BF16 without AMX) the gain depends on the network: long runs measure it
    (`eyas.learn.way`), short ones stay in float32.
    """
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.is_bf16_supported())
    return Device("cpu", torch.cpu._is_amx_tile_supported())
