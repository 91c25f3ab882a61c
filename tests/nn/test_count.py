"""Modules counted by running shapes through them: by hand, against our own tables, and against what papers print."""

import math

import pytest
import torch
from torch import Tensor, nn

from eyas.arch.cost import breakdown as breakdown_of
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.errors import UserError
from eyas.nn.build import Network
from eyas.nn.count import breakdown, count, type_of
from eyas.nn.foreign import model_of

# MobileNets (1704.04861), Tables 8 and 9: million multiply-adds, million parameters. torchvision's GoogLeNet has 3x3 kernels
# where its paper has 5x5, its AlexNet is the later one on a single device, and VGG16 is printed without its linear layers.
PRINTED = {"vgg16": (15300, 138), "googlenet": (1550, 6.8), "alexnet": (720, 60)}

FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet_a1", "efficientnet_b0", "resnet18", "resnet50")


class Classify(nn.Module):
    """A network of Eyas from normalised images on, which a count begins with."""

    def __init__(self, arch: Arch, classes: int = 1000) -> None:
        super().__init__()
        with torch.device("meta"):
            self.network = Network(arch, nn.Linear(arch.features, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.network.classify(x)


class Attention(nn.Module):
    """One head on 4 x 4 patches, its products outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.position = nn.Parameter(torch.zeros(16, 8))
        self.both = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        query, key = self.both(tokens).chunk(2, -1)
        return (query @ key.transpose(1, 2)).softmax(-1) @ tokens


def by_hand() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(32, 10)),
    )


class TestByHand:
    # 8x8x3 -> conv 3x3/2 -> 4x4x8 -> depthwise 3x3 -> 4x4x8 -> pool -> 2x2x8 -> 10
    def test_the_whole(self):
        found = count(by_hand(), 8)
        assert found.madds == 16 * 27 * 8 + 16 * 9 * 8 + 32 * 10
        assert found.weights == 27 * 8 + 9 * 8 + 32 * 10
        assert found.params == found.weights + 8 + 2 * 8 + 10
        assert found.peak_activation_bytes is None

    def test_each_layer_with_what_it_moves(self):
        found = [(each.group, each.madds, each.params, each.moved) for each in breakdown(by_hand(), "layer", 8)]
        assert found == [
            ("0 Conv 3x3", 3456, 224, 3 * 64 + 224 + 8 * 16),
            ("1 BatchNorm2d", 0, 16, 16),  # of its activations nothing: it is part of the convolution before it
            ("3 Conv DW 3x3", 1152, 72, 8 * 16 + 72 + 8 * 16),
            ("4 Max pool 2x2", 0, 0, 8 * 16 + 8 * 4),
            ("5.1 Fully Connected", 320, 330, 32 + 330 + 10),
        ]

    def test_stages_are_the_modules_at_the_top(self):
        assert [(each.group, each.layers) for each in breakdown(by_hand(), "stage", 8)] == [
            ("0", 1), ("1", 1), ("3", 1), ("4", 1), ("5", 1),
        ]  # fmt: skip

    def test_products_outside_of_layers_are_their_modules_own(self):
        found = {each.group: each for each in breakdown(Attention(), "layer", 16)}
        assert {group: each.madds for group, each in found.items()} == {
            "Attention": 2 * 16 * 16 * 8,
            "patches Conv 4x4": 16 * 48 * 8,
            "both Fully Connected": 16 * 8 * 16,
        }
        assert found["Attention"].params == 16 * 8

    def test_what_stands_at_two_places_costs_twice_and_is_held_once(self):
        once = nn.Conv2d(3, 3, 3, padding=1)
        single, double = count(once, 8), count(nn.Sequential(once, nn.Sequential(once)), 8)
        assert (double.madds, double.params) == (2 * single.madds, single.params)

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            (nn.Conv2d(8, 8, (1, 7)), "Conv 1x7"),
            (nn.Conv2d(8, 16, 3, groups=8), "Conv DW 3x3"),
            (nn.Conv2d(8, 8, 3, groups=2), "Conv grouped 3x3"),
            (nn.MaxPool2d((3, 2)), "MaxPool2d"),
            (nn.GELU(), "GELU"),
        ],
    )
    def test_types_of_layers(self, module, name):
        assert type_of(module) == name


class TestAnyModule:
    @pytest.mark.parametrize("of", [torch.float16, torch.float64])
    def test_of_another_precision(self, of):
        assert count(by_hand().to(of), 8) == count(by_hand(), 8)

    def test_whose_layers_take_their_shape_from_the_image(self):
        lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
        assert count(lazy, 8).params == 27 * 8 + 8 + 16 + 8 * 36 * 2 + 2

    def test_with_a_tensor_that_is_no_parameter(self):
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = torch.ones(3, 1, 1)

            def forward(self, x: Tensor) -> Tensor:
                return x * self.scale

        assert count(Scaled(), 8).madds == 0
        assert breakdown(Scaled(), "type", 8) == []

    def test_needs_no_memory_for_a_billion_weights(self):
        with torch.device("meta"):
            large = nn.Sequential(nn.Flatten(), nn.Linear(192, 10**9))
        assert count(large, 8).madds == 192 * 10**9

    def test_stays_as_it_was(self):
        module = by_hand().train()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        count(module, 8)
        assert all(each.training and not each._forward_hooks for each in module.modules())
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())

    def test_attention_of_torch_is_counted_where_torch_would_take_a_shortcut(self):
        layer = nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, batch_first=True)
        patches = nn.Sequential(nn.Conv2d(3, 64, 16, 16), nn.Flatten(2), nn.LazyLinear(64), layer)  # 64 tokens of 64
        attention, feed_forward = 64 * 64 * 64 * 4 + 2 * 64 * 64 * 64, 2 * 64 * 64 * 128
        before = count(patches[:3], 32).madds
        assert count(patches, 32).madds - before == attention + feed_forward

    def test_that_does_not_take_such_an_image(self):
        with pytest.raises(UserError, match=r"^Sequential does not run on an image of 9 x 9 pixels: .*243"):
            count(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 9)


class TestOurOwn:
    @pytest.mark.parametrize(
        "name",
        [
            *FAMILIES,
            "mobilenet_v1x0.5@160",
            "efficientnet_b0d0.5@65",
            "mobilenet_v2@32/8",
        ],
    )
    def test_networks_have_the_cost_of_their_value(self, name):
        arch = parse(name)
        value = cost(arch, 10)
        found = count(Classify(arch, 10), arch.resolution)
        assert (found.madds, found.params, found.weights) == (value.madds, value.params, value.weights)

    @pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "resnet50"])  # no gates, no padding of its own
    def test_networks_move_the_bytes_of_their_value(self, name):
        moved = sum(share.moved for share in breakdown_of(parse(name), "type"))
        assert sum(share.moved for share in breakdown(Classify(parse(name)), "layer")) == moved

    @pytest.mark.parametrize("by", ["layer", "type", "stage"])
    def test_every_breakdown_adds_up(self, by):
        module = Classify(parse("efficientnet_b0"))
        whole, shares = count(module), breakdown(module, by)
        assert sum(share.madds for share in shares) == whole.madds
        assert sum(share.params for share in shares) == whole.params
        assert len({share.group for share in shares}) == len(shares)
        assert all(math.isfinite(share.intensity) for share in shares)


class TestOthers:
    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ("mobilenet_v2", ("torchvision:mobilenet_v2", "timm:mobilenetv2_100")),
            ("resnet50", ("torchvision:resnet50", "timm:resnet50")),
            ("efficientnet_b0", ("torchvision:efficientnet_b0", "timm:efficientnet_b0", "timm:tf_efficientnet_b0")),
        ],
    )
    def test_libraries_agree_with_our_tables(self, ours, theirs):
        value = cost(parse(ours))
        for text in theirs:
            found = count(model_of(text).module)
            assert (found.madds, found.params, found.weights) == (value.madds, value.params, value.weights)

    @pytest.mark.parametrize("name", PRINTED)
    def test_the_comparison_of_the_mobilenets_paper(self, name):
        madds, params = PRINTED[name]
        found = count(model_of(f"torchvision:{name}").module)
        assert found.madds / 1e6 == pytest.approx(madds, rel=0.035)
        assert found.weights / 1e6 == pytest.approx(params, rel=0.03)

    def test_vgg16_is_printed_without_its_linear_layers(self):
        convolutions, linear = breakdown(model_of("torchvision:vgg16").module, "stage")
        assert convolutions.madds / 1e6 == pytest.approx(15300, rel=0.0035)
        assert linear.madds / 1e6 == pytest.approx(123.6, abs=0.05)

    def test_mobilenet_is_27_times_less_work_than_vgg16_and_32_times_smaller(self):  # section 4.3
        vgg, mobilenet = count(model_of("torchvision:vgg16").module), cost(parse("mobilenet_v1"))
        assert vgg.madds / mobilenet.madds == pytest.approx(27.2, abs=0.05)
        assert vgg.weights / mobilenet.weights == pytest.approx(32.9, abs=0.05)

    def test_squeezenets_mult_adds_in_table_9_are_flops(self):
        found = count(model_of("torchvision:squeezenet1_0").module)
        assert found.params / 1e6 == pytest.approx(1.25, abs=0.005)
        assert found.madds / 1e6 == pytest.approx(818.9, abs=0.05)
        assert 2 * found.madds / 1e6 == pytest.approx(1700, rel=0.04)  # printed as "Million Mult-Adds"
