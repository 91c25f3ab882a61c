"""What a teacher has seen of its student's held-out images: counted, said, and kept with the student."""

import shutil
from pathlib import Path

import pytest

import eyas
from eyas.data.manifest import Manifest
from eyas.progress import listening
from eyas.recipe import Augment, Training
from eyas.run import read_json
from eyas.studies.report import write_report
from tests.heard import Heard
from tests.studies.test_train_attributes import write

ARCH = "mobilenet_v1x0.1@32/8"
BRIEF = Training(min_steps=1, epochs=0.01, batch=16, augment=Augment(operations=0))


def train(table: Path, run: Path, seed: int = 0, **more: object) -> Path:
    eyas.train(table, run, ARCH, "none", BRIEF, seed=seed, cache_dir="none", **more)
    return run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures") / "labelled", 80, 0)


@pytest.fixture(scope="module")
def teacher(table: Path) -> Path:
    return train(table, table.parent / "teacher")


def taught(table: Path, run: Path, teacher: Path, **more: object) -> tuple[dict[str, int] | None, list[str]]:
    """What the student's result says that its teacher saw, and what was said of it."""
    heard = Heard()
    with listening(heard):
        train(table, run, teacher=teacher, **more)
    return read_json(run / "model" / "stage.json")["result"]["teacher_saw"], [text for text in heard.said if "has seen" in text]


def ids(run: Path, *splits: str) -> set[str]:
    rows = Manifest.load(run / "data" / "manifest.parquet")
    return {id for id, split in zip(rows.column("id"), rows.column("split"), strict=True) if split in splits}


def test_of_the_same_data_and_seed_it_has_seen_none(table, teacher, tmp_path):
    assert taught(table, tmp_path / "student", teacher) == ({"test": 0, "validation": 0}, [])
    assert "It had seen" not in write_report(tmp_path / "student").read_text()


def test_of_another_seed_it_has_seen_some_which_is_said(table, teacher, tmp_path):
    saw, said = taught(table, tmp_path / "student", teacher, seed=1)
    test, validation = (ids(tmp_path / "student", split) for split in ("test", "validation"))
    assert saw == {
        "test": len(test & ids(teacher, "train", "validation")),
        "validation": len(validation & ids(teacher, "train")),
    }
    assert min(saw.values()) > 0
    (sentence,) = said
    counts = f"{saw['test']} of {len(test)} test images and {saw['validation']} of {len(validation)} validation images"
    assert f"has seen {counts} of its student" in sentence
    assert "the same data and --seed" in sentence
    page = write_report(tmp_path / "student").read_text()
    assert f"It had seen {counts} in its own training: figures on them are too good." in page


def test_its_pile_counts_whatever_the_files_are_called(table, teacher, tmp_path):
    pile = tmp_path / "pile"
    pile.mkdir()
    for number, id in enumerate(sorted(ids(teacher, "test"))[:3]):
        shutil.copy(table.parent / id, pile / f"other-{number}.png")
    few = write(tmp_path / "few", 40, 3)
    grown = train(few, tmp_path / "grown", teacher=train(few, tmp_path / "first"), unlabeled=pile)
    saw, said = taught(table, tmp_path / "student", grown)
    assert saw == {"test": 3, "validation": 0}
    assert "has seen 3 of 16 test images of its student" in said[0]


def test_what_its_own_teacher_saw_counts(table, teacher, tmp_path):
    others = write(tmp_path / "others", 40, 2)
    middle = train(others, tmp_path / "middle", teacher=teacher)
    saw, _ = taught(table, tmp_path / "student", middle, seed=1)
    assert saw and min(saw.values()) > 0
    assert taught(table, tmp_path / "again", teacher, seed=1)[0] == saw


def test_without_its_data_nothing_is_known_and_it_teaches_all_the_same(table, teacher, tmp_path):
    model = Path(shutil.copy(teacher / "model" / "model.safetensors", tmp_path))
    assert taught(table, tmp_path / "one", model, seed=1) == (None, [])
    moved = Path(shutil.copytree(teacher, tmp_path / "moved"))
    shutil.rmtree(moved / "data" / "labelled")
    seen, (said,) = taught(table, tmp_path / "two", moved, seed=1)
    model = moved / "model" / "model.safetensors"
    assert seen is None
    assert said.startswith(f"whether the teacher {model} has seen images of its student's splits is not known: ")
    assert "holds no prepared images" in said
