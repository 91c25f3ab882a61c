"""A network that knows one thing (which colour is strongest) and its exports, made once."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.deploy.parity import Classes
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import export

COLOURS = ("red", "green", "blue")
RESOLUTION = 16


def colours(count, seed):
    """Noise images uint8 [n, 16, 16, 3] in which one colour is a little stronger, and which one."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    images = random.integers(0, 200, (count, RESOLUTION, RESOLUTION, 3))
    images[np.arange(count), :, :, labels] += 12
    return images.astype(np.uint8), labels


class Tiny(nn.Module):
    """Full and depthwise convolutions, norms, ReLU6, TensorFlow's padding; uint8 images in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.stem = nn.Conv2d(3, 16, 3, 2, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, 1, padding=1, groups=16, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.pointwise = nn.Conv2d(16, 64, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(64)
        self.project = nn.Conv2d(64, 64, 1, bias=False)
        self.norm4 = nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / 0.25
        x = functional.relu6(self.norm(self.stem(functional.pad(x, (0, 1, 0, 1)))))
        x = functional.relu6(self.norm2(self.depthwise(x)))
        x = functional.relu6(self.norm3(self.pointwise(x)))
        x = x + self.norm4(self.project(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="session")
def network():
    """Trained to tell the colours apart, and left in training mode: an export must not mind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Tiny()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, twenty times as fast as waiting for a second core at every step
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(60):
        images, labels = colours(64, seed=step)
        loss = functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return network.train()


@pytest.fixture(scope="session")
def validation():
    images, labels = colours(200, seed=1000)
    return images, Classes(labels)


@pytest.fixture(scope="session")
def calibration():
    return colours(300, seed=2000)[0]


@pytest.fixture(scope="session")
def shipment(network, calibration):
    return Shipment(network, "tiny", COLOURS, RESOLUTION, calibration=calibration)


@pytest.fixture(scope="session")
def float32(shipment, tmp_path_factory):
    return export(shipment, tmp_path_factory.mktemp("float32"), "onnx")


@pytest.fixture(scope="session")
def int8(shipment, tmp_path_factory):
    return export(shipment, tmp_path_factory.mktemp("int8"), "onnx-int8")
