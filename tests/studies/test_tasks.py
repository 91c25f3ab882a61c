"""The other tasks by the commands of classification, as people type them."""

import json
from pathlib import Path

import pytest

from eyas.arch.parse import parse
from eyas.cli import main
from eyas.nn.detectors import build_detector
from eyas.nn.weights import save_network
from eyas.studies.train import train
from tests.boxed import write_boxed
from tests.studies.test_train_attributes import write as write_table
from tests.studies.test_train_embed import write as write_people

BRIEF = ["--weights", "none", "--training.epochs", "0.1", "--training.min_steps", "2", "--cache-dir", "none"]
CLASSIFIER = [*BRIEF, "--arch", "mobilenet_v1x0.25@32/8"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_table(tmp_path_factory.mktemp("attributes") / "pictures", 40, 0)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "faces", 12, 6, 1)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    return write_boxed(tmp_path_factory.mktemp("boxed"), 16)


@pytest.fixture(scope="module")
def told(table) -> Path:
    run = table.parent / "run"
    assert main(["train", str(table), "--out", str(run), *CLASSIFIER]) == 0  # auto: the table says what it is for
    return run


def test_a_table_of_attributes_is_trained_and_evaluated(told, table, capsys):
    recipe = json.loads((told / "recipe.json").read_text())
    assert (recipe["task"], recipe["arch"]) == ("attributes", "mobilenet_v1x0.25@32/8")
    assert main(["evaluate", str(told), str(table), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {*found["told"]["each"]} == {"red", "bright"}
    assert found["seen"] == 32  # all but the test images: the run trained on them, or chose with them
    assert main(["evaluate", str(told), str(table)]) == 0
    assert "mean average precision" in capsys.readouterr().out


def test_embeddings_are_trained_kept_and_searched(people, tmp_path, capsys):
    run, vectors = tmp_path / "run", tmp_path / "vectors.parquet"
    options = ["--task", "embed", "--embedding.width", "8", "--training.batch", "8"]
    assert main(["train", str(people), "--out", str(run), *options, *CLASSIFIER]) == 0
    assert "area under the ROC curve" in capsys.readouterr().out
    assert main(["embed", str(run), str(people), "--out", str(vectors)]) == 0
    assert "72 images have a vector of 8 numbers" in capsys.readouterr().out
    asked = str(people / "p1_03" / "p1_03_0002.jpg")
    assert main(["neighbors", asked, str(vectors), "--top", "72", "--json"]) == 0
    cosines = {line["source"]: line["cosine"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert len(cosines) == 72
    assert cosines[asked] == pytest.approx(max(cosines.values()), abs=1e-6) == pytest.approx(1, abs=1e-5)


def test_boxes_are_learned_with_a_pile(boxes, tmp_path, capsys):
    pile = write_boxed(tmp_path / "pile", 6, seed=9).parent
    options = ["--unlabeled", str(pile), "--detection.score", "0.01", "--training.batch", "4"]
    arch = ["--arch", "mobilenet_v1x0.1@48"]
    assert main(["train", str(boxes), "--out", str(tmp_path / "run"), *options, *arch, *BRIEF]) == 0
    assert "boxes in 4 images" in capsys.readouterr().out
    assert {"teacher", "pseudo", "model", "test"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert main(["evaluate", str(tmp_path / "run"), str(boxes)]) == 0
    assert "at an overlap of 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label-noise", "0.1"], "--pretrain and --label_noise are for classes, and the task is detect"),
        (["--teacher", "runs/other"], "a detector's raw answers are not learned by another one"),
        (["--training.batch", "0"], "give detectors one, for example 16"),
        (["--task", "classify", "--teacher", "runs/other"], "eyas fit learns classes from them"),
        (["--task", "classify", "--unlabeled-only"], "for attributes and embeddings, and the task is classify"),
        (["--task", "classify", "--columns", "[a]"], "--columns names attributes, and the task is classify"),
        (["--task", "embed", "--columns", "[a]"], "--columns names attributes, and the task is embed"),
        (["--unlabeled-only"], "for attributes and embeddings, and the task is detect"),
        (["--task", "embed", "--unlabeled", "pile"], "--unlabeled needs a teacher where the task is embed"),
        (["--task", "attributes", "--unlabeled-only"], "--unlabeled_only needs a teacher where the task is attributes"),
        (["--task", "attributes", "--teacher", "runs/other"], "no run at runs/other"),
        (["--task", "embed", "--training.batch", "6"], "a batch of 6 with 4 images of each identity"),
        (["--training.small-loss", "0.2"], "the class of an image, and the task is detect; set it to 0"),
        (["--detection.score", "0"], "detection.score is 0; it is the score of a box"),
    ],
)
def test_options_of_another_task_are_refused(boxes, tmp_path, options, sentence, capsys):
    words = ["train", str(boxes), "--out", str(tmp_path / "run"), "--arch", "mobilenet_v1x0.1@48", *BRIEF, *options]
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_columns_that_are_named_are_attributes(table, tmp_path):
    lines = [f"{line.split(',')[0]},some,{line.split(',')[1]}" for line in table.read_text().splitlines()[1:]]
    labelled = table.parent / "labelled.csv"
    labelled.write_text("\n".join(["path,label,red", *lines]) + "\n")
    run = tmp_path / "run"
    assert main(["train", str(labelled), "--columns", "[red]", "--out", str(run), *CLASSIFIER]) == 0
    assert json.loads((run / "recipe.json").read_text())["task"] == "attributes"


def test_columns_say_nothing_to_a_model_of_another_task(tmp_path, boxes, capsys):
    path = tmp_path / "detector.safetensors"
    save_network(build_detector(parse("mobilenet_v1x0.1@48"), "ssd", 2), path, ("bar", "square"), "detect")
    assert main(["evaluate", str(path), str(boxes), "--columns", "[a]"]) == 2
    assert "--columns names attributes, and the task is detect" in capsys.readouterr().err


def test_the_recipe_is_there_before_anything_is_learned(table, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eyas.studies.train.train_task", stop)
    with pytest.raises(KeyboardInterrupt):
        train(table, tmp_path / "run", "mobilenet_v1x0.25@32/8", "none", cache_dir="none")
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["task"] == "attributes"


class TestWhatIsForClassesAlone:
    """`eyas fit` and `eyas label` on data and runs of other tasks: refused, with the command that learns them."""

    def refused(self, words: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
        assert main([*words, "--out", str(out)]) == 2
        assert not list(out.rglob("*.safetensors")) and not (out / "data").exists()
        return " ".join(capsys.readouterr().err.split())

    def test_fit_on_a_table_of_attributes(self, table, tmp_path, capsys):
        words = ["fit", str(table), *CLASSIFIER[:2], "--arch", CLASSIFIER[-1], "--cache-dir", "none"]
        assert "is a table of attributes, and eyas fit makes classifiers; eyas train --task attributes" in self.refused(
            words, tmp_path / "run", capsys
        )

    def test_fit_on_boxes_though_every_image_has_one_category(self, boxes, tmp_path, capsys):
        coco = json.loads(boxes.read_text())
        coco["annotations"] = [
            {**each, "category_id": coco["categories"][each["image_id"] % 2]["id"]} for each in coco["annotations"]
        ]
        alone = boxes.with_name("alone.json")
        alone.write_text(json.dumps(coco))
        words = ["fit", str(alone), *CLASSIFIER[:2], "--arch", CLASSIFIER[-1], "--cache-dir", "none"]
        assert "has boxes, and eyas fit makes classifiers; eyas train --task detect" in self.refused(
            words, tmp_path / "run", capsys
        )

    def test_fit_on_several_labels_an_image(self, table, tmp_path, capsys):
        lines = ["path,labels", *(f"{line.split(',')[0]},red|bright" for line in table.read_text().splitlines()[1:])]
        several = table.with_name("several.csv")
        several.write_text("\n".join(lines) + "\n")
        words = ["fit", str(several), *CLASSIFIER[:2], "--arch", CLASSIFIER[-1], "--cache-dir", "none"]
        message = self.refused(words, tmp_path / "run", capsys)
        assert "40 of 40 images have several labels" in message
        assert "learn all of them with eyas train --task attributes" in message

    def test_label_with_attributes(self, told, table, tmp_path, capsys):
        message = self.refused(["label", str(told), str(table.parent)], tmp_path / "labels", capsys)
        assert f"eyas train --task attributes --teacher {told} --unlabeled {table.parent}" in message

    @pytest.mark.parametrize(("kind", "words"), [("detect", "--task detect --unlabeled"), ("embed", "--task embed --teacher")])
    def test_label_with_a_network_of_another_task(self, boxes, tmp_path, kind, words, capsys):
        path = tmp_path / "model.safetensors"
        save_network(build_detector(parse("mobilenet_v1x0.1@48"), "ssd", 2), path, ("bar", "square"), kind)
        message = self.refused(["label", str(path), str(boxes.parent)], tmp_path / "labels", capsys)
        assert f"was trained for the task {kind}, and eyas label writes answers of classifiers" in message
        assert words in message
