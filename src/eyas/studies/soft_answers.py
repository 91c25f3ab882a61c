"""What a network says of images without noise: probabilities, and how sure and how familiar it is with them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from eyas.data.batches import Examples, in_order
from eyas.learn.device import Device, choose
from eyas.nn.build import Network
from eyas.studies.soft_labels import Probabilities

Values = Float32[np.ndarray, " n"]


@dataclass(frozen=True)
class Answers:
    """What a network says of images, without noise.

    Attributes:
        probabilities: of each class.
        entropy: of the probabilities, in nats.
        energy: the negative log of the sum of the exponents of the logits: low where the network has seen much like it
            (Liu et al. 2020, Energy-based out-of-distribution detection).
    """

    probabilities: Probabilities
    entropy: Values
    energy: Values


@torch.inference_mode()
def answers_of(network: Network, images: UInt8[torch.Tensor, "n r r 3"], device: Device) -> Answers:
    """A network's answers to images at its resolution."""
    logits = network(images.to(device.name)).float()
    logs = logits.log_softmax(1)
    given = logs.exp()
    entropy = -(given * logs).sum(1)
    found = (given, entropy, -logits.logsumexp(1))
    return Answers(*(values.cpu().numpy() for values in found))


def answers_to(network: Network, examples: Examples) -> Answers:
    """A network's answers to prepared images."""
    device, arch = choose(), network.arch
    network.to(device.name)
    batches = in_order(examples, arch.resolution, view=arch.preprocessing.view)
    found = [answers_of(network, batch.images, device) for batch in batches]
    return joined(found, examples.targets.shape[1])


def joined(parts: list[Answers], classes: int) -> Answers:
    """The answers to all images of the parts, in order."""
    none = np.zeros(0, np.float32)
    return Answers(
        np.concatenate([np.zeros((0, classes), np.float32), *(part.probabilities for part in parts)]),
        np.concatenate([none, *(part.entropy for part in parts)]),
        np.concatenate([none, *(part.energy for part in parts)]),
    )
