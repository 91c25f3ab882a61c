"""Cross-layer equalization: the channels of a tensor brought to a common range, without a change of what the network answers.

Int8 has one scale for all channels of an activation. A channel with a hundredth of the range of its neighbours is left
with two or three of the 256 steps. Through an activation with f(s x) = s f(x), a channel can be divided by any s > 0 in the
layer that makes it and multiplied by s in those that read it (Nagel et al., Data-Free Quantization, 1906.04721, section
4.1). There s follows from the ranges of weights, as one scale holds for all weights of a layer; here weights have a scale
for each output channel, and s follows from the ranges of activations, measured on images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from eyas.nn.blocks import BlockModule, ConvNorm, SqueezeExcite
from eyas.nn.build import Network
from eyas.nn.fold import folded

CAP = 6.0  # of ReLU6
FARTHEST = 2.0**10  # that a channel is enlarged by at most
BATCH = 32

Reader = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Joint:
    """A tensor whose channels may be scaled: made by one layer, read by others, by nobody else.

    Attributes:
        source: the layer with its activation.
        readers: what takes the tensor; the mean over it, and a gate on it that does not change with the scale, may lie between.
    """

    source: ConvNorm
    readers: tuple[Reader, ...]

    @property
    def capped(self) -> bool:
        """Whether the activation ends at 6: through that one, only what stays below it can be scaled."""
        return isinstance(self.source.activation, nn.ReLU6)


def joints(network: Network) -> list[Joint]:
    """Every tensor of the network whose channels may be scaled, in order.

    Left out are tensors that a shortcut reads or adds to (all of a stage would need one scale), and those behind SiLU and
    hard swish, for which f(s x) is not s f(x).
    """
    found = []
    blocks = network.block_modules()
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        layers = list(block.layers)
        for index, layer in enumerate(layers):
            readers = tuple(_readers(layers[index + 1 :])) or _beyond(network, block, after)
            if isinstance(layer, ConvNorm) and readers and isinstance(layer.activation, nn.Identity | nn.ReLU | nn.ReLU6):
                found.append(Joint(layer, readers))
    return found


def equalized(network: Network, images: UInt8[np.ndarray, "n h w 3"]) -> Network:
    """A folded copy of the network in which no channel of a joint has less than half of the joint's range.

    Half, so that a channel that is stronger on another image than on any of `images` still has room: what int8 cuts off is
    one range for all channels. Through ReLU6 weak channels are enlarged up to 3 on `images`, and those beyond stay, so that
    answers change only where a channel is more than twice as strong as on any of these images.

    Args:
        network: is not changed.
        images: to measure ranges on; some hundred of the training images.
    """
    twin = folded(network)
    found = joints(twin)
    for joint, span in zip(found, spans(twin, found, images), strict=True):
        divide(joint, _divisors(joint, span))
    return twin


def _readers(layers: Sequence[nn.Module]) -> Iterator[Reader]:
    """The layers of the same block that read what came before them, up to the first that makes something new."""
    for layer in layers:
        match layer:
            case SqueezeExcite():
                yield layer.reduce
            case ConvNorm():
                yield layer.conv
                return
            case _:
                return


def _beyond(network: Network, block: BlockModule, after: BlockModule | None) -> tuple[Reader, ...]:
    """The layer behind a block that reads what the block ends with; none where a shortcut has to do with it."""
    if block.residual or block.shortcut is not None or not isinstance(block.activation, nn.Identity):
        return ()
    if after is None:
        first = next((module for module in (*network.hidden, network.head) if isinstance(module, nn.Linear)), None)
        return (first,) if first is not None else ()
    if after.residual or after.shortcut is not None:
        return ()
    return tuple(_readers(list(after.layers)))


@torch.no_grad()
def spans(network: Network, found: Sequence[Joint], images: UInt8[np.ndarray, "n h w 3"]) -> list[Float[Tensor, "c"]]:
    """The largest absolute value of each channel of the joints of a network, over all images."""
    largest = [torch.zeros(joint.source.layer.outputs) for joint in found]

    def watch(index: int, source: nn.Module) -> RemovableHandle:
        def see(_: nn.Module, __: object, out: Tensor) -> None:
            largest[index] = torch.maximum(largest[index], out.abs().amax((0, 2, 3)))

        return source.register_forward_hook(see)

    handles = [watch(index, joint.source) for index, joint in enumerate(found)]
    for start in range(0, len(images), BATCH):
        network(torch.from_numpy(images[start : start + BATCH]))
    for handle in handles:
        handle.remove()
    return largest


@torch.no_grad()
def divide(joint: Joint, divisors: Float[Tensor, "c"]) -> None:
    """Divide the channels of a joint of a folded network where they are made, and multiply where they are read (in place)."""
    conv = joint.source.conv
    assert conv.bias is not None  # it is folded
    conv.weight /= divisors.view(-1, 1, 1, 1)
    conv.bias /= divisors
    for reader in joint.readers:
        shape = [1] * reader.weight.ndim
        shape[0 if _depthwise(reader) else 1] = -1
        reader.weight *= divisors.view(shape)


def _divisors(joint: Joint, span: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
    """What each channel is divided by so that none has less than half of the tensor's range; 1 for one that is always 0."""
    target = (CAP if joint.capped else span.max()) / 2
    weak = (span > target / FARTHEST**2) & (span < target)
    return torch.where(weak, (span / target).clamp_min(1 / FARTHEST), 1.0)


def _depthwise(layer: Reader) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1
