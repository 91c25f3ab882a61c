"""`hf:OWNER/NAME` against a cache laid out by hand, as huggingface_hub lays out its own. Nothing is asked of any network."""

import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from timm.models import save_for_hf
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.hubs import hub_folder
from eyas.nn.published import find
from tests.nn.peers import SMALL, difference, network_of, peer, refused

NAME = "timm/mobilenetv3_large_075.random"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return peer("timm", SMALL)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def snapshot(cache) -> Path:
    """The folder of one commit of the model, the newest."""
    model = cache / f"models--{NAME.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    folder = model / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def test_a_model_in_the_cache_is_found_with_its_images(small, snapshot):
    about = {"mean": (0.1, 0.2, 0.3), "input_size": (3, 160, 160)}
    save_for_hf(small, snapshot, data_config=about, safe_serialization=True)
    weights = find(f"hf:{NAME}")
    assert weights is not None
    assert (weights.file, weights.layout) == (snapshot / "model.safetensors", "timm")
    assert weights.origin.startswith(f"hf:{NAME}, sha256 ")
    assert str(weights.arch) == "mobilenet_v3_largex0.75@160"
    assert weights.arch.preprocessing.mean == (0.1, 0.2, 0.3)
    assert difference(network_of(weights), small, 65) < 1e-4


def test_for_another_network_than_asked_for(small, snapshot):
    save_for_hf(small, snapshot, safe_serialization=True)
    sentence = refused(f"hf:{NAME}", "mobilenet_v3_large")
    assert sentence.startswith(f"weights hf:{NAME} are of mobilenet_v3_largex0.75, not of mobilenet_v3_large;")
    weights = find(f"hf:{NAME}", parse("mobilenet_v3_largex0.75@64/8"))
    assert weights is not None
    assert str(weights.arch) == "mobilenet_v3_largex0.75@64/8"


def test_a_model_without_safetensors(small, snapshot):
    save_for_hf(small, snapshot, safe_serialization=False)
    weights = find(f"hf:{NAME}")
    assert weights is not None
    assert weights.file == snapshot / "pytorch_model.bin"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("repository", [NAME, "timm/no_such_model", "one_word", "timm/a/b/c", "timm/..", ""])
def test_what_is_not_there_is_one_sentence(repository):
    with pytest.raises(UserError) as error:
        hub_folder(repository)
    sentence = str(error.value)
    assert sentence.startswith(f"weights hf:{repository} cannot be had from the Hugging Face hub or its cache: ")
    assert "\n" not in sentence


def test_weights_that_are_not_in_the_cache_though_their_description_is(snapshot):
    (snapshot / "config.json").write_text("{}")
    assert refused(f"hf:{NAME}").startswith(f"weights hf:{NAME} cannot be had")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused(f"hf:{NAME}") == f"weights hf:{NAME} need huggingface_hub: pip install 'eyas[weights]'"
