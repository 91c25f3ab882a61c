"""WebDataset shards: what is found in them, and what is wrong with them, without reading any image."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from eyas.data.decode import decode
from eyas.data.manifest import COLUMNS
from eyas.data.readers import read, read_labels, read_pile
from eyas.data.readers.shards import expand
from eyas.errors import UserError
from tests.images import encoded, image, picture, put

PNGS = [encoded(image(seed, 8, 8), "PNG") for seed in range(4)]


def shard(path, members):
    """A tar file with these members, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return str(put(path, buffer.getvalue()))


def labelled(first, *labels):
    members = {}
    for number, label in enumerate(labels, first):
        members |= {f"{number:04d}.png": PNGS[number % 4], f"{number:04d}.cls": label.encode()}
    return members


def refused(source, reader=read):
    with pytest.raises(UserError) as caught:
        reader(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}.tar", ["8.tar", "9.tar", "10.tar", "11.tar"]),
        ("s/{098..100}.tar", ["s/098.tar", "s/099.tar", "s/100.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
    ],
)
def test_braces(pattern, texts):
    assert expand(pattern) == texts


def test_shards_are_read_where_their_images_lie(tmp_path):
    shard(tmp_path / "000.tar", labelled(0, "cat", "dog"))
    shard(tmp_path / "001.tar", labelled(2, "dog\n", "кот"))
    for pattern in ("{000..001}.tar", "*.tar", "00?.tar", "{000,001}.tar"):
        manifest = read(str(tmp_path / pattern))
        assert manifest.column("id") == ["000/0000.png", "000/0001.png", "001/0002.png", "001/0003.png"]
        assert manifest.column("label") == ["cat", "dog", "dog", "кот"]
        for number, source in enumerate(manifest.column("source")):
            np.testing.assert_array_equal(decode(source), picture(number, 8, 8))
    assert len(read(str(tmp_path / "000.tar"))) == 2
    pile = read_pile(str(tmp_path / "*.tar"))
    assert pile.column("id") == manifest.column("id")
    assert pile.table.column_names == list(COLUMNS)


def test_names_of_splits_fix_the_splits(tmp_path):
    shard(tmp_path / "train-0.tar", labelled(0, "cat", "dog"))
    shard(tmp_path / "val-0.tar", labelled(2, "dog"))
    assert read(str(tmp_path / "*.tar")).column("split") == ["train", "train", "validation"]
    assert read(str(tmp_path / "train-0.tar")).column("split") == ["train", "train"]
    shard(tmp_path / "more.tar", labelled(5, "cat"))
    assert "more.tar is not" in refused(tmp_path / "*.tar")


def test_equal_names_in_two_folders_are_two_images(tmp_path):
    for part in ("a", "b"):
        shard(tmp_path / "set [1]" / part / "0.tar", labelled(0, "cat", "dog"))
    for pattern in ("{a,b}", "*"):
        assert len({*read(str(tmp_path / "set [1]" / pattern / "0.tar")).column("id")}) == 4


def test_json_members_become_columns(tmp_path):
    members = {
        "x/1.jpg": PNGS[1],
        "x/1.seg.png": PNGS[2],
        "x/1.json": json.dumps({"label": "cat", "weight": 2, "age": 3, "split": "val", "group": "g"}).encode(),
        "x/2.json": b'{"labels": ["cat", "dog"]}',
        "x/2.jpg": PNGS[2],
        "x/3.txt": b"dog",
        "x/3.jpg": PNGS[3],
        "README.md": b"about",
    }
    manifest = read_labels(shard(tmp_path / "s.tar", members))
    assert manifest.column("id") == ["s/x/1.jpg", "s/x/2.jpg", "s/x/3.jpg"]
    assert (manifest.column("age"), manifest.column("weight")) == ([3, None, None], [2.0, None, None])
    assert (manifest.column("split")[0], manifest.column("group")[0]) == ("validation", "g")
    assert manifest.column("label") == ["cat", None, "dog"]
    assert manifest.column("labels") == [["cat"], ["cat", "dog"], ["dog"]]
    np.testing.assert_array_equal(decode(manifest.column("source")[0]), picture(1, 8, 8))
    assert "multi-label: 1 of 3 images have several labels, s/x/2.jpg" in refused(tmp_path / "s.tar")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"1.png": PNGS[0]}, "1 of s.tar: the label of '1.png' is empty"),
        ({"1.png": PNGS[0], "1.jpg": PNGS[0], "1.cls": b"cat"}, "1 has the images png, jpg"),
        ({"1.png": PNGS[0], "1.json": b"{"}, "1.json is no JSON"),
        ({"1.png": PNGS[0], "1.cls": b"\xff"}, "1.cls is not UTF-8"),
        ({"1.cls": b"cat"}, "lists no images"),
    ],
)
def test_mistakes_in_shards(tmp_path, members, words):
    assert words in refused(shard(tmp_path / "s.tar", members))


def test_shards_that_are_not_there_cut_or_compressed(tmp_path):
    whole = shard(tmp_path / "0.tar", labelled(0, "cat", "dog"))
    assert "no shard at" in refused(tmp_path / "{0..1}.tar")
    assert "no shard is called" in refused(tmp_path / "x*.tar")
    content = Path(whole).read_bytes()
    for broken in (gzip.compress(content), content[:600], b""):
        put(tmp_path / "broken.tar", broken)
        assert "broken.tar is damaged, or no tar file, or a compressed one" in refused(tmp_path / "broken.tar")


def test_a_folder_of_shards_is_told_what_to_give(tmp_path):
    shard(tmp_path / "0.tar", labelled(0, "cat"))
    assert f"'{tmp_path}/*.tar'" in refused(tmp_path)
