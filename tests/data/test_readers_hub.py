"""Hugging Face data sets, on the disk and by their name, and whatever is behind an address."""

import io
import json
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.data.decode import Refusal, decode
from eyas.data.manifest import COLUMNS
from eyas.data.readers import read, read_labels, read_pile
from eyas.errors import UserError
from eyas.progress import listening
from tests.data.test_readers import Heard
from tests.images import encoded, image, picture, put

PNGS = [encoded(image(seed, 8, 8), "PNG") for seed in range(6)]


def refused(source, reader=read):
    with pytest.raises(UserError) as caught:
        reader(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


# Folders that save_to_disk wrote, made by hand: reading them needs no package

LABEL = {"names": ["dog", "cat"], "_type": "ClassLabel"}
MANY = {"feature": LABEL, "_type": "List"}


def schema_of(features):
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})}


def saved(folder, rows, features, files=1):
    """One split as `Dataset.save_to_disk` writes it."""
    table = pa.Table.from_pylist(rows).replace_schema_metadata(schema_of(features))
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table.slice(number * len(rows) // files, len(rows) // files))
        put(folder / name, buffer.getvalue())
    put(folder / "state.json", json.dumps({"_data_files": [{"filename": name} for name in names]}).encode())
    return folder


def rows(*labels, first=0, name="label"):
    return [{"image": {"bytes": PNGS[i], "path": None}, name: label} for i, label in enumerate(labels, first)]


def dataset_dict(folder, splits, features):
    for name, part in splits.items():
        saved(folder / name, part, features)
    put(folder / "dataset_dict.json", json.dumps({"splits": list(splits)}).encode())
    return str(folder)


def test_a_saved_data_set_in_several_files(tmp_path):
    manifest = read(str(saved(tmp_path / "pets", rows(0, 1, 1, 0), {"label": LABEL}, files=2)))
    assert manifest.column("id") == [f"pets/00000{row}" for row in range(4)]
    assert manifest.column("label") == ["dog", "cat", "cat", "dog"]
    for number, source in enumerate(manifest.column("source")):
        np.testing.assert_array_equal(decode(source), picture(number, 8, 8))


def test_saved_splits_fix_the_splits_and_hidden_labels_are_left_out(tmp_path):
    splits = {"train": rows(0, 1), "validation": rows(1, first=2), "test": rows(-1, first=3), "extra": rows(1, first=4)}
    source = dataset_dict(tmp_path, splits, {"label": LABEL})
    heard = Heard()
    with listening(heard):
        manifest = read(source)
    assert manifest.column("id") == ["train/000000", "train/000001", "validation/000000"]
    assert manifest.column("split") == ["train", "train", "validation"]
    assert heard.said == [
        f"{tmp_path} has the splits extra beside train, validation and test; they are left out",
        f"1 images of {tmp_path}, split test, have no label; they are left out",
    ]
    pile = read_pile(source)
    assert len(pile) == 5
    assert pile.table.column_names == list(COLUMNS)


def test_lists_of_classes_are_several_labels(tmp_path):
    source = str(saved(tmp_path, rows([0, 1], [1], [], name="labels"), {"labels": MANY}))
    manifest = read_labels(source)
    assert manifest.column("labels") == [["dog", "cat"], ["cat"], []]
    assert manifest.column("label") == [None, "cat", None]
    assert "multi-label: 1 of 3" in refused(source)


def test_saved_data_sets_that_cannot_be_used(tmp_path):
    assert "has no images in any column" in refused(saved(tmp_path / "a", [{"label": 1}], {"label": LABEL}))
    assert "has no labels in any column" in refused(saved(tmp_path / "b", rows(1, name="x"), {}))
    two = [{**row, "coarse": 0} for row in rows(1, name="fine")]
    assert "has labels in fine, coarse" in refused(saved(tmp_path / "c", two, {"fine": LABEL, "coarse": LABEL}))
    cut = saved(tmp_path / "d", rows(0, 1), {"label": LABEL})
    put(cut / "data-00000-of-00001.arrow", b"cut")
    assert "data-00000-of-00001.arrow cannot be read" in refused(cut)
    put(cut / "state.json", b"{")
    assert "state.json is damaged" in refused(cut)


# By name, through the package; a folder stands for the hub, and nothing needs a network


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return tmp_path / "hub"


def uploaded(folder, split, part, features):
    table = pa.Table.from_pylist(part).replace_schema_metadata(schema_of(features))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")


def test_a_data_set_by_its_name(hub):
    features = {"label": LABEL, "kind": LABEL}
    uploaded(hub, "train", [{**row, "kind": 1} for row in rows(0, 1, 0)], features)
    uploaded(hub, "test", [{**row, "kind": 1} for row in rows(1, 0, first=3)], features)
    manifest = read(f"hf:{hub}")
    assert manifest.column("id") == [f"train/00000{row}" for row in range(3)] + ["test/000000", "test/000001"]
    assert manifest.column("label") == ["dog", "cat", "dog", "cat", "dog"]
    assert manifest.column("split") == ["train"] * 3 + ["test"] * 2
    for number, source in enumerate(manifest.column("source")):
        np.testing.assert_array_equal(decode(source), picture(number, 8, 8))
    assert read_labels(f"hf:{hub}#kind").column("label") == ["cat"] * 5
    assert "has no column 'sort'" in refused(f"hf:{hub}#sort")
    assert len(read_pile(f"hf:{hub}")) == 5


def test_a_name_that_is_not_on_the_hub_or_no_package(hub, monkeypatch):
    assert "hf:nobody/nothing cannot be loaded" in refused("hf:nobody/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'eyas[hub]'" in refused(f"hf:{hub}")


# Addresses


@pytest.fixture
def bucket():
    """A folder in memory; `put` into it by name."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    yield lambda name, content: system.pipe_file(f"/bucket/{name}", content)
    system.rm("/bucket", recursive=True)


def test_folders_behind_an_address(bucket):
    for number, name in enumerate(("train/cat/1.png", "train/dog/1.png", "test/cat/x/1.png", "train/.hidden/1.png", "a.txt")):
        bucket(name, PNGS[number])
    manifest = read("memory://bucket/")
    assert manifest.column("id") == ["test/cat/x/1.png", "train/cat/1.png", "train/dog/1.png"]
    assert manifest.column("label") == ["cat", "cat", "dog"]
    assert manifest.column("split") == ["test", "train", "train"]
    assert [decode(source).shape for source in manifest.column("source")] == [(8, 8, 3)] * 3
    assert len(read_pile("memory://bucket/train")) == 2


def test_lists_behind_an_address_and_addresses_in_lists(bucket, tmp_path):
    bucket("a.png", PNGS[0])
    bucket("b/c.png", PNGS[1])
    bucket("list.csv", b"path,label\na.png,cat\nb/c.png,dog\n")
    put(tmp_path / "list.csv", b"path,label\nmemory://bucket/a.png,cat\nmemory://bucket/b/c.png,dog\n")
    table = io.BytesIO()
    pq.write_table(pa.table({"image": PNGS[:2], "label": ["cat", "dog"]}), table)
    bucket("list.parquet", table.getvalue())
    for source in ("memory://bucket/list.csv", "memory://bucket/list.parquet", str(tmp_path / "list.csv")):
        manifest = read(source)
        assert manifest.classes == ("cat", "dog")
        for number, each in enumerate(manifest.column("source")):
            np.testing.assert_array_equal(decode(each), picture(number, 8, 8))


def test_shards_behind_an_address(bucket):
    for number in range(2):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in (("x.png", PNGS[number]), ("x.cls", b"cat" if number else b"dog")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        bucket(f"{number}.tar", buffer.getvalue())
    for pattern in ("memory://bucket/{0..1}.tar", "memory://bucket/*.tar"):
        manifest = read(pattern)
        assert manifest.column("label") == ["dog", "cat"]
        np.testing.assert_array_equal(decode(manifest.column("source")[1]), picture(1, 8, 8))


def test_addresses_that_lead_nowhere(bucket, monkeypatch):
    bucket("notes.txt", b"x")
    assert "no data at memory://bucket/gone.csv" in refused("memory://bucket/gone.csv")
    assert "holds no images" in refused("memory://bucket")
    assert "cannot be opened" in refused("nosuchprotocol://x/list.csv")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "pip install 'eyas[remote]'" in refused("memory://bucket/list.csv")
    with pytest.raises(Refusal, match=r"pip install 'eyas\[remote\]'"):
        decode("memory://bucket/a.png")
