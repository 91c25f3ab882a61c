"""Whatever lies in a folder of images: read, or refused with its reason; never a crash, a hang, or another image instead."""

import io
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.data import sources
from eyas.data.decode import Refusal, decode, size
from eyas.data.resize import shrink
from eyas.data.store import build
from tests.corpus import TURNS, corpus
from tests.images import encoded, image, manifest_of, picture, put

MUTATED = 2000


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str | None]]:
    """The folder of the corpus, and what is to become of each file."""
    folder = tmp_path_factory.mktemp("odd")
    return folder, corpus(folder)


def test_every_file_of_the_corpus_is_read_or_refused_with_its_reason(odd, tmp_path):
    folder, expected = odd
    assert len(expected) >= 40
    before = files(folder)
    built = build(manifest_of(folder, expected), tmp_path / "store", side=16)
    refused = {row.id: row.reason for row in built.refused}
    assert refused.keys() == {name for name, reason in expected.items() if reason}
    assert {name: reason for name, reason in refused.items() if not reason.startswith(str(expected[name]))} == {}
    assert built.store.ids == tuple(name for name, reason in expected.items() if reason is None)
    assert files(folder) == before


def test_each_has_the_size_that_its_header_tells(odd):
    folder, expected = odd
    for name in (name for name, reason in expected.items() if reason is None):
        assert size(str(folder / name)) == decode(str(folder / name)).shape, name


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    """As root, whom nothing is forbidden, by the system's own answer; `test_store` has the file itself for everyone else."""

    def forbidden(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    source = str(put(tmp_path / "a.png", encoded(image(), "PNG")))
    monkeypatch.setattr(sources, "open", forbidden, raising=False)
    with pytest.raises(Refusal, match="cannot be read: permission denied"):
        decode(source)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_one_is_upright(odd, turn):
    assert decode(str(odd[0] / f"exif-{turn}.jpg")).shape == ((32, 24, 3) if turn > 4 else (24, 32, 3))


def test_of_two_pictures_in_a_file_the_first_is_taken(odd):
    first = decode(str(odd[0] / "two-pictures.jpg"))
    assert np.abs(first.astype(int) - picture(65)).mean() < 8


def test_a_picture_of_arithmetic_coding_is_read_or_refused(tmp_path):
    """No program at hand writes one, so the header claims it: what follows is noise to the decoder."""
    content = encoded(image(), "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    source = str(put(tmp_path / "arithmetic.jpg", content))
    try:
        assert decode(source).shape == (24, 32, 3)
    except Refusal as refusal:
        assert str(refusal)


def wholes() -> list[bytes]:
    small = image(1, 40, 50)
    return [
        *(encoded(small, "JPEG", **options) for options in ({}, {"progressive": True}, {"restart_marker_blocks": 1})),
        encoded(small.convert("CMYK"), "JPEG"),
        encoded(image(2, 40, 50, 1), "JPEG"),
        *(encoded(small, format) for format in ("PNG", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "QOI")),
        encoded(small.convert("P"), "GIF"),
        encoded(small, "TIFF", compression="tiff_lzw"),
        encoded(image(3, 40, 50, 4), "PNG"),
    ]


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, taken out, doubled, or cut off."""
    content = bytearray(whole)
    for _ in range(rng.integers(1, 9)):
        start = int(rng.integers(len(content)))
        stop = min(len(content), start + int(rng.integers(1, 30)))
        match rng.integers(8):
            case 0:
                del content[start:stop]
            case 1:
                content[start:start] = content[start:stop]
            case 2 if start > 100:
                del content[start:]
            case 3:
                content[start:stop] = rng.bytes(stop - start)
            case _:
                content[start] = int(rng.integers(256))
    return bytes(content)


def test_mutated_files_are_themselves_or_refused(tmp_path):
    originals, rng = wholes(), np.random.default_rng(0)
    folder = tmp_path / "in"
    names = [f"{number:04}.jpg" for number in range(MUTATED)]
    for number, name in enumerate(names):
        put(folder / name, mutated(originals[number % len(originals)], rng))
    before = files(folder)
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        built = build(manifest_of(folder, names), tmp_path / "store", side=16)
    assert time.monotonic() - begun < 60
    assert not caught
    refused = {row.id for row in built.refused}
    assert sorted(refused | set(built.store.ids)) == names
    assert not refused & set(built.store.ids)
    assert 200 < len(refused) < 1800
    assert all(row.reason.strip() for row in built.refused)
    for name in built.store.ids[::5]:
        np.testing.assert_array_equal(built.store[built.store.position(name)], shrink(decode(str(folder / name)), 16))
    assert files(folder) == before


def test_what_the_fast_way_reads_of_damaged_jpegs_is_what_pillow_reads(tmp_path):
    """Equal within one level; and what it will not read is left to Pillow, not refused."""
    originals, rng = wholes()[:3], np.random.default_rng(1)
    compared = 0
    for number in range(300):
        content = mutated(originals[number % 3], rng)
        source = str(put(tmp_path / "x.jpg", content))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        except Exception:
            with pytest.raises(Refusal):
                decode(source)
            continue
        if expected.size < 1e7:
            assert np.abs(decode(source) - expected).max() <= 1
            compared += 1
    assert compared > 20
