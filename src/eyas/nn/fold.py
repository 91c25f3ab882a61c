"""Batch normalisation folded into the convolutions before it: the network as it is shipped, still a network."""

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from eyas.nn.blocks import ConvNorm
from eyas.nn.build import Network

N = TypeVar("N", bound=Network)


def folded(network: N) -> N:
    """A copy that answers alike without batch normalisation: each is part of the convolution before it, which has a bias.

    The copy is on the processor, in float32 and for evaluation, and drops nothing in training: it is not trained on as the
    network was.
    """
    twin = copy.deepcopy(network).to("cpu", torch.float32).eval()
    twin.dropout = nn.Dropout(0.0)
    for block in twin.block_modules():
        block.drop_path = 0.0
    for module in twin.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.add_module("conv", fuse_conv_bn_eval(module.conv, module.norm))
            module.add_module("norm", nn.Identity())
        if isinstance(module, nn.Sequential):  # torchvision's, in the predictors of SSDLite
            for place, (conv, norm) in enumerate(pairwise(module)):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[place], module[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return twin.requires_grad_(True)  # the biases too, which a convolution before a normalisation does not have
