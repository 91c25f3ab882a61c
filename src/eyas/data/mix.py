"""Images mixed with their neighbours in the batch (mixup 1710.09412, cutmix 1905.04899), and their targets with them."""

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from eyas.data.noise import Noise
from eyas.data.randaugment import inside

Images = UInt8[Tensor, "b h w c"]


def shares(noise: Noise, resolution: int) -> Float64[np.ndarray, " b"]:
    """How much of each mixed image is its own: what mixup kept, or the area that cutmix left, in whole pixels."""
    left, top, right, bottom = np.rint(noise.pasted * resolution).T
    return noise.kept * (1 - (right - left) * (bottom - top) / resolution**2)


def mix(images: Images, noise: Noise) -> Images:
    """Each image with the one before it: blended in full, or with a box of it."""
    if (shares(noise, images.shape[1]) == 1).all():
        return images
    pasted = inside(noise.pasted, images.shape[1], images.shape[2], images.device)
    kept = torch.from_numpy(noise.kept).to(images.device, torch.float32)[:, None, None, None]
    weights = kept.expand(-1, *images.shape[1:3], 1).masked_fill(pasted[..., None], 0.0)
    before = images.roll(1, 0).float()
    return (before + weights * (images.float() - before)).round_().to(torch.uint8)


def mix_targets(targets: Float32[np.ndarray, "b k"], share: Float64[np.ndarray, " b"]) -> Float32[np.ndarray, "b k"]:
    """Targets in the shares that their images were mixed in; an unmixed image does not get its neighbour's unknown ones."""
    own = share[:, None].astype(np.float32)
    return np.where(own == 1, targets, own * targets + (1 - own) * np.roll(targets, 1, 0))
