"""An `Arch` and a head to a torch network: uint8 images in, the head's answer out."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from eyas.arch.spec import Arch, blocks
from eyas.nn.blocks import BlockModule, Map, activation
from eyas.nn.recompute import checkpointed

Images = UInt8[Tensor, "n h w 3"]


class Network(nn.Module):
    """The network of an `Arch` under a task's head.

    It takes images as they are stored, uint8 [n, h, w, 3], and normalises them itself: mean and standard deviation are
    saved with the weights, so training, evaluation and the exported graph cannot disagree about them.

    Attributes:
        checkpoint_activations: in training, keep only what goes into each block, and compute the rest again for the gradient.
    """

    def __init__(
        self, arch: Arch, head: nn.Module, dropout: float = 0.0, drop_path: float = 0.0, norm_momentum: float | None = None
    ) -> None:
        super().__init__()
        self.arch = arch
        self.mean = nn.Buffer(torch.tensor(arch.preprocessing.mean).view(3, 1, 1))
        self.std = nn.Buffer(torch.tensor(arch.preprocessing.std).view(3, 1, 1))
        values = blocks(arch)
        last = max(len(values) - 1, 1)
        self.blocks = nn.ModuleList(
            # Survival falls linearly with depth (Noisy Student, section 3.1).
            BlockModule(block, arch, norm_momentum or arch.norm_momentum, drop_path * index / last)
            for index, block in enumerate(values)
        )
        self.hidden = nn.Sequential()
        if arch.hidden:
            self.hidden = nn.Sequential(nn.Linear(arch.pooled, arch.features), activation(arch.activation))
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.checkpoint_activations = False

    def block_modules(self) -> list[BlockModule]:
        """The blocks in order."""
        return [block for block in self.blocks if isinstance(block, BlockModule)]

    def normalize(self, images: Images) -> Float[Tensor, "n 3 h w"]:
        """Pixels in [0, 1], less the mean, over the standard deviation. The memory stays channels-last."""
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)
        return pixels.div_(255).sub_(self.mean).div_(self.std)  # in the memory that is new anyway

    def features(self, x: Float[Tensor, "n 3 h w"]) -> dict[str, Map]:
        """The map that each stage ends with, by name: `stage0` is the stem, the last one what is pooled."""
        maps: dict[str, Map] = {}
        for block in self.block_modules():
            x = self._through(block, x)
            maps[f"stage{block.stage}"] = x
        return maps

    def classify(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n *k"]:
        """Normalised images to the head's answer."""
        for block in self.block_modules():
            x = self._through(block, x)
        return self.head(self.dropout(self.hidden(x.mean((2, 3)))))

    def _through(self, block: BlockModule, x: Map) -> Map:
        return checkpointed(block, x) if self.checkpoint_activations and block.training else block(x)

    def forward(self, images: Images) -> Float[Tensor, "n *k"]:
        """Images uint8 [n, h, w, 3] to the head's answer [n, k]."""
        return self.classify(self.normalize(images))


def build(
    arch: Arch,
    head: nn.Module,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    norm_momentum: float | None = None,
    seed: int = 0,
) -> Network:
    """A network with weights drawn as its paper draws them, from `seed`; in channels-last memory.

    Args:
        arch: what it is.
        head: from [n, arch.features] to the task's answer.
        dropout: in front of the head.
        drop_path: stochastic depth of the last block, less in earlier ones, linearly.
        norm_momentum: share of a new batch in the running statistics; `None` takes the published one.
        seed: of the weights.
    """
    return drawn(Network(arch, head, dropout, drop_path, norm_momentum), seed)


def drawn(network: Network, seed: int) -> Network:
    """The network with fresh weights, drawn as its paper draws them; in channels-last memory."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _initialise(module, network.arch, generator)
    return network.to(memory_format=torch.channels_last)


def _initialise(module: nn.Conv2d | nn.Linear, arch: Arch, generator: torch.Generator) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    if arch.init == "mobilenet":
        # slim/nets/mobilenet_v1.py: truncated normal of 0.09 for every kernel.
        nn.init.trunc_normal_(module.weight, std=0.09, a=-0.18, b=0.18, generator=generator)
    elif isinstance(module, nn.Conv2d):
        # He et al. 2015; efficientnet_model.py, conv_kernel_initializer: a depthwise kernel has one output a group.
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out), generator=generator)
    else:
        # The reference divides by the classes, thought of as many; with a few it would begin with huge logits.
        bound = 1 / math.sqrt(max(module.out_features, module.in_features))
        nn.init.uniform_(module.weight, -bound, bound, generator=generator)
