"""The data check as a command: what it says, what it leaves, and that a run takes up what it decoded."""

import json
from pathlib import Path

import pytest

import eyas
from eyas.cli import main
from tests.images import encoded, image, put
from tests.scenes import write_scenes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "data", 10)


@pytest.fixture
def leaky(data: Path, tmp_path: Path) -> Path:
    """A pile with one new picture, a copy of every labelled one, and a file that is no picture."""
    pile = tmp_path / "pile"
    for number, file in enumerate(sorted(data.rglob("*.png"))):
        put(pile / f"{number}.png", file.read_bytes())
    put(pile / "new.png", encoded(image(99, 64, 64), "PNG"))
    put(pile / "odd.png", b"no picture")
    return pile


def test_tells_counts_and_leaks_and_writes_a_page(data, leaky, tmp_path, capsys):
    out = tmp_path / "audit"
    assert main(["audit", str(data), "--unlabeled", str(leaky), "--out", str(out), "--cache-dir", str(tmp_path / "cache")]) == 0
    shown = capsys.readouterr().out
    assert "20 labelled images in 2 classes: train 12, validation 4, test 4" in shown
    assert "unreadable       1" in shown
    assert "pile             1 of 22 kept; 8 held out elsewhere" in shown
    page = (out / "report.html").read_text()
    assert "equal to a test image" in page
    assert "odd.png" in (out / "data" / "quarantine.csv").read_text()


def test_in_json(data, tmp_path, capsys):
    assert main(["audit", str(data), "--out", str(tmp_path / "audit"), "--cache-dir", "none", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["findings"]["images"], found["quarantined"], found["freed"]) == (20, 0, None)


def test_the_same_command_again_does_nothing_again(data, tmp_path, capsys):
    words = ["audit", str(data), "--out", str(tmp_path / "audit"), "--cache-dir", "none"]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "reading images" in first.err
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "reading images" not in again.err


def test_classes_that_nothing_can_be_trained_on_are_no_reason_to_stop(data, tmp_path, capsys):
    put(data / "rare" / "one.png", encoded(image(5, 64, 64), "PNG"))
    assert main(["audit", str(data), "--out", str(tmp_path / "audit"), "--cache-dir", "none"]) == 0
    assert "21 labelled images in 3 classes" in capsys.readouterr().out


class TestCache:
    def test_what_was_decoded_is_not_decoded_again_for_another_run(self, data, tmp_path, capsys):
        cache = tmp_path / "cache"
        for name in ("first", "second"):
            assert main(["audit", str(data), "--out", str(tmp_path / name), "--cache-dir", str(cache)]) == 0
        told = capsys.readouterr().err
        assert told.count("reading images") == 1
        assert f"images prepared by an earlier run are used again, from {cache}" in told

    def test_is_cleared_without_data(self, data, tmp_path, capsys):
        cache = tmp_path / "cache"
        eyas.audit(data, tmp_path / "run", cache_dir=str(cache))
        before = (tmp_path / "run" / "data" / "labelled" / "pixels.bin").read_bytes()
        assert main(["audit", "--clear-cache", "--cache-dir", str(cache)]) == 0
        assert capsys.readouterr().out.startswith("cache   ")
        assert not [path for path in cache.iterdir() if path.name.startswith("images-")]
        assert (tmp_path / "run" / "data" / "labelled" / "pixels.bin").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "DATA must be given, or --clear-cache"),
        (("photos",), "--out must be given"),
        (("photos", "--out", "run"), "no data at photos"),
    ],
)
def test_what_is_missing_is_told(words, sentence, capsys):
    assert main(["audit", *words]) == 2
    assert sentence in capsys.readouterr().err
