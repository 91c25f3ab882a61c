import os
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.data.decode import decode
from eyas.data.manifest import Manifest
from eyas.data.prepared import ALL, TOGETHER, pixel_hash
from eyas.data.resize import shrink
from eyas.data.store import INDEX, PART, PIXELS, build, foretold_bytes, open_built, open_store
from eyas.errors import UserError
from eyas.progress import listening
from tests.heard import Heard
from tests.images import encoded, hostile, image, manifest_of, picture, put


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def images(tmp_path):
    for seed, (height, width, channels) in enumerate([(20, 30, 3), (40, 20, 1), (8, 9, 3), (50, 50, 1)]):
        put(tmp_path / "in" / f"{seed}.png", encoded(image(seed, height, width, channels), "PNG"))
    return manifest_of(tmp_path / "in", ["2.png", "0.png", "3.png", "1.png"])


def test_images_come_back_in_the_order_of_the_manifest_short_side_reduced(tmp_path, images):
    built = build(images, tmp_path / "store", side=16)
    store = built.store
    assert built.refused == ()
    assert store.ids == ("2.png", "0.png", "3.png", "1.png")
    assert [store[i].shape for i in range(len(store))] == [(8, 9, 3), (16, 24, 3), (16, 16, 1), (32, 16, 1)]
    np.testing.assert_array_equal(store[0], picture(2, 8, 9, 3))  # smaller than asked: as it is
    assert store.position("3.png") == 2
    assert not store[0].flags.writeable


def test_opened_again_it_is_the_same(tmp_path, images):
    built = build(images, tmp_path / "store", side=16)
    again = open_store(tmp_path / "store")
    assert again.ids == built.store.ids
    assert again.hashes == built.store.hashes
    for i in range(len(again)):
        np.testing.assert_array_equal(again[i], built.store[i])


@pytest.mark.parametrize(("together", "room"), [(1, ALL), (3, ALL), (3, 500), (4, 0)])
def test_the_bytes_do_not_depend_on_the_threads(tmp_path, images, monkeypatch, together, room):
    """Nor on what a thread hands on at a time: images of 216 to 1,152 bytes."""
    one, many = tmp_path / "one", tmp_path / "many"
    build(images, one, side=16, threads=1)
    monkeypatch.setattr("eyas.data.prepared.TOGETHER", together)
    monkeypatch.setattr("eyas.data.prepared.ALL", room)
    build(images, many, side=16, threads=8)
    assert (one / PIXELS).read_bytes() == (many / PIXELS).read_bytes()
    assert (one / INDEX).read_bytes() == (many / INDEX).read_bytes()


def test_what_is_measured_of_a_picture_depends_little_on_the_size_it_is_kept_at(tmp_path):
    put(tmp_path / "in" / "a.png", encoded(image(3, 60, 80, 3).resize((400, 300), Image.Resampling.BICUBIC), "PNG"))
    manifest = manifest_of(tmp_path / "in", ["a.png"])
    (small,), (large,) = (build(manifest, tmp_path / str(side), side).store.index.to_pylist() for side in (16, 200))
    thumbnails = [np.frombuffer(row["thumbnail"], np.uint8).astype(int) for row in (small, large)]
    assert np.abs(thumbnails[0] - thumbnails[1]).max() <= 4
    assert small["brightness"] == pytest.approx(large["brightness"], abs=1)
    assert small["sharpness"] == pytest.approx(large["sharpness"], rel=0.2)
    assert small["hash"] == large["hash"]


def test_reducing_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]  # one pixel black, one white
    small = shrink(stripes, 8)
    assert np.ptp(small[:, 1:-1]) <= 2  # the outermost see less on one side, which leaves them a little off
    assert np.ptp(small) <= 10
    assert abs(int(small[4, 4, 0]) - 127) <= 2


def test_odd_files_are_listed_and_nothing_of_the_user_changes(tmp_path):
    folder = tmp_path / "in"
    expected = hostile(folder)
    before = files(folder)
    built = build(manifest_of(folder, expected), tmp_path / "store", side=16)
    assert {row.id: row.reason.split(":")[0] for row in built.refused} == {
        name: reason.split(":")[0] for name, reason in expected.items() if reason
    }
    assert built.store.ids == tuple(name for name, reason in expected.items() if not reason)
    assert open_built(tmp_path / "store").refused == built.refused
    assert files(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_listed(tmp_path):
    put(tmp_path / "a.png", encoded(image(), "PNG")).chmod(0)
    (refused,) = build(manifest_of(tmp_path, ["a.png"]), tmp_path / "store", side=16).refused
    assert refused.reason == "cannot be read: permission denied"


def test_equal_pictures_have_equal_hashes_whatever_their_files(tmp_path):
    pixels = picture(5, 20, 20)
    grey = picture(6, 20, 20, 1)
    put(tmp_path / "a.png", encoded(Image.fromarray(pixels), "PNG"))
    put(tmp_path / "b.bmp", encoded(Image.fromarray(pixels), "BMP"))
    put(tmp_path / "c.png", encoded(Image.fromarray(grey[..., 0]), "PNG"))
    put(tmp_path / "d.png", encoded(Image.fromarray(np.repeat(grey, 3, -1)), "PNG"))
    a, b, c, d = build(manifest_of(tmp_path, ["a.png", "b.bmp", "c.png", "d.png"]), tmp_path / "store", side=8).store.hashes
    assert a == b != c == d


def test_the_hash_sees_one_pixel_and_the_shape():
    pixels = picture(7, 20, 30)
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    assert len({pixel_hash(pixels), pixel_hash(other), pixel_hash(pixels.reshape(30, 20, 3))}) == 3


def test_a_pile_of_refused_files_is_an_empty_store(tmp_path):
    put(tmp_path / "a.png", b"")
    built = build(manifest_of(tmp_path, ["a.png"]), tmp_path / "store", side=8)
    assert len(built.store) == 0
    assert len(built.refused) == 1
    assert len(build(manifest_of(tmp_path, []), tmp_path / "store", side=8).store) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence_and_leaves_no_half_store(tmp_path, images):
    store = tmp_path / "store"
    build(images, store, side=16)
    (store / PART).symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"):
        build(images, store, side=16)
    assert not os.path.lexists(store / PART)
    with pytest.raises(UserError, match="holds no prepared images"):
        open_store(store)


def test_a_store_that_lost_bytes_is_named(tmp_path, images):
    build(images, tmp_path, side=16)
    os.truncate(tmp_path / PIXELS, 10)
    with pytest.raises(UserError, match="has 10 bytes where"):
        open_store(tmp_path)


def test_it_tells_how_far_it_is_and_stops_its_threads_when_stopped(tmp_path, images, monkeypatch):
    monkeypatch.setattr("eyas.data.prepared.TOGETHER", 1)
    before, told = set(threading.enumerate()), []

    class Impatient:
        def begin(self, label, total):
            told.append((label, total))

        def advance(self, _label, done, _note):
            told.append(done)
            if done == 2:
                raise KeyboardInterrupt

        def end(self, _label):
            told.append("end")

        def say(self, text): ...

    with listening(Impatient()), pytest.raises(KeyboardInterrupt):
        build(images, tmp_path / "store", side=16)
    assert told == [("reading images", 4), 1, 2, "end"]
    assert set(threading.enumerate()) <= before
    assert list((tmp_path / "store").iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    """Few results a thread wait for the writer, however slow it is."""
    put(tmp_path / "a.png", encoded(image(), "PNG"))
    rows = 20 * TOGETHER
    manifest = Manifest.of({"id": [str(i) for i in range(rows)], "source": [str(tmp_path / "a.png")] * rows})
    decoded = []
    monkeypatch.setattr("eyas.data.prepared.decode", lambda source: decoded.append(1) or decode(source))
    ahead = []

    class Watching:
        def begin(self, label, total): ...

        def advance(self, _label, done, _note):
            ahead.append(len(decoded) - done)

        def end(self, label): ...

        def say(self, text): ...

    with listening(Watching()):
        build(manifest, tmp_path / "store", side=8, threads=2)
    assert len(ahead) == rows
    assert max(ahead) <= (2 + 3) * TOGETHER  # one in work a thread, two that wait, and one at the writer


def test_of_large_images_few_wait(tmp_path, monkeypatch):
    put(tmp_path / "a.png", encoded(image(), "PNG"))
    rows = 20 * TOGETHER
    manifest = Manifest.of({"id": [str(i) for i in range(rows)], "source": [str(tmp_path / "a.png")] * rows})
    decoded, ahead = [], []
    monkeypatch.setattr("eyas.data.prepared.ALL", 100)
    monkeypatch.setattr("eyas.data.prepared.decode", lambda source: decoded.append(1) or decode(source))

    class Watching(Heard):
        def advance(self, _label, done, _note):
            ahead.append(len(decoded) - done)

    with listening(Watching()):
        build(manifest, tmp_path / "store", side=8, threads=2)
    # Each group has one ahead of its turn: of the groups behind this one, one in work a thread, and two that wait.
    assert len(decoded) == len(ahead) == rows
    assert max(ahead) <= 2 + 3


def test_memory_that_is_not_there_refuses_the_image(tmp_path, images, monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr("eyas.data.prepared.shrink", short)
    built = build(images, tmp_path / "store", side=16)
    assert {row.reason for row in built.refused} == {"needs more memory than there is"} and len(built.refused) == 4


def test_above_its_limit_it_holds_jpeg_files_that_look_the_same(tmp_path):
    for seed, (height, width, channels) in enumerate([(60, 80, 3), (80, 60, 1), (30, 30, 3)]):
        put(tmp_path / "in" / f"{seed}.png", encoded(image(seed, height, width, channels), "PNG"))
    put(tmp_path / "in" / "3.png", b"")
    images = manifest_of(tmp_path / "in", ["0.png", "3.png", "1.png", "2.png"])
    raw = build(images, tmp_path / "raw", side=40)
    small = build(images, tmp_path / "jpeg", side=40, raw_bytes=1000)
    assert (raw.store.jpeg, small.store.jpeg) == (False, True)
    assert (small.store.hashes, small.refused) == (raw.store.hashes, raw.refused)
    assert (tmp_path / "jpeg" / PIXELS).stat().st_size < (tmp_path / "raw" / PIXELS).stat().st_size / 1.5
    assert (tmp_path / "jpeg" / PIXELS).read_bytes()[:2] == b"\xff\xd8"
    for i in range(3):
        assert small.store[i].shape == raw.store[i].shape
        assert not small.store[i].flags.writeable
        assert np.abs(small.store[i].astype(int) - raw.store[i]).mean() < 4  # the texture is +-8 of noise in every pixel
    again = open_store(tmp_path / "jpeg")
    np.testing.assert_array_equal(again[2], small.store[2])


def test_the_size_is_foretold_from_headers(tmp_path, images):
    assert foretold_bytes(images, side=16) == len(build(images, tmp_path / "store", side=16).store.pixels)
    assert foretold_bytes(manifest_of(tmp_path, []), side=16) == 0


def test_a_jpeg_in_it_that_was_damaged_is_named(tmp_path, images):
    build(images, tmp_path, side=16, raw_bytes=1)
    content = bytearray((tmp_path / PIXELS).read_bytes())
    content[:200] = bytes(200)
    (tmp_path / PIXELS).write_bytes(content)
    with pytest.raises(UserError, match=r"the prepared image 2\.png is damaged"):
        open_store(tmp_path)[0]


def test_a_store_of_an_earlier_version_is_named(tmp_path, images):
    build(images, tmp_path, side=16)
    pq.write_table(pq.read_table(tmp_path / INDEX).replace_schema_metadata({"refused": "[]"}), tmp_path / INDEX)
    with pytest.raises(UserError, match="of an earlier version"):
        open_store(tmp_path)


def test_reducing_agrees_with_pillow_within_one_level():
    for channels in (1, 3):
        pixels = picture(3, 150, 200, channels)
        layers = [Image.fromarray(pixels[..., c]).resize((80, 60), Image.Resampling.BICUBIC) for c in range(channels)]
        expected = np.stack([np.asarray(layer) for layer in layers], -1).astype(int)
        assert np.abs(shrink(pixels, 60) - expected).max() <= 1


def test_an_index_of_many_rows_is_one_table(tmp_path, images, monkeypatch):
    build(images, tmp_path / "one", side=16)
    monkeypatch.setattr("eyas.data.store.ROWS", 2)
    built = build(images, tmp_path / "many", side=16)
    assert built.store.index.equals(open_store(tmp_path / "one").index)
