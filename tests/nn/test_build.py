import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from eyas.arch.parse import parse
from eyas.nn.build import Network, build
from tests.fakes import TINY, pictures, shaken, tiny


def built(text: str, classes: int = 3, **noise: float) -> Network:
    arch = parse(text)
    return build(arch, nn.Linear(arch.features, classes), **noise)


class TestImagesIn:
    def test_uint8_as_stored_is_normalised_inside(self):
        network = shaken(built("efficientnet_b0x0.25@32"))
        images = pictures(2, 32)
        mean, std = torch.tensor(network.arch.preprocessing.mean), torch.tensor(network.arch.preprocessing.std)
        by_hand = ((images.double() / 255 - mean) / std).permute(0, 3, 1, 2).float()
        torch.testing.assert_close(network.normalize(images), by_hand)
        with torch.no_grad():
            torch.testing.assert_close(network(images), network.classify(by_hand), rtol=1e-4, atol=1e-4)

    def test_black_and_white_are_minus_one_and_one_where_mean_and_deviation_are_a_half(self):
        network = tiny()
        images = torch.stack([torch.zeros(4, 4, 3, dtype=torch.uint8), torch.full((4, 4, 3), 255, dtype=torch.uint8)])
        assert network.normalize(images).flatten(1).unique(dim=1).tolist() == [[-1], [1]]

    def test_an_answer_does_not_depend_on_the_other_images_of_the_batch(self):
        network = shaken(tiny())
        images = pictures(4, 16)
        with torch.no_grad():
            together = network(images)
            alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(together, alone)

    def test_memory_is_channels_last_from_the_image_to_the_weights(self):
        network = tiny()
        assert network.normalize(pictures(2, 16)).is_contiguous(memory_format=torch.channels_last)
        assert network.blocks[0].layers[0].conv.weight.is_contiguous(memory_format=torch.channels_last)


class TestHiddenLayer:
    """MobileNetV3 has a linear layer between the pooling and the classifier."""

    def test_is_linear_with_the_network_s_activation(self):
        network = shaken(built("mobilenet_v3_smallx0.25@33"))
        x = network.normalize(pictures(2, 33))
        hidden = network.hidden[0]
        nn.init.uniform_(hidden.bias)
        with torch.no_grad():
            pooled = list(network.features(x).values())[-1].mean((2, 3))
            units = nn.functional.hardswish(pooled @ hidden.weight.T + hidden.bias)
            torch.testing.assert_close(network.classify(x), units @ network.head.weight.T + network.head.bias)

    @pytest.mark.parametrize(
        ("text", "pooled", "features"),
        [
            ("mobilenet_v3_large", 960, 1280),
            ("mobilenet_v3_smallx0.5", 288, 1024),  # never narrowed
            ("mobilenet_v3_smallx2", 1152, 2048),
            ("mobilenet_v2x0.5", 1280, 1280),
            ("resnet50", 2048, 2048),
        ],
    )
    def test_is_as_wide_as_the_head_reads(self, text, pooled, features):
        arch = parse(text)
        with torch.device("meta"):
            network = Network(arch, nn.Linear(arch.features, 3))
            x = torch.empty(1, 3, arch.resolution, arch.resolution)
        assert list(network.features(x).values())[-1].shape[1] == arch.pooled == pooled
        assert network.hidden(torch.empty(1, pooled, device="meta")).shape == (1, features)
        assert arch.features == features

    def test_is_drawn_as_the_rest(self):
        network = built("mobilenet_v3_small@32")
        weight, bias = network.hidden[0].weight, network.hidden[0].bias
        assert weight.std().item() == pytest.approx(0.09 * 0.8796, rel=0.03)
        assert bias.eq(0).all()


class TestNormalisation:
    @pytest.mark.parametrize(("text", "momentum", "eps"), [("mobilenet_v1", 0.0003, 1e-3), ("resnet18", 0.1, 1e-5)])
    def test_is_as_published_unless_a_recipe_says_otherwise(self, text, momentum, eps):
        for given, expected in ((None, momentum), (0.05, 0.05)):
            with torch.device("meta"):
                network = Network(parse(text), nn.Identity(), norm_momentum=given)
            norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
            assert {(norm.momentum, norm.eps) for norm in norms} == {(expected, eps)}

    def test_the_shortcut_s_is_like_the_others(self):
        network = built("resnet18x0.25@33", norm_momentum=0.07)
        projections = [block.shortcut for block in network.block_modules() if block.shortcut is not None]
        assert [(layer.norm.momentum, layer.norm.eps) for layer in projections] == [(0.07, 1e-5)] * 3


class TestNoise:
    def test_stochastic_depth_grows_linearly_from_none(self):
        network = built("efficientnet_b0x0.25", drop_path=0.2)
        rates = [block.drop_path for block in network.block_modules()]
        assert rates == pytest.approx([0.2 * index / (len(rates) - 1) for index in range(len(rates))])

    def test_dropout_is_in_front_of_the_classifier_in_training_only(self):
        network = build(TINY, nn.Identity(), dropout=0.5)
        x = network.normalize(pictures(64, 16))
        with torch.no_grad():
            shaken(network)
            features = network.classify(x)
            assert torch.equal(network.classify(x), features)
            network.dropout.train()
            torch.manual_seed(0)
            dropped = network.classify(x)
        kept = dropped != 0
        torch.testing.assert_close(dropped[kept], 2 * features[kept])
        assert kept.float().mean().item() == pytest.approx(0.5, abs=0.05)


class TestInitialisation:
    def test_same_seed_same_weights_whatever_happened_before(self):
        first, other = tiny(seed=3).state_dict(), tiny(seed=4).state_dict()
        torch.manual_seed(99)
        again = tiny(seed=3).state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        kernels = [name for name in first if name.endswith(("conv.weight", "head.weight"))]
        assert not any(torch.equal(first[name], other[name]) for name in kernels)

    def test_mobilenet_draws_every_kernel_from_a_normal_cut_at_two_deviations(self):
        network = built("mobilenet_v1x0.5", classes=100)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert module.weight.abs().max() <= 0.18
                if module.weight.numel() > 5000:
                    # Of a normal cut at two deviations 0.8796 of the deviation is left.
                    assert module.weight.std().item() == pytest.approx(0.09 * 0.8796, rel=0.03)
                    assert module.weight.mean().item() == pytest.approx(0, abs=0.004)

    def test_efficientnet_draws_by_the_fan_out(self):
        network = built("efficientnet_b0", classes=10)
        checked = set()
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:
                out = 1 if module.groups > 1 else module.out_channels  # TensorFlow's depthwise kernel has one output
                expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * out))
                assert module.weight.std().item() == pytest.approx(expected, rel=0.06)
                checked.add((module.groups > 1, module.kernel_size[0]))
        assert checked == {(False, 1), (True, 3), (True, 5)}
        assert network.head.weight.abs().max() <= 1 / math.sqrt(1280)

    def test_the_first_answer_is_near_an_equal_share_for_every_class(self):
        for init in ("mobilenet", "fan_out"):
            network = build(replace(TINY, init=init), nn.Linear(TINY.features, 10)).train()
            with torch.no_grad():
                assert network(pictures(16, 16)).softmax(1).max() < 0.6

    def test_biases_and_normalisations_start_neutral(self):
        network = tiny()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.weight.eq(1).all()
                assert module.eps == TINY.norm_eps
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
                assert module.bias.eq(0).all()
