"""Published weights in our networks: the logits of timm and torchvision, and what is said of a file that does not fit."""

import argparse
from dataclasses import replace
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eyas.arch.parse import parse
from eyas.arch.spec import HALVES, IMAGENET
from eyas.nn.build import Network, build
from eyas.nn.published import find, load
from tests.fakes import pictures
from tests.nn.peers import SMALL, difference, network_of, peer, refused

# Of every family, with and without TensorFlow's padding, at several widths and depths.
PEERS = [
    *(("timm", f"tf_efficientnet_{size}") for size in ("b0", "b1", "b3", "lite0", "lite2", "lite4")),
    *(("timm", f"efficientnet_{size}") for size in ("b0", "lite0")),
    *(("timm", f"mobilenetv1_{width}") for width in (100, 125)),
    *(("timm", f"mobilenetv2_{width}") for width in ("035", 100, 140)),
    *(("timm", f"{tf}mobilenetv3_{size}") for tf in ("", "tf_") for size in ("large_100", "small_075")),
    *(("timm", name) for name in ("mnasnet_100", "mnasnet_140", "semnasnet_075", "semnasnet_100", "resnet18", "resnet50")),
    *(("torchvision", f"efficientnet_{size}") for size in ("b0", "b2", "b5")),
    *(("torchvision", f"mobilenet_{size}") for size in ("v2", "v3_large", "v3_small")),
    *(("torchvision", name) for name in ("mnasnet0_5", "mnasnet1_0", "resnet34")),
]


@pytest.mark.parametrize(("library", "name"), PEERS)
def test_their_weights_in_our_network_give_their_logits(library, name, tmp_path):
    model = peer(library, name)
    file = tmp_path / ("w.safetensors" if library == "timm" else "w.pth")
    save_file(model.state_dict(), file) if library == "timm" else torch.save(model.state_dict(), file)
    network = network_of(find(f"{library}:{name}={file}"))
    assert difference(network, model, 65) < 1e-4
    assert difference(network, model, 96) < 1e-4  # even: TensorFlow pads the right and the bottom only


def test_another_dialect_would_be_seen(tmp_path):
    for name, changes in (
        ("tf_mobilenetv3_small_100", ({"padding": "symmetric"}, {"norm_eps": 1e-5})),
        ("mobilenetv1_100", ({"activation": "relu"}, {"padding": "same"})),
    ):
        model = peer("timm", name)
        save_file(model.state_dict(), tmp_path / f"{name}.safetensors")
        weights = find(str(tmp_path / f"{name}.safetensors"))
        assert weights is not None
        for change in changes:
            network = network_of(replace(weights, arch=replace(weights.arch, **change)))
            assert difference(network, model, 96) > 1e-3


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return peer("timm", SMALL)


class TestWhatDoesNotFit:
    @pytest.fixture
    def state(self, small) -> dict[str, Tensor]:
        return dict(small.state_dict())

    @pytest.fixture
    def spoilt(self, tmp_path):
        def write(state: dict[str, Tensor]) -> str:
            file = tmp_path / "w.safetensors"
            save_file(state, file)
            found = refused(f"timm:{SMALL}={file}")
            assert found.startswith(f"weights timm:{SMALL}={file}, sha256 ")
            return found

        return write

    def test_the_first_missing_tensor_is_named(self, state, spoilt):
        for name in ("blocks.2.0.se.conv_reduce.weight", "blocks.3.1.bn1.weight"):
            del state[name]
        sentence = spoilt(state)
        assert sentence.endswith(" are not of mobilenet_v3_largex0.75: blocks.2.0.se.conv_reduce.weight is missing")

    def test_the_first_of_another_shape_is_named_with_both(self, state, spoilt):
        state["blocks.1.0.conv_dw.weight"] = torch.zeros(64, 1, 5, 5)
        state["conv_head.bias"] = torch.zeros(3)
        assert spoilt(state).endswith(": blocks.1.0.conv_dw.weight is (64, 1, 5, 5) where (64, 1, 3, 3) belongs")

    def test_a_tensor_that_ours_has_not_is_named(self, state, spoilt):
        assert spoilt(state | {"blocks.7.0.conv.weight": torch.zeros(3)}).endswith(": it has no blocks.7.0.conv.weight")

    def test_a_file_of_another_width(self, state, tmp_path):
        save_file(state, tmp_path / "w.safetensors")
        sentence = refused(f"timm:mobilenetv3_large_100={tmp_path / 'w.safetensors'}")
        assert " are not of mobilenet_v3_large: blocks." in sentence
        assert " where " in sentence

    def test_weights_of_another_network_than_asked_for(self, state, tmp_path):
        file = tmp_path / f"{SMALL}.safetensors"
        save_file(state, file)
        sentence = (
            f"weights {file} are of mobilenet_v3_largex0.75, not of {{}}; give --arch mobilenet_v3_largex0.75, or other weights"
        )
        for asked in ("mobilenet_v3_large", "mobilenet_v3_smallx0.75", "mobilenet_v3_largex0.75d2"):
            assert refused(str(file), asked) == sentence.format(asked)

    @pytest.mark.parametrize("damage", ["empty", "cut short", "overwritten", "text"])
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_damaged(self, state, damage, suffix, tmp_path):
        file = tmp_path / f"{SMALL}.{suffix}"
        save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
        whole = file.read_bytes()
        file.unlink()
        match damage:
            case "empty":
                file.write_bytes(b"")
            case "cut short":
                file.write_bytes(whole[: len(whole) // 2])
            case "overwritten":
                file.write_bytes(b"\xff" * 50 + whole[50:])
            case "text":
                file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        for text in (str(file), f"timm:{SMALL}={file}"):
            assert str(file) in refused(text)

    @pytest.mark.parametrize("pickled", [b"\x80\x02h\x05.", b"\x80\x02."], ids=["a place that is not there", "nothing"])
    def test_damaged_within(self, pickled, tmp_path):
        file = tmp_path / f"{SMALL}.pth"
        torch.save({"conv_stem.weight": torch.zeros(1)}, file)
        with ZipFile(file) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with ZipFile(file, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, pickled if name.endswith("data.pkl") else content)
        assert f"{file} holds no weights that can be read, or is damaged" in refused(f"timm:{SMALL}={file}")

    def test_a_folder_in_place_of_a_file(self, tmp_path):
        assert str(tmp_path) in refused(f"timm:{SMALL}={tmp_path}")

    @pytest.mark.parametrize("held", [3, {}, {"conv_stem.weight": 3}, [torch.zeros(1)]])
    def test_a_file_of_something_else(self, held, tmp_path):
        torch.save(held, tmp_path / "w.pth")
        expected = f"{tmp_path / 'w.pth'} holds no weights: a dictionary of tensors by name is expected"
        assert refused(f"timm:{SMALL}={tmp_path / 'w.pth'}") == expected

    def test_code_in_a_pickle_is_not_run(self, tmp_path):
        class Harm:
            def __reduce__(self):
                return (pytest.fail, ("the file was run",))

        torch.save({"conv_stem.weight": Harm()}, tmp_path / "resnet18.pth")
        for text in (str(tmp_path / "resnet18.pth"), f"timm:resnet18={tmp_path / 'resnet18.pth'}"):
            assert "holds no weights that can be read, or is damaged" in refused(text)

    def test_a_checkpoint_with_settings_beside_its_tensors(self, state, tmp_path):
        torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / "last.pth.tar")
        sentence = refused(f"timm:{SMALL}={tmp_path / 'last.pth.tar'}")
        assert "\x1b" not in sentence
        assert "argparse.Namespace" in sentence


class TestWhatFits:
    @pytest.fixture
    def text(self, small, tmp_path) -> str:
        save_file(small.state_dict(), tmp_path / "w.safetensors")
        return f"timm:{SMALL}={tmp_path / 'w.safetensors'}"

    @pytest.mark.parametrize("wrapper", ["state_dict", "state_dict_ema", "model"])
    def test_what_trainers_write_around_the_tensors(self, wrapper, small, tmp_path):
        state = {f"module.{name}": tensor for name, tensor in small.state_dict().items()}
        torch.save({wrapper: state, "epoch": 3}, tmp_path / "w.pth.tar")
        assert difference(network_of(find(f"timm:{SMALL}={tmp_path / 'w.pth.tar'}")), small, 65) < 1e-4

    def test_counts_of_batches_may_be_missing_as_in_older_files(self, small, tmp_path):
        state = {name: tensor for name, tensor in small.state_dict().items() if not name.endswith("num_batches_tracked")}
        save_file(state, tmp_path / "w.safetensors")
        assert difference(network_of(find(f"timm:{SMALL}={tmp_path / 'w.safetensors'}")), small, 65) < 1e-4

    def test_another_number_of_classes_keeps_its_own_head_and_takes_the_rest(self, text):
        whole, weights = network_of(find(text)), find(text)
        assert weights is not None
        network = build(weights.arch, nn.Linear(weights.arch.features, 5), seed=3)
        head = network.head.weight.clone()
        load(network, weights)
        assert torch.equal(network.head.weight, head)
        ours, theirs = network.state_dict(), whole.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("head."))

    def test_the_normalisation_of_images_comes_with_them(self, text):
        weights = find(text)
        assert weights is not None
        arch = replace(weights.arch, preprocessing=HALVES)
        network = Network(arch, nn.Linear(arch.features, 3))
        load(network, weights)
        for given, expected in ((network.mean, IMAGENET.mean), (network.std, IMAGENET.std)):
            torch.testing.assert_close(given.flatten(), torch.tensor(expected))

    def test_the_network_asked_for_keeps_its_resolution_and_stride_and_takes_their_dialect(self, text):
        asked = parse("mobilenet_v3_largex0.75@33/8")
        weights = find(text, asked)
        assert weights is not None
        assert str(weights.arch) == str(asked)
        assert (asked.norm_eps, weights.arch.norm_eps) == (1e-3, 1e-5)
        assert network_of(weights)(pictures(1, 33)).shape == (1, 1000)
