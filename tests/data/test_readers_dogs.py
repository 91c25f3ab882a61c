"""Stanford Dogs as published: breeds in folders of `Images/`, and MATLAB lists that split them."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from eyas.data.decode import decode
from eyas.data.readers import read, read_pile
from eyas.errors import UserError
from eyas.progress import listening
from tests.heard import Heard
from tests.images import encoded, image, put

BREEDS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel")
TRAIN = [f"{breed}/{breed[:9]}_{number}.jpg" for breed in BREEDS for number in (10074, 11140)]
TEST = [f"{breed}/{breed[:9]}_5927.jpg" for breed in BREEDS]


def write_list(path: Path, names: list[str]) -> None:
    """A list as published: columns of paths, of their annotations, and of the breeds' numbers from 1 on."""
    files, annotations = (np.array([[name] for name in of], dtype=object) for of in (names, [n[:-4] for n in names]))
    labels = np.array([[1 + BREEDS.index(name.partition("/")[0])] for name in names], np.uint8)
    path.parent.mkdir(exist_ok=True)
    savemat(path, {"file_list": files, "annotation_list": annotations, "labels": labels}, do_compression=True)


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    """The three archives, unpacked beside each other."""
    for seed, name in enumerate([*TRAIN, *TEST]):
        put(tmp_path / "Images" / name, encoded(image(seed, 8, 8), "JPEG"))
        put(tmp_path / "Annotation" / name[:-4], b"<annotation></annotation>")
    for name, files in {"train": TRAIN, "test": TEST, "file": [*TRAIN, *TEST]}.items():
        write_list(tmp_path / f"{name}_list.mat", files)
    return tmp_path


def refused(source: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(str(source))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("inside", ["", "lists"])
def test_breeds_are_classes_and_the_split_is_the_published_one(dogs, inside):
    for file in list(dogs.glob("*.mat")):
        (dogs / inside).mkdir(exist_ok=True)
        file.rename(dogs / inside / file.name)
    manifest = read(str(dogs))
    assert manifest.classes == BREEDS
    assert dict(zip(manifest.column("id"), manifest.column("split"), strict=True)) == {
        **dict.fromkeys(TRAIN, "train"),
        **dict.fromkeys(TEST, "test"),
    }
    assert all(id.startswith(label) for id, label in zip(manifest.column("id"), manifest.column("label"), strict=True))
    assert decode(manifest.column("source")[0]).shape == (8, 8, 3)


def test_as_a_pile_it_is_every_image(dogs):
    assert len(read_pile(str(dogs))) == 6


def test_images_that_no_list_names_are_left_out_and_told(dogs):
    put(dogs / "Images" / BREEDS[0] / "mine.jpg", encoded(image(9, 8, 8), "JPEG"))
    heard = Heard()
    with listening(heard):
        assert len(read(str(dogs))) == 6
    assert heard.said == [f"1 images in {dogs}/Images are in neither train_list.mat nor test_list.mat; they are left out"]


def test_images_alone_are_class_folders_without_a_split(dogs):
    assert set(read(str(dogs / "Images")).column("split")) == {None}


def test_mistakes(dogs):
    write_list(dogs / "test_list.mat", [*TEST, TRAIN[0]])
    assert f"test_list.mat names '{TRAIN[0]}', which is in train_list.mat and test_list.mat" in refused(dogs)
    write_list(dogs / "test_list.mat", [*TEST, f"{BREEDS[0]}/lost.jpg"])
    assert f"names '{BREEDS[0]}/lost.jpg', which is not in {dogs}/Images" in refused(dogs)
    savemat(dogs / "test_list.mat", {"labels": np.ones(3)})
    assert "test_list.mat holds no list of files in 'file_list'" in refused(dogs)
    savemat(dogs / "test_list.mat", {"file_list": np.ones(3)})
    assert "test_list.mat holds no list of files in 'file_list'" in refused(dogs)
    (dogs / "test_list.mat").unlink()
    assert f"{dogs} has Images/ and a list of Stanford Dogs, and no test_list.mat" in refused(dogs)


@pytest.mark.parametrize("content", [b"", b"no list at all" * 20, b"MATLAB 7.3 MAT-file" + bytes(105) + b"\x00\x02IM"])
def test_a_file_that_is_none(dogs, content):
    (dogs / "train_list.mat").write_bytes(content)
    assert "train_list.mat cannot be read as a MATLAB 5 file: " in refused(dogs)


def test_a_file_that_was_cut_off(dogs):
    whole = (dogs / "train_list.mat").read_bytes()
    (dogs / "train_list.mat").write_bytes(whole[: len(whole) // 2])
    assert "train_list.mat cannot be read as a MATLAB 5 file: " in refused(dogs)


def test_what_reads_the_lists_is_named_where_it_is_missing(dogs, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "pip install 'eyas[matlab]'" in refused(dogs)
    shutil.rmtree(dogs / "Annotation")
    assert read(str(dogs / "Images")).classes == BREEDS  # no list is needed there
