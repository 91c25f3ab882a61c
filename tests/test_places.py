"""Where things are kept that can be made again."""

from pathlib import Path

import pytest

from eyas.errors import UserError
from eyas.places import user_cache


def test_the_cache_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "eyas"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache() == Path.home() / ".cache" / "eyas"


def test_who_has_no_home_is_told_what_to_set(monkeypatch):
    def homeless(_kind: type) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        user_cache()
