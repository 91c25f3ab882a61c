"""A narrower network from a wider one of the same table: the most important channels are kept, the rest left out."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from eyas.nn.blocks import ConvNorm, SqueezeExcite, Weighted
from eyas.nn.build import Network


@torch.no_grad()
def inherit(narrow: Network, wide: Network) -> None:
    """Give `narrow` the weights of the most important channels of `wide`, so that it does not start from noise.

    A channel's importance is the scale that normalisations give it times the size of the kernels that read it, each
    relative to its layer's mean. Channels tied by shortcuts are chosen together. The classifier comes along where both
    have the same classes.

    Raises:
        ValueError: the networks are of different tables or depths, or `narrow` is the wider one.
    """
    same_table = (narrow.arch.name, narrow.arch.depth) == (wide.arch.name, wide.arch.depth)
    if not same_table or narrow.arch.width > wide.arch.width:
        raise ValueError(f"{narrow.arch} cannot inherit from {wide.arch}: it must be of the same table and depth, and no wider")
    scores = _importance(wide)
    # By group and number: a shortcut that only one of the two has, as its channels happen to be equal, ties nothing here.
    kept: dict[tuple[int, int], Tensor] = {(0, 3): torch.arange(3)}  # group 0: red, green and blue
    ours_of = _pairs(narrow, wide)
    writes = kept[0, 3]
    for theirs, source, target in _channels(wide):
        if theirs not in ours_of:
            continue
        ours = ours_of[theirs]
        count = ours.layer.outputs
        if (target, count) not in kept:
            kept[target, count] = scores[target].topk(count).indices.sort().values
        writes = kept[target, count]
        _copy(ours, theirs, kept[source, ours.layer.inputs], writes)
    narrow.mean.copy_(wide.mean)
    narrow.std.copy_(wide.std)
    if narrow.arch.hidden:
        writes = _hidden(narrow, wide, writes)
    head, wide_head = narrow.head, wide.head
    if isinstance(head, nn.Linear) and isinstance(wide_head, nn.Linear) and head.out_features == wide_head.out_features:
        head.weight.copy_(wide_head.weight[:, writes])
        head.bias.copy_(wide_head.bias)


def _pairs(narrow: Network, wide: Network) -> dict[Weighted, Weighted]:
    """Each layer of the wide network that the narrow one has, too; its projections may be identities there."""
    pairs: dict[Weighted, Weighted] = {}
    for ours, theirs in zip(narrow.block_modules(), wide.block_modules(), strict=True):
        pairs |= dict(zip(theirs.weighted(), ours.weighted(), strict=False))  # the projection is the last
    return pairs


def _hidden(narrow: Network, wide: Network, source: Tensor) -> Tensor:
    """The linear layer in front of the classifier; which of its units were kept."""
    ours, theirs = narrow.hidden[0], wide.hidden[0]
    assert isinstance(ours, nn.Linear) and isinstance(theirs, nn.Linear)
    scores = theirs.weight.norm(dim=1)
    if isinstance(wide.head, nn.Linear):
        scores = scores * wide.head.weight.norm(dim=0)
    units = scores.topk(narrow.arch.features).indices.sort().values
    ours.weight.copy_(theirs.weight[units][:, source])
    ours.bias.copy_(theirs.bias[units])
    return units


def _channels(network: Network) -> Iterator[tuple[Weighted, int, int]]:
    """Every layer with the groups of channels that it reads and writes; a shortcut makes two groups one."""
    stream, fresh = 0, 1
    for block in network.block_modules():
        group, last = stream, len(block.layers) - 1
        for index, layer in enumerate(block.weighted()):
            if layer is block.shortcut:  # it writes what the last layer writes, as the two are added
                yield layer, stream, group
                break
            source = group
            if layer.layer.kind == "conv":
                ties = block.residual and index == last
                group = stream if ties else fresh
                fresh += not ties
            yield layer, source, group
        stream = group


def _importance(network: Network) -> dict[int, Tensor]:
    """A score for each channel of each group."""
    written: dict[int, Tensor | float] = defaultdict(float)
    read: dict[int, Tensor | float] = defaultdict(float)
    target = 0
    for layer, source, target in _channels(network):
        if isinstance(layer, ConvNorm):
            written[target] += _relative(layer.norm.weight.abs())
            kernels = layer.conv.weight if layer.layer.kind == "depthwise" else layer.conv.weight.transpose(0, 1)
            read[source] += _relative(kernels.flatten(1).norm(dim=1))
    reader = next(iter(network.hidden), network.head)
    if isinstance(reader, nn.Linear):
        read[target] += _relative(reader.weight.norm(dim=0))
    return {group: torch.as_tensor(scale * read.get(group, 1.0)) for group, scale in written.items()}


def _relative(values: Tensor) -> Tensor:
    return values / values.mean().clamp_min(1e-12)


def _copy(ours: Weighted, theirs: Weighted, source: Tensor, target: Tensor) -> None:
    state = theirs.state_dict()
    if isinstance(theirs, SqueezeExcite):
        scores = state["reduce.weight"].flatten(1).norm(dim=1) * state["expand.weight"].flatten(1).norm(dim=0)
        hidden = scores.topk(ours.layer.hidden).indices.sort().values
        chosen = {
            "reduce.weight": state["reduce.weight"][hidden][:, source],
            "reduce.bias": state["reduce.bias"][hidden],
            "expand.weight": state["expand.weight"][target][:, hidden],
            "expand.bias": state["expand.bias"][target],
        }
    else:
        chosen = {name: value[target] if value.ndim else value for name, value in state.items()}
        if ours.layer.kind == "conv":
            chosen["conv.weight"] = chosen["conv.weight"][:, source]
    ours.load_state_dict(chosen)
