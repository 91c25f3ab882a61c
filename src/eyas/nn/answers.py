"""What stands behind a network's raw outputs, by what it was trained for: in an exported file as in evaluation."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Kind = Literal["classify", "attributes", "embed", "detect"]
"""What a network answers: probabilities of classes, those of attributes, a vector, or boxes."""


def answered(raw: Float[Tensor, "n *_"], kind: Kind) -> Float[Tensor, "n k"]:
    """The answer of a network to each image, float32: one row of numbers.

    Args:
        raw: what the network gives: logits, a vector of any length, or of an SSD for each default box four offsets and the
            logits of background and classes.
        kind: of the network.
    """
    return ANSWERS[kind](raw.float())


def _boxes(raw: Float[Tensor, "n boxes m"]) -> Float[Tensor, "n k"]:
    """Offsets as they are and scores as probabilities, laid flat: `eyas.deploy.boxes` makes boxes of them, in numpy."""
    return torch.cat([raw[..., :4], raw[..., 4:].softmax(2)], 2).flatten(1)


ANSWERS: dict[Kind, Callable[[Tensor], Tensor]] = {
    "classify": lambda raw: raw.softmax(-1),
    "attributes": torch.sigmoid,
    "embed": lambda raw: functional.normalize(raw, dim=-1),
    "detect": _boxes,
}
