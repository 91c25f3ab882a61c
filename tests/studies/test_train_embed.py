"""Embeddings from identities and from a teacher, what is measured of them, and what finds images by them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.detectors import build_detector
from eyas.nn.weights import kind_of, load_network, save_network
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run
from eyas.studies import embed as embedding_study
from eyas.studies.embed import embed
from eyas.studies.evaluate_tasks import evaluate_embedding
from eyas.studies.learning import start
from eyas.studies.neighbors import neighbors
from eyas.studies.prepare import Data, prepare
from eyas.studies.train_embed import Embedding, distil_embed, identified, measured_embed, reader_of, train_embed, vectors_of
from eyas.studies.train_task import Asked, prepare_task, train_task

LESSON = Training(min_steps=24, epochs=0.1, batch=16, rate=0.01, norm_momentum=0.3, augment=Augment(operations=0, crop=1.0))
SMALL = start(parse("mobilenet_v1x0.25@32/8"), "none")
WIDTH = Embedding(width=8, images=4)
SPLITS = Splits(validation=0.3, test=0.3)


def write(folder: Path, people: int, images: int, seed: int) -> Path:
    """Pictures of people as LFW has them: each a colour of their own, with noise."""
    rng = np.random.default_rng(seed)
    for person in range(people):
        name, colour = f"p{seed}_{person:02d}", rng.integers(0, 200, 3)
        (folder / name).mkdir(parents=True)
        for number in range(1, images + 1):
            pixels = np.clip(colour + rng.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{number:04d}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embed")


@pytest.fixture(scope="module")
def people(folder: Path) -> Path:
    write(folder / "people", 20, 4, 0)
    write(folder / "people", 2, 1, 9)  # of whom there is one picture
    return folder / "people"


@pytest.fixture(scope="module")
def trained(folder: Path, people: Path) -> Path:
    """A run with a teacher, a student, and the figures of both."""
    with Run.open(folder / "run") as run:
        data = opened(run, people)
        teacher = train_embed(run, SMALL, data, LESSON, 0, WIDTH)
        student = distil_embed(run, SMALL, teacher.folder / "model.safetensors", data, LESSON, 1, name="student")
        for name, done in {"test": teacher, "student-test": student}.items():
            measured_embed(run, name, done, data)
    return folder / "run"


def opened(run: Run, people: Path) -> Data:
    return prepare(run, str(people), None, 0, SPLITS, 32, 0, cache=None, to_train=False, reader=reader_of(SPLITS, 0))


def test_nobody_who_is_tested_was_learned(people, trained):
    with Run.open(trained) as run:
        manifest = opened(run, people).manifest
    of = {split: {*manifest.where(split=split).column("label")} for split in ("train", "validation", "test")}
    assert not of["train"] & of["test"] and not of["train"] & of["validation"] and not of["test"] & of["validation"]
    assert len(of["test"]) > 3


def test_colours_are_told_apart(trained):
    for stage in ("test", "student-test"):
        found = json.loads((trained / stage / "stage.json").read_text())["result"]
        assert found["verification"]["auc"]["value"] > 0.8
        assert found["retrieval"]["figures"]["recall@1"]["value"] > 0.3  # by chance: 0.11
        assert found["verification"]["different"] > 30


def test_the_model_says_that_it_embeds(trained):
    for stage in ("model", "student"):
        model = trained / stage / "model.safetensors"
        assert kind_of(model) == "embed"
        network, outputs = load_network(model)
        assert (len(outputs), network.head.out_features) == (8, 8)


def test_vectors_have_length_1(trained, people):
    with Run.open(trained) as run:
        examples = identified(opened(run, people), "validation")
    found = vectors_of(load_network(trained / "model" / "model.safetensors")[0], examples)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(examples)))


def test_refusals(people, tmp_path):
    with Run.open(tmp_path / "run") as run:
        data = opened(run, people)
        for wrong in (replace(LESSON, batch=18), replace(LESSON, batch=4), replace(LESSON, accumulate=3)):
            with pytest.raises(UserError, match=f"a batch of {wrong.batch} with 4 images of each identity"):
                train_embed(run, SMALL, data, wrong, 0, WIDTH)
        with pytest.raises(UserError, match="blend two identities"):
            train_embed(run, SMALL, data, replace(LESSON, augment=Augment(mixup=0.2)), 0, WIDTH)
        model = tmp_path / "lost"
        for wrong in (Augment(mixup=0.2), Augment(cutmix=0.2)):
            with pytest.raises(UserError, match="blend two identities"):
                distil_embed(run, SMALL, model, data, replace(LESSON, augment=wrong), 0)
        with pytest.raises(UserError, match="identities come equally often anyway"):
            distil_embed(run, SMALL, model, data, replace(LESSON, class_balance=0.5), 0)
    singles = write(tmp_path / "singles", 12, 1, 3)
    with Run.open(tmp_path / "other") as run:
        data = opened(run, singles)
        with pytest.raises(UserError, match="0 of 6 identities have two images or more to train on"):
            train_embed(run, SMALL, data, LESSON, 0, WIDTH)


def test_one_call_prepares_trains_and_measures(people, tmp_path):
    brief = replace(LESSON, min_steps=2)
    with Run.open(tmp_path / "run") as run:
        asked = Asked("embed", str(people), brief, SPLITS, embedding=WIDTH)
        model, test = train_task(run, asked, SMALL, prepare_task(run, asked, SMALL))
    assert model.result["steps"] == 2
    assert {*test.result} == {"verification", "retrieval"}


def test_a_detector_is_refused_as_a_teacher_and_has_no_vectors(people, tmp_path):
    path = tmp_path / "detector.safetensors"
    save_network(build_detector(parse("mobilenet_v1x0.1@48"), "ssd", 2), path, ("bar", "square"), "detect")
    with (
        Run.open(tmp_path / "run") as run,
        pytest.raises(UserError, match="was trained for the task detect, and embed is to be"),
    ):
        distil_embed(run, SMALL, path, opened(run, people), LESSON, 0)
    with pytest.raises(UserError, match="is a detector, which has boxes and no vector"):
        embed(path, people, tmp_path / "vectors.parquet")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Path:
    """A list in LFW's form beside pictures of other people: two folds of three and three."""
    fresh = write(folder / "fresh", 8, 4, 5)
    lines = ["2\t3"]
    for fold in range(2):
        lines += [f"p5_{person:02d}\t1\t{person % 3 + 2}" for person in range(4 * fold, 4 * fold + 3)]
        lines += [f"p5_{person:02d}\t1\tp5_{person + 1:02d}\t2" for person in range(4 * fold, 4 * fold + 3)]
    (fresh / "pairs.txt").write_text("\n".join(lines) + "\n")
    return fresh / "pairs.txt"


class TestPairs:
    def test_a_list_of_pairs_is_verified(self, trained, pairs):
        found = evaluate_embedding(trained / "model", pairs)
        assert (found.verification.same, found.verification.different, found.verification.folds) == (6, 6, 2)
        assert found.verification.auc.value > 0.7
        assert found.verification.accepted[0].rate is None  # a tenth of six is none
        assert found.retrieval is None

    def test_a_pair_that_names_a_missing_picture_is_refused_by_its_line(self, trained, pairs, tmp_path):
        shutil.copytree(pairs.parent, tmp_path / "copy")
        lines = pairs.read_text().splitlines()
        lines[3] = "p5_02\t1\t9"
        (tmp_path / "copy" / "pairs.txt").write_text("\n".join(lines) + "\n")
        with pytest.raises(UserError, match=r"pairs.txt, line 4: no picture 'p5_02/p5_02_0009.jpg'"):
            evaluate_embedding(trained / "model", tmp_path / "copy" / "pairs.txt")

    def test_pairs_whose_pictures_cannot_be_read_are_counted(self, trained, pairs, tmp_path):
        shutil.copytree(pairs.parent, tmp_path / "copy")
        broken = tmp_path / "copy" / "p5_00" / "p5_00_0001.jpg"
        broken.write_bytes(broken.read_bytes()[:100])
        found = evaluate_embedding(trained / "model", tmp_path / "copy" / "pairs.txt")
        assert (found.unreadable, found.verification.left_out) == (1, 2)

    def test_folders_are_verified_in_all_pairs(self, trained, pairs):
        found = evaluate_embedding(trained / "model", pairs.parent)
        assert (found.verification.same, found.verification.different) == (8 * 6, 32 * 31 // 2 - 48)
        assert found.retrieval.queries == 32

    def test_nobody_with_two_images_is_said(self, trained, tmp_path):
        with pytest.raises(UserError, match="0 pairs of one identity and 28 of two can be used"):
            evaluate_embedding(trained, write(tmp_path / "singles", 8, 1, 6))

    def test_a_classifier_is_refused(self, reference, pairs):
        with pytest.raises(UserError, match="was trained for the task classify, and this works for embed"):
            evaluate_embedding(reference, pairs)


class TestVectors:
    def test_every_image_has_one_and_like_images_are_near(self, trained, people, tmp_path):
        (people / "broken.jpg").write_bytes(b"none")
        try:
            found = embed(trained, people, tmp_path / "v.parquet")
        finally:
            (people / "broken.jpg").unlink()
        assert (found.width, found.images, found.unreadable, found.learned) == (8, 82, 1, True)
        table = pq.read_table(tmp_path / "v.parquet")
        assert table.column_names == ["id", "source", "vector"]
        vectors = np.array(table["vector"].to_pylist())
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(82), abs=1e-5)
        assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]
        asked = people / "p0_03" / "p0_03_0002.jpg"
        nearest = neighbors(asked, tmp_path / "v.parquet", top=4)
        assert nearest[0].source == str(asked) and nearest[0].cosine == pytest.approx(1, abs=1e-5)
        row = table["source"].to_pylist().index(str(asked))
        order = np.argsort(-(vectors @ vectors[row]), kind="stable")[:4]
        assert [each.id for each in nearest] == [table["id"][int(place)].as_py() for place in order]
        assert len(neighbors(asked, tmp_path / "v.parquet", top=500)) == 82

    def test_goes_on_where_it_was_stopped_to_the_same_vectors(self, trained, people, tmp_path, monkeypatch):
        monkeypatch.setattr(embedding_study, "SHARD", 30)
        embed(trained, people, tmp_path / "whole.parquet", precision="float16")
        original, calls = embedding_study._write_part, []

        def stopped(*given):
            calls.append(given[0].name)
            if len(calls) == 2:
                raise KeyboardInterrupt
            original(*given)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(embedding_study, "_write_part", stopped)
            embed(trained, people, tmp_path / "cut.parquet", precision="float16")
        with monkeypatch.context() as patch:
            patch.setattr(embedding_study, "_write_part", lambda *given: (calls.append(given[0].name), original(*given)))
            embed(trained, people, tmp_path / "cut.parquet", precision="float16")
        assert calls == ["00000.parquet", "00001.parquet", "00001.parquet", "00002.parquet"]
        assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
        assert pq.read_schema(tmp_path / "cut.parquet").field("vector").type.value_type == "halffloat"

    def test_a_classifiers_are_what_its_head_stands_on(self, reference, people, tmp_path):
        found = embed(reference, people / "p0_00", tmp_path / "v.parquet")
        assert not found.learned
        assert found.width == load_network(reference / "student" / "model.safetensors")[0].arch.features

    def test_refusals(self, trained, people, tmp_path, reference):
        with pytest.raises(UserError, match="a name that ends in"):
            embed(trained, people, tmp_path / "vectors")
        index, image = tmp_path / "v.parquet", people / "p0_00" / "p0_00_0001.jpg"
        embed(trained / "model", people / "p0_00", index)
        with pytest.raises(UserError, match="are of another network"):
            neighbors(image, index, run=reference)
        with pytest.raises(UserError, match="no vectors at"):
            neighbors(image, tmp_path / "lost.parquet")
        with pytest.raises(UserError, match="top is 0"):
            neighbors(image, index, top=0)
        (tmp_path / "note.jpg").write_text("no picture")
        with pytest.raises(UserError, match=r"note.jpg cannot be used"):
            neighbors(tmp_path / "note.jpg", index)
        with pytest.raises(UserError, match="none of 1 images in"):
            embed(trained, tmp_path, tmp_path / "w.parquet")
