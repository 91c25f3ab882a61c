"""Stand-ins that several tests share: a store in memory, a small table, and a problem that is learned in seconds."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from eyas.arch.ops import conv, mbconv
from eyas.arch.spec import Arch, Stage
from eyas.data.batches import Examples, Part, Stream, one_hot
from eyas.data.store import SCHEMA, Store
from eyas.nn.build import Network, build
from eyas.recipe import Augment, Training

COLOURS = ("red", "green", "blue")
Module = TypeVar("Module", bound=nn.Module)

# Everything that EfficientNet-B0 has, in a few thousand weights: expansion, squeeze, shortcuts, a head convolution.
TINY = Arch(
    "tiny",
    resolution=16,
    head=32,
    activation="silu",
    padding="same",
    init="fan_out",
    stages=(
        Stage(conv, 3, 2, 16),
        Stage(mbconv, 3, 1, 16, 2, 1, 1 / 2),
        Stage(mbconv, 5, 2, 32, 3, 2, 1 / 4),
    ),
)


def store_of(images: Sequence[np.ndarray]) -> Store:
    """A store of uint8 [h, w, c] arrays, held in memory."""
    rows, offset = [], 0
    for number, image in enumerate(images):
        height, width, channels = image.shape
        rows.append({"id": str(number), "offset": offset, "height": height, "width": width, "channels": channels})
        offset += image.size
    return Store(pa.Table.from_pylist(rows, SCHEMA), np.concatenate([image.reshape(-1) for image in images]))


def examples_of(images: Sequence[np.ndarray], targets: np.ndarray | None = None, labelled: bool = True) -> Examples:
    """All of `images` as examples; without `targets` each is a class of its own."""
    given = np.eye(len(images)) if targets is None else targets
    return Examples(store_of(images), np.arange(len(images)), given.astype(np.float32), labelled)


def numbered(count: int, first: int = 0, side: int = 4) -> list[np.ndarray]:
    """Grey images that are all one value, their own number, so that a batch tells which images it holds."""
    return [np.full((side, side, 1), first + number, np.uint8) for number in range(count)]


def colours(count: int, seed: int = 0, side: int = 16, labelled: bool = True) -> Examples:
    """Noise with one of three colours stronger, its label the colour."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(count) % 3)
    images = rng.integers(0, 160, (count, side, side, 3), np.uint8)
    for image, colour in zip(images, truth, strict=True):
        image[..., colour] += 95
    return Examples(store_of(images), np.arange(count), one_hot([COLOURS[colour] for colour in truth], COLOURS), labelled)


def stream_of(*parts: Part, seed: int = 0, choice: Augment | None = None) -> Stream:
    """Batches of `parts` at 16 pixels, without noise unless it is asked for."""
    return Stream(parts, choice or Augment(operations=0, crop=1.0), "none", 16, seed)


def tiny(training: Training | None = None, seed: int = 0) -> Network:
    """A network of `TINY` that tells the colours apart once it is trained."""
    chosen = training or Training()
    head = nn.Linear(TINY.features, len(COLOURS))
    return build(TINY, head, chosen.dropout, chosen.drop_path, chosen.norm_momentum, seed)


def shaken(network: Module, seed: int = 0) -> Module:
    """A network, ours or another's, with normalisations as they are after training: none of them 1 or 0, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(tensor, low, high, generator=generator)
    return network.eval()


def lively(network: Module, answer: Callable[[torch.Tensor], torch.Tensor], seed: int = 0) -> Module:
    """A network as after training on random images, which `answer` asks it: what goes in still tells what comes out.

    With kernels as they are drawn for training, few layers of a deep or narrow network let anything but biases through.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in shaken(network, seed).modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -0.3, 0.3)
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.train()
        with torch.no_grad():
            answer(torch.randn(8, 3, 64, 64))
    return network.eval()


def pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Random images, uint8 [n, side, side, 3]."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))
