"""What the readers of a report see of runs of attributes, embeddings and boxes: real ones, trained for a few steps."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyas.cli.arguments import read
from eyas.data.boxes import pack
from eyas.deploy.boxes import COLOURS
from eyas.errors import UserError
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, read_json, write_json
from eyas.studies.export import export
from eyas.studies.report import write_report
from eyas.studies.report_detect import SIDE, framed
from eyas.studies.train import train
from eyas.studies.train_embed import Embedding
from eyas.studies.train_task import Detection
from tests.boxed import write_boxed
from tests.studies.test_report import file, galleries, words
from tests.studies.test_train_attributes import write as write_table
from tests.studies.test_train_embed import write as write_people

BRIEF = Training(min_steps=4, epochs=0.1, batch=8, norm_momentum=0.3, augment=Augment(operations=1, crop=0.8))
SMALL, TINY = "mobilenet_v1x0.25@32/8", "mobilenet_v1x0.1@48"
TASKS = ("attributes", "embed", "detect")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished run of each task and of students, each trained when it is first asked for. Never write to one."""
    root, made = tmp_path_factory.mktemp("tasks"), dict[str, Path]()

    def learned(name: str, data: Path, arch: str, **options: Any) -> Path:
        train(data, root / name, arch, "none", BRIEF, cache_dir="none", **options)
        return root / name

    def attributes() -> Path:
        return learned("attributes", write_table(root / "table", 40, 0), SMALL)

    def student() -> Path:
        pile = write_table(root / "pile", 12, 1).parent
        taught = {"teacher": run("attributes"), "unlabeled": pile, "unlabeled_only": True}
        return learned("student", root / "table" / "table.csv", SMALL, **taught)

    def embed() -> Path:
        people, shares = write_people(root / "people", 12, 4, 0), Splits(validation=0.3, test=0.3)
        return learned("embed", people, SMALL, task="embed", splits=shares, embedding=Embedding(width=8))

    def detect() -> Path:
        pile = write_boxed(root / "boxed-pile", 6, seed=9).parent
        sure = Detection(score=0.01)
        return learned("detect", write_boxed(root / "boxed", 16), TINY, unlabeled=pile, detection=sure)

    def run(name: str) -> Path:
        if name not in made:
            makers = {"attributes": attributes, "student": student, "embed": embed, "detect": detect}
            made[name] = makers[name]()
        return made[name]

    return run


@pytest.fixture(scope="module")
def pages(runs: Callable[[str], Path]) -> Callable[[str], Path]:
    """Their pages."""
    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            made[name] = write_report(runs(name))
        return made[name]

    return page


def result_of(run: Path, stage: str) -> dict[str, Any]:
    return read_json(run / stage / "stage.json")["result"]


def changed(run: Path, stage: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """The run with another result of a stage."""
    kept = read_json(run / stage / "stage.json")
    change(kept["result"])
    write_json(run / stage / "stage.json", kept)
    return run


def ranged(found: dict[str, float]) -> str:
    return f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def interval(found: dict[str, float]) -> str:
    return f"95 % interval {100 * found['low']:.1f} to {100 * found['high']:.1f} %"


class TestEveryTask:
    @pytest.mark.parametrize("task", TASKS)
    def test_has_a_section_for_everything_that_applies(self, pages, task):
        titles = re.findall(r'<li><a href="#section-\d+">(.*?)</a>', pages(task).read_text())
        first = {"embed": "Verification and retrieval"}.get(task, "Average precision")
        pile = ["What the pile was given"] if task == "detect" else []
        last = ["The data", "How the networks learnt", "What was asked", "Machine and versions"]
        assert titles == [first, *pile, *last]

    @pytest.mark.parametrize("task", TASKS)
    def test_says_nothing_that_is_of_classes(self, pages, task):
        shown = words(pages(task))
        for of_classes in ("Confusion", "Labels that look wrong", "the largest class", "Recall:", "FixMatch"):
            assert of_classes not in shown

    @pytest.mark.parametrize("task", TASKS)
    def test_gives_programs_the_stages_themselves(self, pages, runs, task):
        facts = json.loads(pages(task).with_suffix(".json").read_text())["facts"]
        assert facts["task"] == task
        assert facts["test"] == result_of(runs(task), "test")
        assert facts["networks"]["model"] == result_of(runs(task), "model")
        assert facts["params"] > 1e4 and facts["madds"] > 1e5

    @pytest.mark.parametrize("task", TASKS)
    def test_draws_the_figure_that_the_log_has(self, pages, runs, task):
        assert pages(task).read_text().count('<figure class="chart">') >= 3
        steps = result_of(runs(task), "model")["steps"]
        best = result_of(runs(task), "model")["validation"]
        assert re.search(rf"trained network .{{0,80}} 8 {steps} \d {100 * best:.1f} %", words(pages(task)))
        assert len(re.findall("as it is<", galleries(pages(task))["Augmented images"])) == 4

    @pytest.mark.parametrize("task", TASKS)
    def test_is_the_same_when_it_is_written_again(self, pages, runs, task):
        before = pages(task).read_bytes()
        assert write_report(runs(task)).read_bytes() == before

    @pytest.mark.parametrize("task", [*TASKS, "student"])
    def test_the_command_is_understood_and_asks_for_the_same(self, pages, task):
        command = shlex.split(unescape(re.search(r"<code>(eyas train .*?)</code>", pages(task).read_text())[1]))
        given = read(command[2:], "train", train, ("data",), csv=False, trains=True)
        assert given["task"] == ("attributes" if task == "student" else task)
        assert given["training"] == BRIEF
        assert given["unlabeled_only"] is (task == "student")
        assert not any(word.startswith("--detection") for word in command if task != "detect")


class TestAttributes:
    def test_says_the_mean_first_and_every_attribute_below(self, pages, runs):
        told = result_of(runs("attributes"), "test")
        lead, _, rest = words(pages("attributes")).partition("Contents")
        assert f"{SMALL} tells 2 attributes of 8 test images with a mean average precision of" in lead
        assert f"{100 * told['mean']['value']:.1f} % ({interval(told['mean'])})" in lead
        for name, one in told["each"].items():
            assert f"{name} {ranged(one)} {one['there']} {one['images']} {100 * one['there'] / one['images']:.1f} %" in rest
        assert "The pile" not in rest

    def test_counts_who_has_what_and_of_whom_nothing_is_known(self, pages):
        shown = words(pages("attributes"))
        assert "40 labelled images with 2 attributes, 32 x 32 pixels." in shown
        row = re.search(
            r"attribute train validation test share unknown of bright (\d+) (\d+) (\d+) ([\d.]+) % (\d+) red", shown
        )
        assert int(row[5]) == 6  # of every seventh picture nobody said
        assert float(row[4]) == round(100 * sum(map(int, row.groups()[:3])) / 34, 1)

    def test_an_attribute_that_is_the_same_for_all_is_said(self, runs, copy_of):
        run = changed(copy_of(runs("attributes")), "test", lambda told: told.update(constant=["absent"]))
        shown = words(write_report(run))
        said = "absent is the same for all test images: nothing ranks that, and it is no part of the mean."
        assert said in shown.partition("Contents")[0]
        assert "absent – – – –" in shown
        assert said in (run / "MODEL_CARD.md").read_text()

    def test_a_student_says_who_taught_it_and_on_what(self, pages, runs):
        shown = words(pages("student"))
        assert f"{runs('attributes')} was the teacher: the network learnt its probabilities of 12 unlabelled images." in shown
        assert "No label was looked at in training" in shown
        assert "answers of the teacher to unlabelled images alone" in shown
        assert "Pile 12 unlabelled images" in shown.partition("Contents")[0]
        assert "in the pile as given 12" in shown

    def test_the_card_has_the_figures(self, pages, runs):
        card = (pages("attributes").parent / "MODEL_CARD.md").read_text()
        told = result_of(runs("attributes"), "test")
        headings = re.findall(r"^## (.*)$", card, re.MULTILINE)
        assert headings == ["Model details", "Intended use", "Training data", "Evaluation", "Limits", "How to use it"]
        assert "- Attributes: bright, red" in card
        assert f"| mean | {ranged(told['mean'])} |" in card
        assert "No file was exported" in card


class TestEmbeddings:
    def test_says_what_verification_and_retrieval_gave(self, pages, runs):
        tested = result_of(runs("embed"), "test")
        auc, nearest = tested["verification"]["auc"], tested["retrieval"]["figures"]["recall@1"]
        lead = words(pages("embed")).partition("Contents")[0]
        assert f"curve of {auc['value']:.4f} (95 % interval {auc['low']:.4f} to {auc['high']:.4f})" in lead
        assert f"the same identity for {100 * nearest['value']:.1f} % of {tested['retrieval']['queries']}" in lead
        assert f"Recall@1 {100 * nearest['value']:.1f} %" in lead

    def test_says_why_nothing_can_be_told_at_few_false_ones(self, pages, runs):
        different = result_of(runs("embed"), "test")["verification"]["different"]
        shown = words(pages("embed"))
        assert f"cannot be told from {different} pairs of two identities, as 10,000 are needed" in shown
        assert "TAR at FAR 0.001 – too few pairs of two identities" in shown
        assert "0.001 – 0 –" in shown

    def test_with_enough_pairs_it_is_told(self, runs, copy_of):
        rate = {"rate": {"value": 0.451, "low": 0.3, "high": 0.6}, "threshold": 0.7, "allowed": 12}
        run = changed(copy_of(runs("embed")), "test", lambda found: found["verification"]["accepted"][2].update(rate))
        shown = words(write_report(run))
        assert (
            "at a false accept rate of 0.001 it accepts 45.1 % of the pairs of one identity (95 % interval 30.0 to 60.0 %);"
            in shown
        )
        assert "0.001 45.1 % (30.0 to 60.0) 12 0.700" in shown

    def test_without_anybody_to_find_it_says_so(self, runs, copy_of):
        run = changed(copy_of(runs("embed")), "test", lambda found: found["retrieval"].update(queries=0, figures={}))
        shown = words(write_report(run))
        assert "no image has another of its identity to be found" in shown
        assert "Recall@1 – no test image has another of its identity" in shown

    def test_counts_identities(self, pages):
        shown = words(pages("embed"))
        assert "48 labelled images of 12 identities" in shown
        assert re.search(r"identities with one train \d+ \d+ 4 4 4 0 validation", shown)


class TestBoxes:
    def test_says_the_mean_first_and_every_class_below(self, pages, runs):
        tested, mean = result_of(runs("detect"), "test"), result_of(runs("detect"), "test")["mean"]
        lead, _, rest = words(pages("detect")).partition("Contents")
        assert f"SSD on {TINY} finds {tested['things']} things in 4 test images with a COCO mAP of" in lead
        assert f"{100 * mean['value']:.1f} % ({interval(mean)})" in lead
        assert f"AP50 {100 * tested['at_50']:.1f} %" in lead and f"AP75 {100 * tested['at_75']:.1f} %" in lead
        for name, value in tested["classes"].items():
            assert re.search(rf"{name} {100 * value:.1f} % \d+ \d+", rest)

    def test_counts_the_whole_detector(self, pages, runs):
        facts = json.loads(pages("detect").with_suffix(".json").read_text())["facts"]
        model = result_of(runs("detect"), "model")
        assert (facts["params"], facts["madds"]) == (model["params"], model["madds"])

    def test_counts_boxes_by_class_and_split(self, pages, runs):
        known = json.loads((runs("detect").parent / "boxed" / "boxes.json").read_text())
        assert re.search(rf"all boxes \d+ \d+ \d+ {len(known['annotations'])} images 8 4 4 16", words(pages("detect")))
        assert "16 labelled images with boxes of 2 classes" in words(pages("detect"))

    def test_shows_what_the_pile_was_given(self, pages, runs):
        pseudo, shown = result_of(runs("detect"), "pseudo"), words(pages("detect"))
        assert (
            f"found {pseudo['boxes']} boxes of a score of 0.01 or above in {pseudo['images']} of 6 unlabelled images." in shown
        )
        assert galleries(pages("detect"))["Unlabelled images with their boxes"].count("<img") == pseudo["images"] > 0
        assert "the labels and boxes of the first detector" in shown
        assert "whether the unlabelled images helped is not proven" in shown

    def test_a_first_detector_that_was_sure_of_nothing(self, runs, copy_of):
        run = changed(copy_of(runs("detect")), "pseudo", lambda found: found.update(images=0, boxes=0))
        assert "So the trained one learned from the labels alone." in words(write_report(run))

    def test_a_class_that_no_test_image_shows(self, runs, copy_of):
        run = changed(copy_of(runs("detect")), "test", lambda found: found["classes"].update(bar=None))
        shown = words(write_report(run))
        assert "No test image shows bar: no figure, and no part of the mean." in shown
        assert re.search(r"bar – \d+ \d+", shown)

    def test_faster_rcnn_says_why_there_is_no_file(self, runs, copy_of):
        run = changed(copy_of(runs("detect")), "model", lambda found: found.update(form="faster_rcnn"))
        assert "Faster R-CNN on" in words(write_report(run))
        assert "which regions a Faster R-CNN looks at again depends on the image" in (run / "MODEL_CARD.md").read_text()

    def test_frames_lie_where_the_boxes_are(self):
        target = pack([np.array([[0.25, 0.5, 0.75, 1.0, 1, 0]], np.float32)])[0]
        shown = framed(np.zeros((8, 16, 3), np.uint8), target)
        assert shown.shape == (SIDE // 2, SIDE, 3)
        colour = tuple(int(COLOURS[1][at : at + 2], 16) for at in (1, 3, 5))
        rows, columns = np.where((shown == colour).all(2))
        edges = [rows.min(), rows.max(), columns.min(), columns.max()]
        np.testing.assert_allclose(edges, [56, 111, 56, 167], atol=1)
        assert not shown[70:100, 70:150].any()
        assert framed(np.zeros((300, 500, 1), np.uint8), target).shape == (134, SIDE, 3)


class TestExportedFiles:
    def test_of_a_real_file_everything_is_shown(self, runs, copy_of):
        run = copy_of(runs("attributes"))
        made = export(run).artifacts["onnx"]
        shown = words(write_report(run))
        assert "artifacts/onnx ships" in shown
        assert f"Test mAP of onnx {100 * made['test']['mean']['value']:.1f} %" in shown.partition("Contents")[0]
        assert "network's mAP file's mAP onnx 100.0 % (>= 99 %)" in shown
        assert "Change of the mean average precision on the validation images" in shown
        assert re.search(r"The same part by part: onnx network file .*? bright [\d.]+ % [\d.]+ % \+0\.0 \(", shown)
        assert "Average precision of each attribute: onnx" in shown
        assert "with the probability of each attribute" in (run / "MODEL_CARD.md").read_text()

    @pytest.mark.parametrize("task", ["embed", "detect"])
    def test_of_a_rejected_one_the_reason_is_shown_and_the_network_measured(self, runs, copy_of, task):
        run = copy_of(runs(task))
        put(run, "onnx-int8", task, ["mean average precision falls"], {})
        shown = words(write_report(run))
        assert "Nothing ships: no exported file keeps what was promised (onnx-int8: mean average precision falls)" in shown
        assert "of the trained network" in shown.partition("Contents")[0]
        assert "onnx-int8: mean average precision falls" in shown
        assert "The same part by part" not in shown

    def test_the_threshold_of_boxes_is_in_the_card(self, runs, copy_of):
        run = copy_of(runs("detect"))
        put(run, "onnx", "detect", [], {"bar": {"before": 0.5, "after": 0.25, "points": -25.0, "low": -40.0, "high": -10.0}})
        assert "bar 50.0 % 25.0 % -25.0 (-40.0 to -10.0)" in words(write_report(run))
        assert "A box is sure from a score of 0.37 on" in (run / "MODEL_CARD.md").read_text()


class TestWhatIsNotFinished:
    @pytest.mark.parametrize("missing", ["model", "test"])
    @pytest.mark.parametrize("task", TASKS)
    def test_a_stage_is_missing(self, runs, copy_of, task, missing):
        run = copy_of(runs(task))
        shutil.rmtree(run / missing)
        (run / "report.html").unlink(missing_ok=True)
        with pytest.raises(UserError, match=f"is not finished: {missing}/stage.json is not there; give its eyas train command"):
            write_report(run)
        assert not (run / "report.html").exists()

    def test_a_file_was_exported_by_an_earlier_version(self, runs, copy_of):
        run = copy_of(runs("embed"))
        put(run, "onnx", "embed", [], {})
        changed(run, "artifacts/onnx", lambda made: made["parity"].pop("reference"))
        with pytest.raises(UserError, match="onnx was exported by an earlier version of Eyas; move it away"):
            write_report(run)

    def test_the_model_is_newer_than_its_test(self, runs, copy_of):
        run = copy_of(runs("embed"))
        Run(run).stage("model", lambda _: {"arch": SMALL, "weights": None}, again=True)
        (run / "model" / "log.jsonl").touch()
        shutil.copy(runs("embed") / "model" / "model.safetensors", run / "model")
        with pytest.raises(UserError, match="model is newer than its test"):
            write_report(run)

    def test_the_first_detector_is_newer_than_its_boxes(self, runs, copy_of):
        run = copy_of(runs("detect"))
        Run(run).stage("teacher", lambda _: {"arch": TINY}, again=True)
        with pytest.raises(UserError, match="teacher is newer than model; give the run's command again"):
            write_report(run)


def put(run: Path, target: str, task: str, reasons: list[str], classes: dict[str, Any]) -> None:
    """An exported file in the form that `eyas.studies.ship` leaves."""
    change = {"images": 4, "before": 0.5, "after": 0.45, "points": -5.0, "low": -9.0, "high": -1.0}
    parity = {"measure": "mean average precision", "reference": 0.5, "artifact": 0.45, "lost": None, "won": None}

    def make(folder: Path) -> dict[str, Any]:
        made = file(folder, target, SMALL, reasons)
        more = {"task": task, "change": change, "classes": classes, "threshold": 0.37, "test": result_of(run, "test")}
        return made | more | {"parity": made["parity"] | parity}

    Run(run).stage(f"artifacts/{target}", make, student=Run(run).done("model").digest, budget="")
