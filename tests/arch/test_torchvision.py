"""torchvision's networks, made by others from the same papers: as many parameters, and the cost that it publishes."""

from typing import Any

import pytest
import torch
import torchvision

from eyas.arch.cost import cost
from eyas.arch.scale import at, wider
from eyas.arch.tables import ARCHS, MNASNET_B1, MOBILENET_V2

# Our names and torchvision's.
NAMES = {
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(8)},
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mnasnet_b1": "mnasnet1_0",
}


def published(name: str) -> Any:
    """torchvision's weights, which say what they cost and reach."""
    return torchvision.models.get_model_weights(NAMES[name])["IMAGENET1K_V1"]


@pytest.mark.parametrize("name", NAMES)
def test_has_as_many_parameters(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(NAMES[name], weights=None)
    assert cost(ARCHS[name]).params == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_publishes_the_same_cost(name: str) -> None:
    weights = published(name)
    computed = cost(at(ARCHS[name], weights.transforms().crop_size[0]))  # B2's are for 288 pixels
    assert computed.params == weights.meta["num_params"]
    assert computed.madds / 1e9 == pytest.approx(weights.meta["_ops"], abs=5.1e-4)  # 3 digits; "GFLOPs" are multiply-adds


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101", "mnasnet_b1"])
def test_is_the_source_of_the_accuracy(name: str) -> None:
    weights = published(name)
    assert ARCHS[name].top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.3, 1.4])
def test_narrows_and_widens_as_we_do(width: float) -> None:
    with torch.device("meta"):
        made = {
            MOBILENET_V2: torchvision.models.MobileNetV2(width_mult=width),
            MNASNET_B1: torchvision.models.MNASNet(width),
        }
    for arch, model in made.items():
        assert cost(wider(arch, width)).params == sum(parameter.numel() for parameter in model.parameters())
