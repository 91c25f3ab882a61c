import gzip
import os
import struct
from collections import Counter

import numpy as np
import pytest

from eyas.data import builtin
from eyas.data.decode import Refusal, decode
from eyas.data.manifest import COLUMNS
from eyas.data.readers import read, read_pile
from eyas.errors import UserError
from eyas.progress import listening
from tests.heard import Heard
from tests.images import class_folders, encoded, image, put

PNG = encoded(image(0, 8, 8), "PNG")


def refused(source, reader=read):
    with pytest.raises(UserError) as caught:
        reader(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


# Folders


def test_class_folders(tmp_path):
    for name in ("katze/a.png", "katze/b.JPG", "katze/young/a.png", "собака/a.tif", "собака/notes.txt", "katze/.hidden.png"):
        put(tmp_path / name, PNG)
    manifest = read(str(tmp_path))
    assert manifest.column("id") == ["katze/a.png", "katze/b.JPG", "katze/young/a.png", "собака/a.tif"]
    assert manifest.column("label") == ["katze", "katze", "katze", "собака"]
    assert set(manifest.column("split")) == {None}
    assert [decode(source).shape for source in manifest.column("source")] == [(8, 8, 3)] * 4


def test_split_folders_fix_the_splits(tmp_path):
    for name in ("train/cat/1.png", "Valid/cat/1.png", "test/dog/1.png", "train/dog/1.png"):
        put(tmp_path / name, PNG)
    manifest = read(str(tmp_path))
    assert dict(zip(manifest.column("id"), manifest.column("split"), strict=True)) == {
        "Valid/cat/1.png": "validation",
        "test/dog/1.png": "test",
        "train/cat/1.png": "train",
        "train/dog/1.png": "train",
    }
    assert manifest.classes == ("cat", "dog")


def test_a_class_may_be_called_like_a_split(tmp_path):
    manifest = read(str(class_folders(tmp_path, {"test": 2, "rest": 2})))
    assert manifest.classes == ("rest", "test")
    assert set(manifest.column("split")) == {None}


def test_splits_beside_other_folders_are_ambiguous(tmp_path):
    message = refused(class_folders(tmp_path, {"train/cat": 1, "test/cat": 1, "extra/cat": 1}))
    assert "split folders test, train and also extra" in message


def test_images_without_a_class_are_left_out_and_told(tmp_path):
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    put(tmp_path / "preview.png", PNG)
    heard = Heard()
    with listening(heard):
        assert len(read(str(tmp_path))) == 2
    assert heard.said == [f"1 images in {tmp_path} are beside the class folders and have no class; they are left out"]


def test_links_are_followed_but_never_in_circles(tmp_path):
    class_folders(tmp_path / "kept", {"cat": 2})
    class_folders(tmp_path / "data", {"dog": 1})
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "kept" / "cat")
    (tmp_path / "data" / "dog" / "again").symlink_to(tmp_path / "data")
    assert Counter(read(str(tmp_path / "data")).column("label")) == {"cat": 2, "dog": 1}


def test_a_pile_is_every_image_at_any_depth_without_its_label(tmp_path):
    for name in ("1.png", "secret/2.png", "secret/more/3.jpg", "train/secret/4.png", "notes.txt", "secret/data.bin"):
        put(tmp_path / name, PNG)
    pile = read_pile(str(tmp_path))
    assert pile.column("id") == ["1.png", "secret/2.png", "secret/more/3.jpg", "train/secret/4.png"]
    assert pile.column("label") == pile.column("split") == [None] * 4


def test_a_name_that_is_not_utf8_is_refused_by_its_name_and_stops_nothing(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123 - pathlib has no such names
        file.write(PNG)
    pile = read_pile(str(tmp_path))
    assert pile.column("id") == ["caf\\xe9.png"]
    with pytest.raises(Refusal, match="not UTF-8"):
        decode(pile.column("source")[0])


def test_sources_hold_from_any_directory(tmp_path, monkeypatch):
    class_folders(tmp_path / "photos", {"cat": 1, "dog": 1})
    monkeypatch.chdir(tmp_path)
    manifest = read("photos")
    monkeypatch.chdir("/")
    assert decode(manifest.column("source")[0]).shape == (12, 12, 3)


def test_nothing_useful_is_one_sentence(tmp_path):
    class_folders(tmp_path / "photos", {"cat": 2})
    (tmp_path / "empty").mkdir()
    put(tmp_path / "flat" / "1.png", PNG)
    put(tmp_path / "data.zip", b"PK")
    assert "did you mean photos?" in refused(tmp_path / "photo")
    assert "did you mean elpv?" in refused("elvp")
    assert "holds no images" in refused(tmp_path / "empty")
    assert "holds no images" in refused(tmp_path / "empty", read_pile)
    assert "1 images but no class folders" in refused(tmp_path / "flat")
    assert "one class only, 'cat'" in refused(tmp_path / "photos")
    assert "a file of another kind" in refused(tmp_path / "data.zip")


# CSV


def table(folder, text):
    for name in ("a.png", "b.png", "deep/c.png"):
        put(folder / name, PNG)
    return put(folder / "list.csv", text.encode())


def test_csv_with_everything(tmp_path):
    lines = (
        "\ufeffpath, label ,split,group,age,id",
        "a.png,cat,Train,g1,3,x",
        '"b.png","dog, big",val,,4,y',
        "",
        "./deep/c.png,cat,,g1,,z",
    )
    manifest = read(str(table(tmp_path, "\n".join(lines))))
    assert manifest.column("id") == ["a.png", "b.png", "deep/c.png"]
    assert manifest.column("label") == ["cat", "dog, big", "cat"]
    assert manifest.column("split") == ["train", "validation", None]
    assert manifest.column("group") == ["g1", None, "g1"]
    assert manifest.column("age") == ["3", "4", ""]
    assert manifest.column("csv.id") == ["x", "y", "z"]
    assert decode(manifest.column("source")[2]).shape == (8, 8, 3)


def test_csv_columns_may_have_any_name(tmp_path):
    manifest = read(str(table(tmp_path, "path,label,flips,cls,source\na.png,cat,1,2,3\nb.png,dog,1,2,3\n")))
    assert manifest.extra == ("flips", "cls", "csv.source")
    assert manifest.flips == "horizontal"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("file,label\na.png,cat\n", "line 1", "no column 'path' among file, label"),
        ("path;label\na.png;cat\n", "line 1", "no column 'path' among path;label"),
        ("path,label,label\na.png,cat,cat\n", "line 1", "a column is named twice"),
        ("path,label\na.png,cat\nb.png,\n", "line 3", "the label of 'b.png' is empty"),
        ("path,label\na.png,cat\n\nc.png,cat\n", "line 4", "no file 'c.png'"),
        ("path,label\n,cat\n", "line 2", "no file ''"),
        ("path,label,split\na.png,cat,dev\n", "line 2", "no split is called 'dev'"),
        ("path,label\na.png,cat\nb.png,dog\n./a.png,cat\n", "line 4", "'./a.png' is on line 2 already"),
        ("path,label\na.png,cat,dog\n", "line 2", "3 values where line 1 names 2 columns"),
        ("path,label\n", "list.csv", "lists no images"),
        ("", "line 1", "no column 'path' among nothing"),
        ('path,label\n"a.png,cat\n', "line 2", "cannot be read as CSV"),
    ],
)
def test_csv_mistakes_name_the_file_and_the_line(tmp_path, text, place, words):
    message = refused(table(tmp_path, text))
    assert str(tmp_path / "list.csv") in message
    assert place in message
    assert words in message


def test_csv_in_another_encoding_is_named(tmp_path):
    put(tmp_path / "list.csv", "path,label\na.png,Käfer\n".encode("latin-1"))
    assert "is not UTF-8 text" in refused(tmp_path / "list.csv")


def test_csv_as_a_pile_needs_no_labels_and_keeps_none(tmp_path):
    pile = read_pile(str(table(tmp_path, "path,label,group,hint\na.png,secret,g,secret\nb.png,,,secret\n")))
    assert pile.table.column_names == list(COLUMNS)
    assert pile.column("group") == ["g", None]
    assert "secret" not in {cell for name in COLUMNS for cell in pile.column(name)}
    assert len(read_pile(str(table(tmp_path, "path\na.png\n")))) == 1


# ELPV

ELPV = {
    ("mono", 0.0): 588,
    ("poly", 0.0): 920,
    ("mono", 1 / 3): 117,
    ("poly", 1 / 3): 178,
    ("mono", 2 / 3): 56,
    ("poly", 2 / 3): 50,
    ("mono", 1.0): 313,
    ("poly", 1.0): 402,
}  # Buerhop-Lutz et al. 2018, and the package
FIRST_TEST_CELLS = [f"images/cell{number:04d}.png" for number in (8, 14, 22, 25)]


@pytest.fixture(scope="module")
def elpv():
    pytest.importorskip("elpv_dataset")
    return read("elpv")


def test_elpv_is_the_published_set(elpv):
    rows = list(zip(elpv.column("type"), elpv.column("probability"), strict=True))
    assert Counter(rows) == ELPV
    assert elpv.flips == "both"
    assert decode(elpv.column("source")[0]).shape == (300, 300, 1)


def test_elpv_is_defective_from_a_half(elpv):
    assert elpv.column("label") == ["defective" if chance >= 0.5 else "functional" for chance in elpv.column("probability")]
    assert Counter(elpv.column("label")) == {"functional": 1803, "defective": 821}


def test_elpv_splits_every_type_and_probability_three_to_one(elpv):
    assert Counter(elpv.column("split")) == {"train": 1968, "test": 656}
    test = elpv.where(split="test")
    found = Counter(zip(test.column("type"), test.column("probability"), strict=True))
    for stratum, size in ELPV.items():
        assert abs(found[stratum] - size / 4) < 1, stratum


def test_elpv_never_moves_a_cell(elpv):
    test = elpv.where(split="test").column("id")
    assert test == read("elpv").where(split="test").column("id")
    assert test[:4] == FIRST_TEST_CELLS  # runs of different versions must be comparable


def test_elpv_as_a_pile_has_no_labels_at_all(elpv):
    pile = read_pile("elpv")
    assert pile.table.column_names == list(COLUMNS)
    values = {cell for name in COLUMNS for cell in pile.column(name)}
    assert not values & {*elpv.column("label"), *elpv.column("probability"), "mono", "poly"}
    assert pile.flips == "both"


def test_elpv_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'eyas[demo]'" in refused("elpv")


# Fashion-MNIST


def idx_file(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (20, 28, 28), np.uint8), "t10k": rng.integers(0, 256, (10, 28, 28), np.uint8)}
    for prefix, array in images.items():
        put(tmp_path / f"{prefix}-images-idx3-ubyte.gz", idx_file(array))
        put(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", idx_file((np.arange(len(array)) % 10).astype(np.uint8)))
    monkeypatch.setenv("EYAS_FASHION_MNIST", str(tmp_path))
    return images


def test_fashion_mnist_reads_its_four_files(fashion):
    manifest = read("fashion-mnist")
    assert Counter(manifest.column("split")) == {"train": 20, "test": 10}
    assert manifest.column("label")[:10] == list(builtin.FASHION_CLASSES)
    assert manifest.column("id")[20] == "test/00000"
    np.testing.assert_array_equal(decode(manifest.column("source")[3])[..., 0], fashion["train"][3])
    np.testing.assert_array_equal(decode(manifest.column("source")[29])[..., 0], fashion["t10k"][9])


@pytest.mark.skipif(not builtin.FASHION_MNIST.exists(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_has_it(monkeypatch):
    monkeypatch.delenv("EYAS_FASHION_MNIST", raising=False)
    manifest = read("fashion-mnist")
    counts = Counter(zip(manifest.column("split"), manifest.column("label"), strict=True))
    assert counts == {(split, name): n for split, n in (("train", 6000), ("test", 1000)) for name in builtin.FASHION_CLASSES}


@pytest.mark.usefixtures("fashion")
def test_fashion_mnist_that_is_not_there_or_damaged(tmp_path, monkeypatch):
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    for content in (
        b"",
        path.read_bytes()[:-12],
        gzip.compress(b"\0\0\x08"),
        gzip.compress(b"\0\0\x08\x01\0\0\0\x09" + bytes(5)),
    ):
        folder = tmp_path / f"bad{len(content)}"
        for file in tmp_path.glob("*.gz"):
            put(folder / file.name, file.read_bytes())
        put(folder / path.name, content)
        monkeypatch.setenv("EYAS_FASHION_MNIST", str(folder))
        assert "copy the files of Fashion-MNIST again" in refused("fashion-mnist")
    monkeypatch.setenv("EYAS_FASHION_MNIST", str(tmp_path / "nowhere"))
    assert "install the Debian package" in refused("fashion-mnist")


@pytest.mark.usefixtures("fashion")
def test_an_idx_source_that_is_wrong_is_refused(tmp_path):
    images = tmp_path / "train-images-idx3-ubyte.gz"
    for source in (f"idx:{images}#20", f"idx:{images}x#0", f"idx:{put(tmp_path / 'no.gz', PNG)}#0"):
        with pytest.raises(Refusal):
            decode(source)
