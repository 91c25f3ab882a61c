"""Where things are kept that can be made again."""

from pathlib import Path

import pytest
from torch import nn

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.learn import way
from eyas.learn.device import Device
from eyas.learn.way import Measured
from eyas.nn.build import build
from eyas.places import user_cache
from eyas.progress import listening
from eyas.recipe import Training
from eyas.studies.prepare import cache_of
from tests.heard import Heard


def test_the_cache_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "eyas"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache() == Path.home() / ".cache" / "eyas"


@pytest.fixture
def homeless(monkeypatch) -> None:
    def home(_kind: type) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(home))


@pytest.mark.usefixtures("homeless")
class TestWithoutAHome:
    def test_it_is_said_what_to_set(self):
        with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
            user_cache()

    def test_images_are_prepared_for_one_run_alone(self):
        with listening(heard := Heard()):
            assert cache_of("auto") is None
        (said,) = heard.said
        assert said.startswith("prepared images are not kept for other runs: this user has no home folder")

    def test_a_long_run_measures_each_time(self, monkeypatch):
        asked = []
        monkeypatch.setattr(way, "_measure", lambda *_: asked.append(1) or Measured(float32=2e-4, bfloat16=1e-4))
        arch = parse("mobilenet_v1x0.125@32")
        network = build(arch, nn.Linear(arch.features, 3))
        for _ in range(2):
            found = way.choose_way(network, Training(compile="off"), 32, 10**6, Device("cpu", False))
            assert (found.precision, found.fused) == ("bfloat16", False)
        assert len(asked) == 2
