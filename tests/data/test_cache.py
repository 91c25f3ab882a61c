"""Decoded once for all runs; and never a half store, a run that needs the cache, or a lost file of somebody else's."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eyas.data import cache as caching
from eyas.data import prepared
from eyas.data.cache import build_or_reuse, clear_cache
from eyas.data.manifest import Manifest
from eyas.data.store import INDEX, PART, PIXELS, build, open_store
from eyas.progress import listening
from eyas.recipe import Splits
from eyas.run import Run
from eyas.studies.prepare import prepare
from tests.heard import Heard
from tests.images import class_folders, encoded, image, manifest_of, put

SLOW = """
import sys, time
from pathlib import Path
from eyas.data import prepared
from eyas.data.cache import build_or_reuse
from tests.images import manifest_of
decode = prepared.decode
def slow(source):
    time.sleep(0.05)
    return decode(source)
prepared.decode = slow
folder, out, cache = map(Path, sys.argv[1:])
build_or_reuse(manifest_of(folder, sorted(path.name for path in folder.iterdir())), out, 16, cache)
"""


@pytest.fixture
def images(tmp_path: Path) -> Manifest:
    for seed in range(20):
        put(tmp_path / "in" / f"{seed:02}.png", encoded(image(seed), "PNG"))
    return manifest_of(tmp_path / "in", [f"{seed:02}.png" for seed in range(20)])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every source that is decoded from now on."""
    sources: list[str] = []
    decode = prepared.decode
    monkeypatch.setattr(prepared, "decode", lambda source: (sources.append(source), decode(source))[1])
    return sources


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def entries(cache: Path) -> list[Path]:
    return [path for path in sorted(cache.iterdir()) if path.is_dir()]


def start(tmp_path: Path, out: str) -> subprocess.Popen[bytes]:
    words = [tmp_path / "in", tmp_path / out, tmp_path / "cache"]
    return subprocess.Popen([sys.executable, "-c", SLOW, *map(str, words)], cwd=Path(__file__).parents[2])


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_run_decodes_nothing_and_has_the_same_bytes(tmp_path, images, decoded):
    build(images, tmp_path / "alone", 16)
    decoded.clear()
    build_or_reuse(images, tmp_path / "first", 16, tmp_path / "cache")
    assert len(decoded) == 20
    again = build_or_reuse(images, tmp_path / "second", 16, tmp_path / "cache")
    assert len(decoded) == 20
    assert content(tmp_path / "alone") == content(tmp_path / "first") == content(tmp_path / "second")
    assert again.store.ids == tuple(images.column("id"))
    assert (tmp_path / "first" / PIXELS).stat().st_ino == (tmp_path / "second" / PIXELS).stat().st_ino  # no more room taken


def test_labels_and_splits_need_no_decoding(tmp_path, images, decoded):
    build_or_reuse(images, tmp_path / "first", 16, tmp_path / "cache")
    rows = {"id": images.column("id"), "source": images.column("source"), "label": ["cat"] * 20, "split": ["test"] * 20}
    build_or_reuse(Manifest.of(rows), tmp_path / "second", 16, tmp_path / "cache")
    assert len(decoded) == 20


@pytest.mark.parametrize("change", ["file", "side", "rows", "limit", "version"])
def test_whatever_the_bytes_depend_on_is_decoded_anew(tmp_path, images, decoded, monkeypatch, change):
    build_or_reuse(images, tmp_path / "first", 16, tmp_path / "cache")
    decoded.clear()
    if change == "file":
        put(tmp_path / "in" / "00.png", encoded(image(99), "PNG"))
    if change == "version":
        monkeypatch.setattr(caching, "VERSION", caching.VERSION + 1)
    rows = images.where([change != "rows" or row > 0 for row in range(20)])
    side, limit = 12 if change == "side" else 16, 1 if change == "limit" else 10**9
    build_or_reuse(rows, tmp_path / "second", side, tmp_path / "cache", limit)
    assert len(decoded) == len(rows)
    assert len(entries(tmp_path / "cache")) == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, images, monkeypatch):
    decode = prepared.decode

    def changing(source):
        put(tmp_path / "in" / "19.png", encoded(image(99), "PNG"))
        return decode(source)

    monkeypatch.setattr(prepared, "decode", changing)
    build_or_reuse(images, tmp_path / "run", 16, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_a_part_of_a_file_is_known_by_that_file(tmp_path):
    put(tmp_path / "a#b.png", b"1")
    put(tmp_path / "shard.tar", b"22")
    sources = [str(tmp_path / "a#b.png"), f"tar:{tmp_path}/shard.tar#512+9", f"tar:{tmp_path}/gone.tar#0+1"]
    found = caching.stamps(Manifest.of({"id": list("abc"), "source": sources}))
    assert {Path(file).name: size for file, (size, _) in found.items()} == {"a#b.png": 1, "shard.tar": 2}


def test_what_lies_behind_an_address_is_not_shared(tmp_path, decoded):
    rows = Manifest.of({"id": ["a"], "source": ["memory://nowhere/a.png"]})
    for run in ("first", "second"):
        build_or_reuse(rows, tmp_path / run, 16, tmp_path / "cache")
    assert len(decoded) == 2


def test_a_run_lives_on_when_the_cache_is_cleared(tmp_path, images):
    cache, run = tmp_path / "cache", tmp_path / "run"
    build_or_reuse(images, run, 16, cache)
    before, index = content(run), (run / INDEX).stat().st_size
    assert clear_cache(cache) == index  # the pixels are the run's too
    assert list(cache.iterdir()) == []
    assert content(run) == before
    build_or_reuse(images, tmp_path / "other", 16, cache)
    pixels = (tmp_path / "other" / PIXELS).stat().st_size
    shutil.rmtree(tmp_path / "other")
    assert clear_cache(cache) == pixels + index


def test_clearing_touches_nothing_else(tmp_path, images):
    cache = tmp_path / "photos"
    mine = [put(cache / "images-of-my-cat" / "a.jpg", b"cat"), put(cache / "images.lock", b""), put(cache / "b.jpg", b"dog")]
    build_or_reuse(images, tmp_path / "run", 16, cache)
    clear_cache(cache)
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == sorted(mine)
    assert clear_cache(tmp_path / "nowhere") == 0


def test_a_damaged_entry_is_made_anew(tmp_path, images, decoded):
    cache = tmp_path / "cache"
    build_or_reuse(images, tmp_path / "first", 16, cache)
    whole = content(tmp_path / "first")
    (entry,) = entries(cache)
    shutil.rmtree(tmp_path / "first")
    os.truncate(entry / PIXELS, 10)
    build_or_reuse(images, tmp_path / "second", 16, cache)
    assert len(decoded) == 40
    assert content(tmp_path / "second") == content(entry) == whole


def test_another_disk_gets_a_copy(tmp_path, images, monkeypatch):
    def refused(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    for run in ("first", "second"):
        build_or_reuse(images, tmp_path / run, 16, tmp_path / "cache")
    assert content(tmp_path / "first") == content(tmp_path / "second")
    assert (tmp_path / "first" / PIXELS).stat().st_ino != (tmp_path / "second" / PIXELS).stat().st_ino


def test_a_cache_that_cannot_be_used_costs_a_sentence(tmp_path, images):
    put(tmp_path / "cache", b"a file")
    heard = Heard()
    with listening(heard):
        build_or_reuse(images, tmp_path / "run", 16, tmp_path / "cache")
    assert len(open_store(tmp_path / "run")) == 20
    (sentence,) = heard.said
    assert sentence.startswith(f"the cache {tmp_path / 'cache'} cannot be used (")


def test_a_disk_that_is_full_for_the_cache_costs_a_sentence_and_leaves_no_half(tmp_path, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    heard = Heard()
    with listening(heard):
        build_or_reuse(images, tmp_path / "run", 16, tmp_path / "cache")
    assert len(open_store(tmp_path / "run")) == 20
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert "not kept for other runs" in heard.said[0]


def test_of_two_processes_the_second_waits_and_decodes_nothing(tmp_path, images, decoded):
    first = start(tmp_path, "first")
    wait_for(tmp_path / "first" / PART)
    clear_cache(tmp_path / "cache")  # leaves what another process works with
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    heard = Heard()
    with listening(heard):
        build_or_reuse(images, tmp_path / "second", 16, tmp_path / "cache")
    assert first.wait(60) == 0
    assert decoded == []
    assert heard.said[0] == "another process prepares the same images; waiting for it"
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_the_lock_of_a_killed_process_is_free(tmp_path, images):
    first = start(tmp_path, "first")
    wait_for(tmp_path / "first" / PART)
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    (lock,) = (tmp_path / "cache").iterdir()
    half = tmp_path / "cache" / f".{lock.stem}.{'0' * 32}"
    put(half / PIXELS, b"left by a kill between two files")
    built = build_or_reuse(images, tmp_path / "first", 16, tmp_path / "cache")
    np.testing.assert_array_equal(built.store[3], build(images, tmp_path / "alone", 16).store[3])
    assert not half.exists()
    assert len(entries(tmp_path / "cache")) == 1


def test_a_run_is_the_same_with_a_cache_and_without(tmp_path):
    class_folders(tmp_path / "data", {"cat": 12, "dog": 12})
    digests = set()
    for number, cache in enumerate((None, tmp_path / "cache", tmp_path / "cache")):
        with Run.open(tmp_path / str(number)) as run:
            digests.add(prepare(run, str(tmp_path / "data"), None, 0, Splits(), 32, 0, cache=cache).digest)
    assert len(digests) == 1
    assert len(entries(tmp_path / "cache")) == 1
