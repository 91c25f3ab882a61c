"""Noisy data first, then the task's own: what is kept of a network, and what is kept out of the noisy data."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import eyas
from eyas.data.manifest import Manifest
from eyas.data.store import open_store
from eyas.nn.weights import load_network
from eyas.recipe import Augment, Training
from eyas.run import read_json
from eyas.studies import learning
from eyas.studies.learning import start
from eyas.studies.log import read_log
from eyas.studies.pictures import known_pictures
from eyas.studies.pretrain import _after, for_clean, for_noisy
from eyas.tasks.small_loss import SmallLoss
from tests.scenes import write_scenes

ARCH = "mobilenet_v1x0.25@32/8"
LESSON = Training(min_steps=4, epochs=0.1, batch=8, rate=0.01, small_loss=0.4, layer_decay=0.8, augment=Augment(operations=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_scenes(folder / "clean", 12)


@pytest.fixture(scope="module")
def noisy(folder: Path, data: Path) -> Path:
    """Other pictures in classes of other names, and all of the task's own."""
    place = write_scenes(folder / "noisy", 20, seed=1)
    for name in ("bar", "dot"):
        shutil.copytree(data / name, place / name, dirs_exist_ok=True)
        (place / name).rename(place / f"web {name}")
    return place


@pytest.fixture(scope="module")
def run(folder: Path, data: Path, noisy: Path) -> Path:
    eyas.train(data, folder / "run", arch=ARCH, weights="none", training=LESSON, pretrain=noisy, label_noise=0.4)
    return folder / "run"


def test_is_a_stage_of_its_own(run, data, noisy, folder, monkeypatch):
    assert read_json(run / "pretraining" / "model" / "stage.json")["result"]["steps"] == 4
    asked = read_json(run / "recipe.json")
    assert (asked["pretrain"], asked["label_noise"]) == (str(noisy), 0.4)
    monkeypatch.setattr(learning, "train", None)  # what is done is not done again
    eyas.train(data, folder / "run", arch=ARCH, weights="none", training=LESSON, pretrain=noisy, label_noise=0.4)


def test_no_picture_of_the_task_is_pretrained_on(run):
    kept = Manifest.load(run / "pretraining" / "apart" / "manifest.parquet")
    assert 30 <= len(kept) <= 40  # a near copy of a picture that is tested goes too
    assert all("1-" in id for id in kept.column("id"))


def test_what_was_pretrained_on_counts_as_seen_whatever_its_split_was(run):
    whole = Manifest.load(run / "pretraining" / "data" / "manifest.parquet")
    kept = Manifest.load(run / "pretraining" / "apart" / "manifest.parquet")
    assert "test" in whole.column("split") and {*kept.column("split")} == {"train", "validation"}
    store = open_store(run / "pretraining" / "data" / "labelled")
    marks = dict(zip(store.ids, store.hashes, strict=True))
    for place in (run, run / "pretraining" / "model"):
        assert {marks[id] for id in kept.column("id")} <= known_pictures(place)


def test_the_noise_is_in_the_noisy_data_alone(run):
    rows = Manifest.load(run / "pretraining" / "data" / "manifest.parquet")
    of_test = rows.where(split="test")
    assert of_test.column("label") != of_test.column("clean_label")  # they are trained on too
    wrong = sum(a != b for a, b in zip(rows.column("label"), rows.column("clean_label"), strict=True))
    assert 0.3 < wrong / len(rows) < 0.5
    assert "clean_label" not in Manifest.load(run / "data" / "manifest.parquet").extra


def test_the_task_begins_with_the_backbone_and_a_new_head(run):
    model = run / "pretraining" / "model" / "model.safetensors"
    known, classes = load_network(model)
    assert classes == ("web bar", "web dot")
    begin = _after(model, start(known.arch, "none"), ("bar", "dot"))
    fresh = begin.network(("bar", "dot"), Training(), 5)
    for name, tensor in known.blocks.state_dict().items():
        assert torch.equal(fresh.blocks.state_dict()[name], tensor)
    assert not torch.equal(fresh.head.weight, known.head.weight)
    same = _after(model, start(known.arch, "none"), classes).network(classes, Training(), 5)
    assert torch.equal(same.head.weight, known.head.weight)


def test_no_clean_label_is_doubted_and_no_stage_slowed_on_noisy_ones():
    assert for_clean(LESSON) == replace(LESSON, small_loss=0.0)
    assert for_noisy(LESSON) == replace(LESSON, layer_decay=1.0)


def test_small_losses_are_chosen_as_the_steps_go(data, tmp_path, monkeypatch):
    given, original = [], learning.train

    def noted(state, task, *rest):
        for step in original(state, task, *rest):
            given.append((isinstance(task, SmallLoss), task.share, task.grown()))
            yield step

    monkeypatch.setattr(learning, "train", noted)
    longer = replace(LESSON, min_steps=20, batch=4)
    eyas.train(data, tmp_path / "run", arch=ARCH, weights="none", training=longer)
    assert given[:4] == [(True, 0.4, share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert given[-1][2] == 1.0
    assert len(read_log(tmp_path / "run" / "model" / "log.jsonl")) == 20


def test_stanford_dogs_as_published_after_noisy_ones(noisy, tmp_path):
    dogs, scenes = tmp_path / "dogs", write_scenes(tmp_path / "scenes", 12, seed=2)
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for name in ("bar", "dot"):
        breed = f"n0208{len(name)}-{name}"
        shutil.copytree(scenes / name, dogs / "Images" / breed)
        for number, file in enumerate(sorted((dogs / "Images" / breed).iterdir())):
            parts["test" if number < 4 else "train"].append(f"{breed}/{file.name}")
    for part, names in parts.items():
        listed = np.array([[name] for name in names], dtype=object)
        labels = np.array([[1 + ("dot" in name)] for name in names], np.uint8)
        savemat(dogs / f"{part}_list.mat", {"file_list": listed, "labels": labels})
    found = eyas.train(dogs, tmp_path / "run", arch=ARCH, weights="none", training=LESSON, pretrain=noisy)
    assert found.test.images == 8
    assert read_json(tmp_path / "run" / "data" / "classes.json") == ["n02083-bar", "n02083-dot"]
    rows = Manifest.load(tmp_path / "run" / "data" / "manifest.parquet")
    assert {*rows.where(split="test").column("id")} == {*parts["test"]}
    assert load_network(tmp_path / "run" / "pretraining" / "model" / "model.safetensors")[1] == ("web bar", "web dot")
