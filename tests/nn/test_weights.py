"""Our own model files: what was saved comes back, whatever the dialect, and nothing else is taken for one."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from eyas.arch.parse import DIALECT, described, from_description, like, parse
from eyas.arch.spec import HALVES, IMAGENET, Arch, Preprocessing
from eyas.arch.tables import ARCHS
from eyas.errors import UserError
from eyas.nn.build import Network, build
from eyas.nn.weights import described_in, kind_of, load_network, save_network
from tests.fakes import pictures, shaken

CLASSES = ("cracked", "heil", "ganz, größtenteils")
SMALL = "efficientnet_b0x0.25@33/8"


def network_of(text: str, classes: int = 3, seed: int = 0) -> Network:
    arch = parse(text)
    return build(arch, nn.Linear(arch.features, classes), seed=seed)


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
            {"eyas": '{"arch": 3, "classes": ["a", "b", "c"]}'},
            {"eyas": json.dumps({"arch": SMALL, "classes": 3})},
            {"eyas": json.dumps({"arch": SMALL, "classes": ["a", "b", "c"], "preprocessing": {"mean": [0, 0, 0]}})},
            {"eyas": json.dumps({"arch": SMALL, "classes": ["a", "b", "c"], "preprocessing": 3})},
            {"eyas": json.dumps({"arch": "resnet50", "classes": ["a", "b", "c"]})},
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


def test_safetensors_of_others_are_told_apart_from_ours_and_from_damaged_ones(tmp_path):
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "theirs", {"format": "pt"})
    assert described_in(tmp_path / "theirs") is None
    save_network(network_of(SMALL), tmp_path / "ours", CLASSES)
    assert described_in(tmp_path / "ours") == (parse(SMALL), CLASSES)


class TestKind:
    def test_a_classifier_says_nothing_and_others_what_they_are(self, tmp_path):
        for kind in ("classify", "attributes", "embed"):
            save_network(network_of(SMALL), tmp_path / kind, CLASSES, kind)
            assert kind_of(tmp_path / kind) == kind
            assert load_network(tmp_path / kind)[1] == CLASSES
        save_network(network_of(SMALL), tmp_path / "plain", CLASSES)
        assert (tmp_path / "plain").read_bytes() == (tmp_path / "classify").read_bytes()

    def test_of_a_later_version(self, tmp_path):
        save_network(network_of(SMALL), tmp_path / "m", CLASSES, "attributes")
        (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes().replace(b"attributes", b"depth maps"))
        with pytest.raises(UserError, match="a model for the task 'depth maps'"):
            kind_of(tmp_path / "m")

    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match="no model at"):
            kind_of(tmp_path / "m")


class TestDialects:
    """Implementations of one table differ in padding, epsilon, activation and preprocessing; a model is saved with its own."""

    own = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.9375)

    @pytest.mark.parametrize(
        ("text", "change"),
        [
            (SMALL, {"padding": "symmetric", "norm_eps": 1e-5}),
            ("mobilenet_v1x0.25@33/8", {"padding": "same", "activation": "relu6", "preprocessing": own}),
            ("mobilenet_v3_smallx0.5@33/8", {"norm_eps": 1e-4, "preprocessing": HALVES}),
            ("resnet18x0.25@33/8", {"preprocessing": own}),
        ],
    )
    def test_come_back_with_the_weights_and_in_the_answers(self, text, change, tmp_path):
        arch = replace(parse(text), **change)
        original = shaken(build(arch, nn.Linear(arch.features, 3)))
        save_network(original, tmp_path / "m", CLASSES)
        network, _ = load_network(tmp_path / "m")
        assert network.arch == arch
        with torch.no_grad():
            assert torch.equal(network(pictures(2, 33)), original(pictures(2, 33)))

    @given(
        st.sampled_from(list(ARCHS.values())),
        st.fixed_dictionaries(
            {},
            optional={
                "activation": st.sampled_from(["relu", "relu6", "silu", "hard_swish"]),
                "padding": st.sampled_from(["same", "symmetric"]),
                "norm_eps": st.floats(1e-6, 1e-2),
                "preprocessing": st.sampled_from([HALVES, IMAGENET, own]),
            },
        ),
    )
    def test_any_is_read_as_it_was_written(self, table, change):
        arch = replace(table, **change)
        written = described(arch)
        assert from_description(json.loads(json.dumps(written))) == arch
        departs = {name for name in DIALECT if getattr(arch, name) != getattr(table, name)}
        assert set(written) == {"arch"} | departs  # a table as published is its name and nothing else

    def test_like_takes_the_dialect_over_and_keeps_the_dials(self):
        model = replace(parse("mobilenet_v1"), padding="same", norm_eps=1e-5, activation="relu6", preprocessing=self.own)
        heir = like(parse("mobilenet_v1x0.25@96/8"), model)
        assert str(heir) == "mobilenet_v1x0.25@96/8"
        assert [getattr(heir, name) for name in DIALECT] == [getattr(model, name) for name in DIALECT]
        assert like(heir, heir) == heir

    def test_like_leaves_another_table_as_it_is(self):
        arch = parse("mobilenet_v2x0.5")
        assert like(arch, replace(parse("mobilenet_v1"), padding="same")) == arch
