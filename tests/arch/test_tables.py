"""The tables: what each says of itself, and what was published with it."""

import pytest

from eyas.arch.parse import parse
from eyas.arch.spec import Arch, layers
from eyas.arch.tables import ARCHS

archs = pytest.mark.parametrize("arch", ARCHS.values(), ids=str)

PUBLISHED = {
    "mobilenet_v1": 3,
    "mobilenet_v2": 1,
    "mobilenet_v3": 2,
    "mnasnet": 2,
    "efficientnet_b": 9,
    "efficientnet_l": 6,  # L2 and Lite0 to Lite4
    "resnet": 5,
}

# Epsilon and momentum (the share of a new batch) of the batch normalisation. MobileNetV1: the reference code's decay is
# 0.9997; V2 and V3: 0.997; MnasNet and EfficientNet: 0.99; ResNet: 0.9.
NORM = {
    "mobilenet_v1": (1e-3, 3e-4),
    "mobilenet_v2": (1e-3, 3e-3),
    "mobilenet_v3": (1e-3, 3e-3),
    "mnasnet": (1e-3, 1e-2),
    "efficientnet": (1e-3, 1e-2),
    "resnet": (1e-5, 0.1),
}


def of_family(name: str, table: dict[str, tuple[float, float]]) -> tuple[float, float]:
    return next(value for family, value in table.items() if name.startswith(family))


def test_are_all_there() -> None:
    assert {family: sum(name.startswith(family) for name in ARCHS) for family in PUBLISHED} == PUBLISHED
    assert len(ARCHS) == sum(PUBLISHED.values())


@pytest.mark.parametrize("name", ARCHS)
def test_each_is_under_its_own_name(name: str) -> None:
    assert ARCHS[name].name == str(ARCHS[name]) == name
    assert parse(name) is ARCHS[name]


@archs
def test_each_names_its_source(arch: Arch) -> None:
    assert "(" in arch.source or arch.source == "EfficientNet's reference code"
    assert arch.top1 is None or 60 < arch.top1 < 90


def test_only_b8_has_no_published_accuracy() -> None:
    assert [name for name, arch in ARCHS.items() if arch.top1 is None] == ["efficientnet_b8"]


@archs
def test_each_halves_five_times(arch: Arch) -> None:
    assert arch.total_stride == 32


@archs
def test_none_has_a_dial_turned(arch: Arch) -> None:
    assert (arch.width, arch.depth, arch.output_stride, arch.native) == (1.0, 1.0, None, arch.resolution)


@archs
def test_each_normalises_as_published(arch: Arch) -> None:
    assert (arch.norm_eps, arch.norm_momentum) == of_family(arch.name, NORM)


@archs
def test_each_crops_all_but_32_pixels(arch: Arch) -> None:
    assert arch.preprocessing.crop == pytest.approx(arch.resolution / (arch.resolution + 32))


@archs
def test_each_has_the_preprocessing_of_its_weights(arch: Arch) -> None:
    halves = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    on_halves = arch.name.startswith(("mobilenet_v1", "mobilenet_v2", "efficientnet_lite"))
    assert (arch.preprocessing.mean, arch.preprocessing.std) == (halves if on_halves else imagenet)
    assert arch.preprocessing.interpolation == ("bilinear" if arch.name.startswith("resnet") else "bicubic")


@archs
def test_each_pads_as_its_reference_code(arch: Arch) -> None:
    assert arch.padding == ("same" if arch.name.startswith("efficientnet") else "symmetric")


@archs
def test_each_uses_the_activation_of_its_paper(arch: Arch) -> None:
    found = {layer.activation for _, layer in layers(arch) if layer.kind in ("conv", "depthwise")} - {""}
    match arch.name:
        case "mobilenet_v3_large" | "mobilenet_v3_small":
            assert found == {"relu", "hard_swish"}
        case "mobilenet_v2":
            assert found == {"relu6"}
        case name if name.startswith("efficientnet"):
            assert found == ({"relu6"} if "lite" in name else {"silu"})
        case _:
            assert found == {"relu"}
