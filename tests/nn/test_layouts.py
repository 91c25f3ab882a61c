"""Names of tensors: every model of timm and torchvision that Eyas knows, held against the library itself, on shapes alone."""

import pytest
import torch
from torch import nn
from torchvision.models import list_models

from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS
from eyas.nn.build import Network
from eyas.nn.foreign import timm_model, timm_names, torchvision_model
from eyas.nn.layouts import LAYOUTS
from eyas.nn.published import named, timm_name

MODELS = {"timm": timm_model, "torchvision": torchvision_model}
ACTIVATIONS = nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish


OFFERED = {"timm": timm_names(), "torchvision": list_models()}
KNOWN = [
    (library, name)
    for library, names in OFFERED.items()
    for name in names
    if named(library, name) and name != "mobilenetv3_small_050"
]


def arch_of(library: str, name: str) -> Arch:
    arch = named(library, name)
    assert arch is not None
    return arch


def without_weights(arch: Arch, classes: int = 1000) -> Network:
    with torch.device("meta"):
        return Network(arch, nn.Linear(arch.features, classes))


def shapes(module: nn.Module) -> dict[str, list[int]]:
    """By name; sides of 1 left out, as a 1x1 convolution may stand for a linear layer."""
    return {name: [side for side in tensor.shape if side != 1] for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("library", "name"), KNOWN)
def test_every_tensor_of_theirs_has_one_of_ours_in_its_shape_and_the_dialect_is_theirs(library, name):
    arch = arch_of(library, name)
    network = without_weights(arch)
    with torch.device("meta"):
        model = MODELS[library](name)
    pairs = list(LAYOUTS[library](arch))
    theirs = dict(pairs)
    assert len(pairs) == len(theirs) == len(set(theirs.values()))
    ours = {name: shape for name, shape in shapes(network).items() if name not in ("mean", "std")}
    renamed = {f"{theirs[module]}.{leaf}": ours[name] for name in ours for module, _, leaf in [name.rpartition(".")]}
    assert renamed == shapes(model)
    # What the names and shapes do not tell, and a forward pass of random weights tells only roughly.
    modules = list(model.modules())
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {arch.norm_eps}
    assert any("Same" in type(module).__name__ for module in modules) == (arch.padding == "same")
    used = {type(module) for module in network.modules() if isinstance(module, ACTIVATIONS)}
    assert {type(module) for module in modules if isinstance(module, ACTIVATIONS)} == used


def test_the_libraries_offer_what_the_documentation_lists():
    """Without this a pattern that matches nothing would go unseen above."""
    sizes = [f"b{size}" for size in range(9)]
    timm = {f"{tf}efficientnet_{size}" for tf in ("", "tf_") for size in (*sizes, "l2", *(f"lite{size}" for size in range(5)))}
    timm |= {"mobilenetv1_100", "mobilenetv1_125", "mobilenetv2_035", "mobilenetv2_100", "mobilenetv2_140"}
    timm |= {f"{tf}mobilenetv3_{size}_{width}" for tf in ("", "tf_") for size in ("large", "small") for width in ("075", "100")}
    timm |= {"mnasnet_050", "mnasnet_100", "mnasnet_140", "semnasnet_075", "semnasnet_100"}
    resnets = {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}
    torchvision = {f"efficientnet_{size}" for size in sizes[:8]} | {"mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"}
    torchvision |= {"mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"}
    expected = {("timm", name) for name in timm | resnets} | {("torchvision", name) for name in torchvision | resnets}
    assert expected <= set(KNOWN)


@pytest.mark.parametrize(
    ("library", "others"),
    [
        ("timm", "efficientnet_b0_gn efficientnet_b1_pruned efficientnet_b3_g8_gn efficientnet_cc_b0_4e efficientnet_el"),
        ("timm", "efficientnetv2_s tf_efficientnetv2_b0 tf_efficientnet_es tf_mobilenetv3_large_minimal_100 mobilenetv3_rw"),
        ("timm", "mobilenetv1_100h mobilenetv2_110d mobilenetv3_large_150d mobilenetv4_conv_small mnasnet_small spnasnet_100"),
        (
            "timm",
            "resnet10t resnet18d resnet26 resnet50_gn resnet50_clip resnet50c resnet200 seresnet50 resnetv2_50 test_resnet",
        ),
        ("timm", "mobilenetv3_small_050"),
        ("torchvision", "efficientnet_v2_s wide_resnet50_2 resnext50_32x4d vgg16"),
    ],
)
def test_no_pattern_takes_another_network_for_ours(library, others):
    assert set(others.split()) <= set(OFFERED[library])
    assert [name for name in others.split() if named(library, name)] == []


@pytest.mark.parametrize("name", [name for library, name in KNOWN if library == "timm"])
def test_timm_name_inverts_named(name):
    assert timm_name(arch_of("timm", name)) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The published tables, in the dialect of their papers.
        ("efficientnet_b0", "tf_efficientnet_b0"),
        ("efficientnet_lite0@96", "tf_efficientnet_lite0"),
        ("mobilenet_v2x1.4", "mobilenetv2_140"),
        ("mnasnet_b1", "mnasnet_100"),
        ("mnasnet_a1", "semnasnet_100"),
        # Widths, depths and tables that timm has not.
        ("mobilenet_v2x0.3", None),
        ("mobilenet_v1d2", None),
        ("efficientnet_b0x0.5", None),
        ("mobilenet_v1_conv", None),
        ("resnet50x2", None),
    ],
)
def test_timm_name_of_the_tables(text, expected):
    assert timm_name(parse(text)) == expected


@pytest.mark.parametrize("text", [name + variant for name in ARCHS for variant in ("", "d1.2/8")])
def test_our_own_layout_names_every_module_with_weights_once(text):
    arch = parse(text)
    modules = {name.rpartition(".")[0] for name in without_weights(arch).state_dict()} - {""}
    pairs = list(LAYOUTS["eyas"](arch))
    assert all(ours == theirs for ours, theirs in pairs)
    assert [ours for ours, _ in pairs] == list(dict(pairs))
    assert dict(pairs).keys() == modules
