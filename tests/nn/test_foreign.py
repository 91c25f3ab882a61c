"""Models of other packages, built by name: what is built, and what is said where there is none."""

import sys
import urllib.error
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision.models import WeightsEnum

from eyas.errors import UserError
from eyas.nn.foreign import model_of, timm_model, timm_names, timm_version, torchvision_file, torchvision_model

MINE = """
import torch
from torch import nn

class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)

def make_net():
    return Net()

def looks_at_values():
    assert torch.ones(1).item() == 1
    return Net()

def needs(channels):
    return Net()

def gives_three():
    return 3

three = 3
net = Net()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file `own_nets.py` in the current directory."""
    (tmp_path / "own_nets.py").write_text(MINE)
    (tmp_path / "own_broken.py").write_text("import own_missing\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    assert sys.path == before
    for name in ("own_nets", "own_broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch):
    """Whoever tries to download fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download")

    for name in ("torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file", "urllib.request.urlopen"):
        monkeypatch.setattr(name, refuse)


class TestByName:
    @pytest.mark.usefixtures("offline")
    @pytest.mark.parametrize(
        ("text", "resolution", "classes"),
        [("torchvision:alexnet", 224, 10), ("timm:resnet18@96", 96, 10), ("timm:resnet18.a1_in1k", 224, 10)],
    )
    def test_of_a_library(self, text, resolution, classes):
        found = model_of(text, classes)
        assert (found.resolution, found.classes) == (resolution, classes)
        *_, last = found.module.parameters()
        assert (last.shape, last.device.type) == ((classes,), "meta")

    @pytest.mark.usefixtures("mine")
    @pytest.mark.parametrize("name", ["Net", "make_net", "net", "looks_at_values"])
    def test_of_a_file_in_the_current_directory(self, name):
        found = model_of(f"own_nets:{name}@32", classes=10)
        assert (type(found.module).__name__, found.resolution, found.classes) == ("Net", 32, None)

    @pytest.mark.usefixtures("mine")
    def test_weights_are_there_only_where_the_constructor_looks_at_values(self):
        devices = [next(model_of(f"own_nets:{name}").module.parameters()).device.type for name in ("Net", "looks_at_values")]
        assert devices == ["meta", "cpu"]

    @pytest.mark.usefixtures("mine")
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (
                "torchvision:",
                "model 'torchvision:' is not of the form PACKAGE:NAME[@<resolution>], for example torchvision:vgg16",
            ),
            ("torchvision:vgg16@x", "model 'torchvision:vgg16@x' is not of the form"),
            ("torchvision:vgg16@0", "resolution 0 of torchvision:vgg16: it must be at least 1 pixel"),
            ("torchvision:vgg61", "torchvision has no 'vgg61'; did you mean vgg"),
            ("timm:resnet5O", "timm has no 'resnet5O'; did you mean resnet50"),
            ("timm:resnet18.none", "timm:resnet18.none cannot be built: "),
            ("own_nets:mak_net", "own_nets has no 'mak_net'; did you mean make_net or net?"),
            ("own_nets:xyz", "own_nets has no 'xyz'"),
            ("own_nets:three", "own_nets:three is of type int; it must be or make a torch.nn.Module"),
            ("own_nets:gives_three", "own_nets:gives_three gives something of type int; it must be or make a torch.nn.Module"),
            ("own_nets:needs", "own_nets:needs cannot be built: needs() missing 1 required positional argument: 'channels'"),
            ("own_broken:net", "own_broken cannot be imported: No module named 'own_missing'"),
            ("own_missing:net", "own_missing is not installed: install it, or work in the directory that holds it"),
        ],
    )
    def test_what_is_wrong_in_one_sentence(self, text, sentence):
        with pytest.raises(UserError) as refused:
            model_of(text)
        assert str(refused.value).startswith(sentence)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("package", ["torchvision", "timm"])
    def test_a_library_that_is_not_installed(self, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.models", None)
        with pytest.raises(UserError, match=rf"^{package} is not installed: pip install 'eyas\[weights\]'$"):
            model_of(f"{package}:resnet18")


class TestTorchvision:
    @pytest.mark.usefixtures("offline")
    def test_has_fresh_weights_and_as_many_classes_as_asked(self):
        model = torchvision_model("squeezenet1_1", classes=7)
        assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)

    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    def test_is_without_the_heads_that_only_training_runs(self, name):
        with torch.device("meta"):
            assert not any("aux" in part for part, _ in torchvision_model(name).named_parameters())

    @pytest.mark.usefixtures("offline")
    def test_downloads_no_backbone(self):
        assert isinstance(model_of("torchvision:lraspp_mobilenet_v3_large", classes=21).module, nn.Module)

    def test_published_weights_with_their_preprocessing(self, monkeypatch, tmp_path):
        monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
        asked: list[WeightsEnum] = []
        monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda weights, **_: asked.append(weights))
        file, preprocessing = torchvision_file("resnet50.IMAGENET1K_V1")
        assert [weights.name for weights in asked] == ["IMAGENET1K_V1"]
        assert file == tmp_path / "checkpoints" / "resnet50-0676ba61.pth"
        assert (preprocessing.interpolation, preprocessing.crop) == ("bilinear", 224 / 256)
        assert preprocessing.mean == (0.485, 0.456, 0.406)
        torchvision_file("resnet50")
        assert asked[1] == type(asked[0]).DEFAULT != asked[0]

    def test_weights_that_are_not_there(self, monkeypatch):
        with pytest.raises(UserError, match=r"^torchvision has no weights 'V9' of resnet18; it has IMAGENET1K_V1$"):
            torchvision_file("resnet18.V9")
        with pytest.raises(UserError, match=r"^torchvision has no 'resnet19'; did you mean resnet1"):
            torchvision_file("resnet19")

        def unreachable(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route")

        monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
        with pytest.raises(UserError, match=r"^torchvision's weights https:.*resnet18-.*pth cannot be downloaded: .*no route"):
            torchvision_file("resnet18")


class TestTimm:
    @pytest.mark.usefixtures("offline")
    def test_takes_its_own_options(self):
        model = timm_model("mobilenetv2_035", classes=5, bn_eps=0.5)
        assert {each.eps for each in model.modules() if isinstance(each, nn.BatchNorm2d)} == {0.5}
        assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 5)

    def test_names_and_version(self):
        assert {"mobilenetv1_100", "tf_efficientnet_lite0"} <= set(timm_names())
        assert timm_version() == timm.__version__
