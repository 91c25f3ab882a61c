"""Everything that `--weights` can be: which network it is taken for, in which dialect, with which images."""

import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import nn

from eyas.arch.parse import parse
from eyas.arch.spec import HALVES, IMAGENET, Preprocessing
from eyas.nn import published
from eyas.nn.build import build
from eyas.nn.foreign import timm_model, torchvision_model
from eyas.nn.published import PACKAGES, Weights, find, installed
from eyas.nn.weights import save_network
from tests.fakes import pictures, shaken
from tests.nn.peers import SMALL, difference, network_of, peer, refused

CLASSES = ("cracked", "heil", "ganz, größtenteils")


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return peer("timm", SMALL)


@cache
def shapes(library: str, name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = timm_model(name) if library == "timm" else torchvision_model(name)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def hollow(path: Path, library: str, name: str) -> Path:
    """A file of a library's tensors in which one number stands for all that are in a tensor."""
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes(library, name).items()}, path)
    return path


def kept(text: str, asked: str | None = None) -> Weights:
    weights = find(text, parse(asked) if asked else None)
    assert weights is not None
    return weights


# Files as the libraries call them in their caches: of which model, and what the libraries say of it.
FILES = {
    # file: library, model, our network, padding, epsilon, activation, mean and standard deviation
    "efficientnet_b0_rwightman-7f5810bc.pth": "torchvision efficientnet_b0 efficientnet_b0 symmetric 1e-5 silu imagenet",
    "efficientnet_b5_lukemelas-1a07897c.pth": "torchvision efficientnet_b5 efficientnet_b5 symmetric 1e-3 silu imagenet",
    "mobilenet_v2-b0353104.pth": "torchvision mobilenet_v2 mobilenet_v2 symmetric 1e-5 relu6 imagenet",
    "mobilenet_v3_large-5c1a4163.pth": "torchvision mobilenet_v3_large mobilenet_v3_large symmetric 1e-3 hard_swish imagenet",
    "mnasnet0.5_top1_67.823-3ffadce67e.pth": "torchvision mnasnet0_5 mnasnet_b1x0.5 symmetric 1e-5 relu imagenet",
    "mnasnet1_3-a4c69d6f.pth": "torchvision mnasnet1_3 mnasnet_b1x1.3 symmetric 1e-5 relu imagenet",
    "resnet50-0676ba61.pth": "torchvision resnet50 resnet50 symmetric 1e-5 relu imagenet",
    "resnet50_a1_0-14fe96d1.pth": "timm resnet50 resnet50 symmetric 1e-5 relu imagenet",
    "tf_efficientnet_b0_ns-c0e6a31c.pth": "timm tf_efficientnet_b0 efficientnet_b0 same 1e-3 silu imagenet",
    "tf_efficientnet_b0_ap-f262efe1.pth": "timm tf_efficientnet_b0 efficientnet_b0 same 1e-3 silu halves",
    "tf_efficientnet_l2_ns_475-bebbd00a.pth": "timm tf_efficientnet_l2 efficientnet_l2 same 1e-3 silu imagenet",
    "tf_efficientnet_lite0-0aa007d2.pth": "timm tf_efficientnet_lite0 efficientnet_lite0 same 1e-3 relu6 halves",
    "efficientnet_lite0_ra-37913777.pth": "timm efficientnet_lite0 efficientnet_lite0 symmetric 1e-5 relu6 imagenet",
    "efficientnet_b0_ra-3dd342df.pth": "timm efficientnet_b0 efficientnet_b0 symmetric 1e-5 silu imagenet",
    "mobilenetv1_125.ra4_e3600_r224_in1k.bin": "timm mobilenetv1_125 mobilenet_v1x1.25 symmetric 1e-5 relu6 halves",
    "mobilenetv2_100_ra-b33bc2c4.pth": "timm mobilenetv2_100 mobilenet_v2 symmetric 1e-5 relu6 imagenet",
    "mobilenetv3_small_075_lamb.pth": "timm mobilenetv3_small_075 mobilenet_v3_smallx0.75 symmetric 1e-5 hard_swish imagenet",
    "tf_mobilenetv3_large_100-427764d5.pth": "timm tf_mobilenetv3_large_100 mobilenet_v3_large same 1e-3 hard_swish halves",
    "semnasnet_075-18710866.pth": "timm semnasnet_075 mnasnet_a1x0.75 symmetric 1e-5 relu imagenet",
}


class TestFilesByTheirOwnName:
    @pytest.mark.parametrize("name", FILES)
    def test_tell_the_network_and_its_dialect(self, name, tmp_path):
        library, model, arch, padding, norm_eps, activation, _ = FILES[name].split()
        file = hollow(tmp_path / name, library, model)
        found = kept(str(file))
        assert found.file == file
        assert str(found.arch) == arch
        assert (found.arch.padding, found.arch.norm_eps, found.arch.activation) == (padding, float(norm_eps), activation)
        assert re.fullmatch(rf"{file}, sha256 [0-9a-f]{{12}}", found.origin)

    @pytest.mark.parametrize("name", FILES)
    def test_are_shown_images_in_the_scale_that_they_were_trained_with(self, name, tmp_path):
        library, model, *_, images = FILES[name].split()
        found = kept(str(hollow(tmp_path / name, library, model))).arch.preprocessing
        expected = {"imagenet": IMAGENET, "halves": HALVES}[images]
        assert (found.mean, found.std) == (expected.mean, expected.std)

    def test_of_a_package(self):
        weights = installed(parse("efficientnet_lite0"))
        assert weights is not None
        found = kept(str(weights.file))
        assert (found.arch, found.layout, found.file) == (weights.arch, weights.layout, weights.file)

    def test_a_name_that_does_not_tell(self, tmp_path):
        file = hollow(tmp_path / "best.pth", "timm", "mobilenetv1_100")
        told = f"weights {file}: the file's name does not tell of which network; write timm:NAME={file}"
        assert refused(str(file)) == told

    def test_tensors_that_do_not_tell(self, tmp_path):
        torch.save({"encoder.weight": torch.zeros(1)}, tmp_path / "mobilenetv1_100.pth")
        told = f"weights {tmp_path / 'mobilenetv1_100.pth'}: the tensors have the names of no library that is known"
        assert refused(str(tmp_path / "mobilenetv1_100.pth")).startswith(told)


class TestNamesForAFile:
    def test_the_name_counts_and_not_the_file_s(self, tmp_path):
        file = hollow(tmp_path / "resnet50=best.pth", "timm", SMALL)
        found = kept(f"timm:{SMALL}.some_tag={file}")
        assert (str(found.arch), found.layout, found.file) == ("mobilenet_v3_largex0.75", "timm", file)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("timm:mobilenetv4_conv_small={}", "weights timm:mobilenetv4_conv_small={}: Eyas has no architecture for timm's"),
            ("torchvision:vgg16={}", "weights torchvision:vgg16={}: Eyas has no architecture for torchvision's 'vgg16'"),
            ("torchvision:vgg16", "weights torchvision:vgg16: Eyas has no architecture for torchvision's 'vgg16'"),
            ("torchvision:resnet18.V9", "torchvision has no weights 'V9' of resnet18; it has IMAGENET1K_V1"),
            ("timm:resnet18=nowhere.pth", "no weights at nowhere.pth; they can be auto, none, a file or folder, hf:OWNER/NAME"),
            ("nowhere", "no weights at nowhere; they can be"),
            ("timm:resnet18", "no weights at timm:resnet18; they can be"),
        ],
    )
    def test_what_there_is_not(self, text, sentence, tmp_path):
        file = hollow(tmp_path / "w.pth", "timm", SMALL)
        assert refused(text.format(file)).startswith(sentence.format(file))


class TestFolders:
    """As timm itself writes them, for a hub or for `local-dir:`."""

    about = {  # noqa: RUF012 (nobody changes it)
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "interpolation": "bilinear",
        "crop_pct": 0.95,
        "input_size": (3, 160, 160),
    }

    @pytest.mark.parametrize("safe", [True, False])
    def test_tell_the_network_the_images_and_the_resolution(self, safe, small, tmp_path):
        save_for_hf(
            small, tmp_path, model_config={"pretrained_cfg": self.about}, data_config=self.about, safe_serialization=safe
        )
        weights = kept(str(tmp_path))
        assert weights.file.name == ("model.safetensors" if safe else "pytorch_model.bin")
        assert weights.arch.preprocessing == Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.95)
        assert str(weights.arch) == "mobilenet_v3_largex0.75@160"
        network = network_of(weights)
        images = pictures(2, 97)
        mean, std = (torch.tensor(self.about[name]).view(3, 1, 1) for name in ("mean", "std"))
        with torch.no_grad():
            expected = small((images.permute(0, 3, 1, 2) / 255 - mean) / std)
            torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)

    def test_state_a_dialect_of_their_own(self, tmp_path):
        options = {"bn_eps": 1e-4, "act_layer": "relu", "pad_type": "same"}
        model = timm.create_model("mobilenetv1_100", **options)
        save_for_hf(model, tmp_path, model_args=options, safe_serialization=True)
        weights = kept(str(tmp_path))
        assert (weights.arch.norm_eps, weights.arch.activation, weights.arch.padding) == (1e-4, "relu", "same")

    def test_that_asked_for_another_resolution_keep_it(self, small, tmp_path):
        save_for_hf(small, tmp_path, data_config=self.about, safe_serialization=True)
        weights = kept(str(tmp_path), "mobilenet_v3_largex0.75@96")
        assert weights.arch.resolution == 96
        assert weights.arch.preprocessing.mean == (0.1, 0.2, 0.3)

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            ("{", "config.json cannot be read: "),
            ("[]", "config.json names no architecture, as timm's do"),
            ('{"model_type": "bert"}', "config.json names no architecture, as timm's do"),
            ('{"architecture": "vit_base_patch16_224"}', "Eyas has no architecture for timm's 'vit_base_patch16_224'"),
            ('{"architecture": "resnet18", "pretrained_cfg": null}', "describes its images in a way that timm does not"),
            ('{"architecture": "resnet18", "pretrained_cfg": {"mean": 3}}', "describes its images in a way that timm does not"),
            ('{"architecture": "resnet18", "input_size": [3]}', "describes its images in a way that timm does not"),
        ],
    )
    def test_with_a_configuration_that_is_not_timm_s(self, config, sentence, tmp_path):
        hollow(tmp_path / "pytorch_model.bin", "timm", "resnet18")
        (tmp_path / "config.json").write_text(config)
        assert sentence in refused(str(tmp_path))

    def test_with_an_activation_that_eyas_has_not(self, tmp_path):
        model = timm.create_model("mobilenetv1_100", act_layer="gelu")
        save_for_hf(model, tmp_path, model_args={"act_layer": "gelu"}, safe_serialization=True)
        assert "gelu" in refused(str(tmp_path))

    def test_that_are_empty(self, tmp_path):
        told = f"weights {tmp_path}: {tmp_path} holds neither model.safetensors nor pytorch_model.bin"
        assert refused(str(tmp_path)) == told


class TestOwnModels:
    @pytest.fixture
    def run(self, tmp_path) -> Path:
        arch = replace(parse("mobilenet_v1x0.25@33/8"), padding="same", norm_eps=1e-4, preprocessing=IMAGENET)
        (tmp_path / "run" / "model").mkdir(parents=True)
        network = shaken(build(arch, nn.Linear(arch.features, len(CLASSES))))
        save_network(network, tmp_path / "run" / "model" / "model.safetensors", CLASSES)
        return tmp_path / "run"

    @pytest.mark.parametrize(
        "place",
        [
            "model/model.safetensors",
            "model",
            "",
        ],
    )
    def test_come_back_with_their_dialect(self, run, place):
        weights = kept(str(run / place))
        assert (str(weights.arch), weights.layout) == ("mobilenet_v1x0.25@33/8", "eyas")
        network = network_of(weights, len(CLASSES))
        ours, theirs = network.state_dict(), load_file(run / "model" / "model.safetensors")
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert network.arch.padding == "same"

    def test_start_a_network_of_other_classes(self, run):
        network = network_of(find(str(run / "model"), parse("mobilenet_v1x0.25@64")), 5)
        theirs = load_file(run / "model" / "model.safetensors")
        assert torch.equal(network.blocks[3].layers[0].conv.weight, theirs["blocks.3.layers.0.conv.weight"])
        assert network.head.weight.shape == (5, 256)


class TestInstalledPackages:
    @pytest.mark.parametrize("name", PACKAGES)
    def test_give_the_logits_of_an_independent_implementation(self, name):
        pytest.importorskip(PACKAGES[name])
        weights = installed(parse(name))
        network = network_of(weights)
        given = torch.load(weights.file, map_location="cpu", weights_only=True)
        model = timm.create_model(f"tf_{name}").eval()
        model.load_state_dict(dict(zip(model.state_dict(), given.values(), strict=True)))  # in their order
        for side in (97, 160):
            images = pictures(2, side)
            with torch.no_grad():
                ours, theirs = network(images), model((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
            assert (theirs - theirs.mean(0)).std() > 0.1
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    def test_are_for_any_resolution_and_output_stride_but_one_width_and_depth(self):
        offered = ["efficientnet_lite0", "efficientnet_lite0@96", "efficientnet_lite0@32/8"]
        others = ["efficientnet_lite0x0.5", "efficientnet_lite0d1.2", "efficientnet_lite4", "efficientnet_b0", "mobilenet_v1"]
        assert [text for text in offered + others if find("auto", parse(text))] == offered

    def test_not_installed_is_not_there(self, monkeypatch):
        monkeypatch.setattr(published, "PACKAGES", {"efficientnet_lite0": "a_package_that_nobody_has"})
        assert find_spec("a_package_that_nobody_has") is None
        assert installed(parse("efficientnet_lite0")) is None

    def test_none_asked_for_is_none(self):
        assert find("none", parse("efficientnet_lite0")) is None
        assert find("auto") is None


class TestTorchvision:
    """From its cache: nothing is downloaded."""

    @pytest.fixture
    def checkpoints(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        return folder

    @pytest.mark.parametrize(
        ("text", "file", "crop"),
        [
            ("torchvision:mobilenet_v2", "mobilenet_v2-7ebf99e0.pth", 224 / 232),
            ("torchvision:mobilenet_v2.IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", 224 / 256),
        ],
    )
    def test_by_name_and_tag_with_the_images_of_those_weights(self, text, file, crop, checkpoints):
        model = peer("torchvision", "mobilenet_v2")
        torch.save(model.state_dict(), checkpoints / file)
        weights = kept(text)
        assert weights.file == checkpoints / file
        assert re.fullmatch(rf"{text}, sha256 [0-9a-f]{{12}}", weights.origin)
        assert weights.arch.preprocessing == Preprocessing(IMAGENET.mean, IMAGENET.std, "bilinear", crop)
        network = network_of(weights)
        torch.testing.assert_close(network.mean.flatten(), torch.tensor(IMAGENET.mean))
        torch.testing.assert_close(network.std.flatten(), torch.tensor(IMAGENET.std))
        assert difference(network, model, 65) < 1e-4
