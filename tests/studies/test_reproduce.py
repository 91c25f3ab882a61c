"""The ablations of Noisy Student: each changes one thing, none is trained twice, and a finding is judged by its interval."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyas.arch.parse import parse
from eyas.cli import main
from eyas.errors import UserError
from eyas.nn.weights import save_network
from eyas.recipe import Augment, Round, SelfTraining, Splits, Training
from eyas.run import Run, read_json
from eyas.studies import reproduce_train
from eyas.studies.learning import MODEL, Lesson, learn, start
from eyas.studies.noisy_student import School
from eyas.studies.prepare import Data, prepare
from eyas.studies.proof import Comparison
from eyas.studies.reproduce import STUDIES, alike, reproduce, study_named
from eyas.studies.reproduce_bench import Bench, bench_of, noised_answers, noised_network
from eyas.studies.reproduce_cells import BASELINE, Cell, cells, picked
from eyas.studies.reproduce_paper import FIGURES, FINDINGS, judged
from eyas.studies.reproduce_train import SkippedError, in_band, part_of, right, train_cell
from tests.scenes import write_scenes
from tests.studies.piles import answers, labels_in

ARCH = "mobilenet_v1x0.25@32/16"
TRAINING = Training(
    epochs=1, min_steps=48, batch=8, rate=0.01, norm_momentum=0.3, ema=0.9, augment=Augment(operations=1, crop=0.9, erase=0.1)
)
CHOICE = SelfTraining(threshold=0.5)
BY_NAME = {cell.name: cell for cell in cells(CHOICE)}


@dataclass(frozen=True)
class Shown:
    """What one cell gave to `learn`: the weights that its network begins with, and the lesson."""

    arch: str
    dropout: tuple[float, float]
    weights: float
    lesson: Lesson


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return write_scenes(folder / "labelled", 24), write_scenes(folder / "pile", 60, seed=1, labelled=False)


@pytest.fixture(scope="module")
def bench(pictures, tmp_path_factory) -> tuple[Bench, Data]:
    """A teacher and what all cells of its seed begin with."""
    labelled, pile = pictures
    run = Run(tmp_path_factory.mktemp("bench"))
    data = prepare(run, str(labelled), str(pile), 0, Splits(), 32, seed=0)
    begin = start(parse(ARCH), "none")
    return bench_of(run, data, begin, alike(TRAINING), CHOICE, 0, cells(CHOICE)), data


@pytest.fixture
def shown(bench, monkeypatch, tmp_path) -> Any:
    """Calls `train_cell` with a `learn` that only looks; all lessons of a cell in their order."""
    made, _ = bench

    def look(name: str) -> list[Shown]:
        seen: list[Shown] = []

        def fake(folder: Path, network: Any, lesson: Lesson, data: Data) -> dict[str, Any]:
            weights = float(sum(tensor.double().abs().sum() for tensor in network.state_dict().values()))
            rates = (network.dropout.p, max(getattr(block, "drop_path", 0.0) for block in network.blocks))
            seen.append(Shown(str(network.arch), rates, weights, lesson))
            save_network(network, folder / MODEL, data.classes)
            return {"validation": 0.5}

        monkeypatch.setattr(reproduce_train, "learn", fake)
        train_cell((replace(made, run=_other(made.run, tmp_path / "run")), BY_NAME[name]))
        return seen

    return look


def _other(run: Path, place: Path) -> Path:
    """The run's data again, so that no stage is done before."""
    if not place.exists():
        shutil.copytree(run / "data", place / "data")
    return place


def told(shown: Shown) -> dict[str, Any]:
    """All that a lesson is, as values that can be compared."""
    lesson = shown.lesson
    found: dict[str, Any] = {"arch": shown.arch, "dropout": shown.dropout, "weights": round(shown.weights, 6)}
    found |= {"task": lesson.task, "steps": lesson.steps, "training": lesson.training, "seed": lesson.seed}
    for part in lesson.sources:
        name = "labelled" if part.examples.labelled else "pseudo"
        found[f"{name} count"] = part.count
        found[f"{name} augment"] = part.augment
        found[f"{name} weak"] = part.weak
        found[f"{name} images"] = part.examples.positions.tolist()
        found[f"{name} targets"] = part.examples.targets.round(6).tolist()
    return found


def changed(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    return {name for name in {*first, *second} if first.get(name) != second.get(name)}


class TestTable:
    @pytest.mark.parametrize("choice", [SelfTraining(), SelfTraining(ratio=3), SelfTraining(balance=False, ratio=2)])
    def test_every_cell_changes_one_field_of_what_it_is_compared_with(self, choice):
        known = {cell.name: cell for cell in cells(choice)}
        for cell in known.values():
            one, other = asdict(cell.change), asdict(known[cell.against].change)
            assert sum(one[name] != other[name] for name in one) == (cell.name != BASELINE), cell.name

    def test_names_are_single_and_studies_are_told(self):
        known = cells(SelfTraining())
        assert len({cell.name for cell in known}) == len(known)
        assert {cell.study for cell in known} == set(FINDINGS)
        assert set(FIGURES) <= {cell.name for cell in known}

    def test_what_the_baseline_is_already_is_no_cell(self):
        names = {ratio: {cell.name for cell in cells(SelfTraining(ratio=ratio))} for ratio in (1, 3)}
        assert "ratio-1" not in names[1] and "ratio-3" in names[1]
        assert "ratio-3" not in names[3] and "ratio-1" in names[3]

    def test_the_side_follows_from_the_baseline(self):
        assert BY_NAME["ratio-3"].side == "higher"
        assert {cell.name: cell.side for cell in cells(SelfTraining(ratio=7))}["ratio-3"] == "lower"
        assert {cell.name: cell.side for cell in cells(SelfTraining(balance=False))}["balanced"] == "higher"

    def test_a_study_is_all_of_its_cells_and_what_they_are_compared_with(self):
        names = [cell.name for cell in picked(tuple(BY_NAME.values()), ["size", "hard-0.7"])]
        assert names == [BASELINE, "soft-0.7", "hard-0.7", "narrower", "wider"]
        assert len(picked(tuple(BY_NAME.values()), [])) == len(BY_NAME)

    def test_an_unknown_cell_is_refused_with_the_nearest(self):
        with pytest.raises(UserError, match=r"^no cell or study is named 'no-nois'; did you mean no-noise or "):
            picked(tuple(BY_NAME.values()), ["no-nois"])

    def test_an_unknown_study_is_refused_with_the_nearest(self, capsys):
        assert study_named("noisy-student") is STUDIES["noisy-student"]
        assert main(["reproduce", "noisy-studnt", "elpv", "--out", "nowhere"]) == 2
        assert "no study is named 'noisy-studnt'; did you mean noisy-student?" in capsys.readouterr().err

    def test_figures_that_could_not_be_read_in_the_paper_are_not_shown(self):
        for cell in BY_NAME.values():
            if cell.study in ("amount", "balance", "order", "start"):
                assert cell.name not in FIGURES

    def test_figures_are_on_the_side_that_the_paper_says(self):
        for name, figures in FIGURES.items():
            side = BY_NAME[name].side
            gains = [each.difference for each in figures]
            there = {"higher": min(gains) >= 0, "lower": max(gains) < 0, "": max(map(abs, gains)) < 0.35}
            assert there[side], name


class TestLessons:
    @pytest.mark.parametrize(
        ("name", "differs"),
        [
            ("no-input-noise", {"pseudo augment"}),
            ("no-noise", {"pseudo augment", "training", "dropout"}),
            ("noised-teacher", {"pseudo targets"}),
            ("pile-1of4", {"pseudo images", "pseudo targets"}),
            ("narrower", {"arch", "weights"}),
            ("wider", {"arch", "weights"}),
            ("ratio-3", {"pseudo count"}),
            ("warm-start", {"weights"}),
        ],
    )
    def test_a_student_differs_from_the_baseline_in_what_it_says(self, shown, name, differs):
        (baseline,), (other,) = shown(BASELINE), shown(name)
        found = changed(told(baseline), told(other))
        assert found == differs

    def test_the_baseline_is_the_student_of_the_main_job(self, shown):
        (found,) = shown(BASELINE)
        labelled, pseudo = found.lesson.sources
        assert (labelled.count, pseudo.count, labelled.augment, pseudo.augment) == (8, 8, None, None)
        assert found.lesson.steps == TRAINING.steps(len(labelled.examples)) and found.arch == ARCH
        np.testing.assert_allclose(pseudo.examples.targets.sum(1), 1, atol=1e-3)

    def test_noise_goes_from_pseudo_labelled_images_alone(self, shown):
        (found,) = shown("no-noise")
        labelled, pseudo = found.lesson.sources
        assert labelled.augment is None and pseudo.augment == Augment(operations=0, crop=0.9)
        assert found.lesson.training == replace(alike(TRAINING), dropout=0.0, drop_path=0.0)

    def test_unbalanced_takes_all_that_are_confident(self, shown, bench):
        (found,) = shown("unbalanced")
        ids = found.lesson.sources[1].examples.positions.tolist()
        assert len(set(ids)) == len(ids) == bench[0].made["selection-unbalanced"].result["confident"]

    def test_the_control_learns_from_labels_alone_as_many_images_a_step(self, shown):
        (baseline,), (control,) = shown(BASELINE), shown("control")
        (part,) = control.lesson.sources
        assert part.examples.labelled and part.count == sum(each.count for each in baseline.lesson.sources)
        assert control.lesson.steps == baseline.lesson.steps and control.weights == baseline.weights

    def test_fixmatch_has_as_many_unlabelled_images_and_no_teacher(self, shown):
        (found,) = shown("fixmatch")
        labelled, pile = found.lesson.sources
        assert (labelled.count, pile.count, pile.weak) == (8, 8, True)
        assert not pile.examples.targets.any()

    def test_in_turn_every_source_is_seen_as_often_as_together(self, shown):
        (joint,), (before, after) = shown(BASELINE), shown("in-turn")
        assert before.lesson.steps + after.lesson.steps == joint.lesson.steps
        for lesson, part in zip((before.lesson, after.lesson), reversed(joint.lesson.sources), strict=True):
            (own,) = lesson.sources
            assert own.examples.labelled == part.examples.labelled
            assert own.count * lesson.steps == part.count * joint.lesson.steps

    def test_the_teacher_is_trained_no_more(self, shown):
        assert shown("teacher") == []


class TestPile:
    SURE = tuple((row % 3, 0.42 + 0.005 * row) for row in range(116))  # 0.42 to 0.995, three classes in turn

    @pytest.mark.parametrize("low", [0.5, 0.9])
    def test_soft_and_hard_labels_of_a_band_are_of_the_same_images(self, tmp_path, low):
        labels_in(tmp_path / "labels", answers(*self.SURE), shard=30)
        soft, hard = (
            in_band(tmp_path / "labels", 1.0, BY_NAME[f"{kind}-{low}"].change, count=12, seed=3) for kind in ("soft", "hard")
        )
        assert soft[0] == hard[0] and len(set(soft[0])) == 12
        assert ((soft[1].max(1) >= low - 1e-3) & (soft[1].max(1) < low + 0.1 + 1e-3)).all()
        np.testing.assert_array_equal(hard[1], np.eye(3, dtype=np.float32)[soft[1].argmax(1)])
        assert [self.SURE[int(id)][0] for id in soft[0]] == soft[1].argmax(1).tolist()

    def test_a_band_that_is_too_thin_is_left_out_and_says_so(self, tmp_path):
        labels_in(tmp_path / "labels", answers(*self.SURE))
        with pytest.raises(SkippedError, match=r"^0 images of the pile are 0\.1 to 0\.2 sure, and 12 are taken of each band$"):
            in_band(tmp_path / "labels", 1.0, BY_NAME["soft-0.1"].change, count=12, seed=0)

    def test_smaller_parts_are_within_larger_ones(self):
        quarter, sixteenth = (set(part_of(400, part, 3, seed=1).tolist()) for part in (4, 16))
        assert (len(quarter), len(sixteenth)) == (100, 25) and sixteenth < quarter
        with pytest.raises(SkippedError, match="one in 128 of 300 pseudo-labelled images is 2, fewer than there are classes"):
            part_of(300, 128, 3, seed=1)

    def test_a_noised_teacher_answers_otherwise_and_the_same_each_time(self, bench):
        made, data = bench
        teacher = made.made["teacher"]
        school = School(Run(made.run), "", made.begin, (), data, replace(TRAINING, dropout=0.5, drop_path=0.2), CHOICE, 0)
        pile = data.unlabelled()

        def answered(augment: Augment) -> np.ndarray:
            return noised_answers(noised_network(teacher.folder / MODEL, school), pile, augment, "none", seed=0)

        noised = answered(TRAINING.augment)
        np.testing.assert_array_equal(noised, answered(TRAINING.augment))
        assert np.abs(noised - answered(Augment(operations=0, crop=1.0))).max() > 0.01
        np.testing.assert_allclose(noised.sum(1), 1, atol=1e-5)


class TestRule:
    @pytest.mark.parametrize(
        ("side", "low", "high", "verdict"),
        [
            ("lower", -2.0, -0.1, "held"),
            ("lower", 0.1, 2.0, "not held"),
            ("lower", -2.0, 0.1, "not decided"),
            ("higher", 0.1, 2.0, "held"),
            ("higher", -2.0, -0.1, "not held"),
            ("higher", 0.0, 2.0, "not decided"),
            ("", 0.1, 2.0, "no claim"),
        ],
    )
    def test_the_interval_decides(self, side, low, high, verdict):
        assert judged(side, Comparison((low + high) / 2, low, high, 0.5, 100)) == verdict


class TestRefusals:
    @pytest.mark.parametrize(
        ("named", "sentence"),
        [
            ({"seeds": 0}, "--seeds is 0; it must be 1 or above"),
            ({"workers": 0}, "--workers is 0; it must be 1 or above"),
            ({"self_training": SelfTraining(ratio=0)}, "self_training.ratio is 0, so that there is no student"),
            ({"self_training": SelfTraining(rounds=(Round(), Round()))}, "eyas reproduce trains one round"),
        ],
    )
    def test_before_anything_is_read(self, tmp_path, named, sentence):
        with pytest.raises(UserError, match=sentence):
            reproduce("noisy-student", "nowhere", tmp_path / "run", **named)
        assert not (tmp_path / "run").exists()

    def test_no_pile(self, pictures, tmp_path):
        with pytest.raises(UserError, match="there are no unlabelled images to learn from: give --unlabeled"):
            reproduce("noisy-student", str(pictures[0]), tmp_path / "run", arch=ARCH, weights="none", cache_dir="none")


@pytest.fixture(scope="module")
def words(pictures, tmp_path_factory) -> list[str]:
    labelled, pile = pictures
    config = tmp_path_factory.mktemp("config") / "fast.yaml"
    training = {**asdict(TRAINING), "augment": asdict(TRAINING.augment)}
    chosen = {"training": training, "self_training": {"threshold": 0.5}, "arch": ARCH, "weights": "none"}
    config.write_text(json.dumps(chosen | {"cache_dir": "none"}))
    return ["reproduce", "noisy-student", str(labelled), "--unlabeled", str(pile), "--config", str(config)]


@pytest.fixture(scope="module")
def run(words, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reproduced") / "run"
    assert main([*words, "--out", str(folder), "--cells", "no-noise,control"]) == 0
    return folder


class TestRun:
    """Two cells beside the baseline, from the command line."""

    @pytest.fixture
    def trained(self, monkeypatch) -> Iterator[list[str]]:
        """The cells that are trained from here on."""
        found: list[str] = []

        def watched(folder: Path, *given: Any) -> dict[str, Any]:
            found.append(folder.name)
            return learn(folder, *given)

        monkeypatch.setattr(reproduce_train, "learn", watched)
        return found

    def test_every_row_is_there_with_its_verdict(self, run):
        found = read_json(run / "reproduce.json")
        rows = {row["cell"]: row for row in found["cells"]}
        assert list(rows) == [BASELINE, "control", "no-noise"]
        for row in rows.values():
            assert row["test"]["low"] <= row["test"]["value"] <= row["test"]["high"] and row["seeds"] == 1
        gain = rows["no-noise"]["difference"]
        assert gain["difference"] == pytest.approx(100 * (rows["no-noise"]["test"]["value"] - rows[BASELINE]["test"]["value"]))
        assert rows["no-noise"]["held"] in ("held", "not held", "not decided") and rows["control"]["held"] == "no claim"
        assert rows["no-noise"]["paper"][0] == {"against": 83.9, "cell": 83.2, "setting": "B5, 1.3 M unlabelled"}

    def test_the_page_says_what_the_paper_found_and_that_nothing_was_chosen_by_the_test(self, run):
        page = (run / "report.html").read_text()
        assert FINDINGS["noise"].sentence in page and "83.9 to 83.2 (B5, 1.3 M unlabelled)" in page
        assert "the test split chose nothing" in page and "images alone, as there is one seed" in page

    def test_the_same_command_trains_nothing_and_shows_the_same(self, run, words, trained, capsys):
        before = (run / "reproduce.json").read_bytes()
        assert main([*words, "--out", str(run), "--cells", "no-noise", "control"]) == 0
        assert trained == [] and (run / "reproduce.json").read_bytes() == before
        shown = capsys.readouterr().out
        assert "no-noise" in shown and "findings: held" in shown

    def test_another_cell_and_another_seed_train_those_alone(self, run, words, trained, tmp_path, capsys):
        copy = Path(shutil.copytree(run, tmp_path / "run"))
        assert main([*words, "--out", str(copy), "--cells", "no-noise", "control", "warm-start"]) == 0
        assert trained == ["warm-start"]
        trained.clear()
        assert main([*words, "--out", str(copy), "--cells", "no-noise", "--seeds", "2", "--json"]) == 0
        assert trained == [BASELINE, "no-noise"]
        rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
        assert [row["seeds"] for row in rows] == [2, 2]
        assert not (copy / "superseded").exists()

    def test_killed_between_and_within_cells_it_goes_on_to_the_same_end(self, run, words, monkeypatch, tmp_path, capsys):
        again, begun = tmp_path / "again", []

        def killed(folder: Path, *given: Any) -> dict[str, Any]:
            begun.append(folder.name)
            if folder.name == "control" and begun.count("control") == 1:
                raise KeyboardInterrupt
            return learn(folder, *given)

        monkeypatch.setattr(reproduce_train, "learn", killed)
        asked = [*words, "--out", str(again), "--cells", "no-noise,control"]
        assert main(asked) == 130
        assert "give the same command again" in " ".join(capsys.readouterr().err.split())
        assert main(asked) == 0
        assert begun == [BASELINE, "control", "control", "no-noise"]
        for name in (BASELINE, "control", "no-noise"):
            one, other = (place / "seed-0" / "cells" / name / MODEL for place in (run, again))
            assert one.read_bytes() == other.read_bytes()

    @pytest.mark.slow
    def test_several_workers_find_the_same(self, run, words, tmp_path):
        assert main([*words, "--out", str(tmp_path / "run"), "--cells", "no-noise,control", "--workers", "2"]) == 0
        assert read_json(tmp_path / "run" / "reproduce.json")["cells"] == read_json(run / "reproduce.json")["cells"]


def test_answers_are_kept_for_both_splits(bench) -> None:
    made, data = bench
    cell: Cell = BY_NAME["teacher"]
    train_cell((made, cell))
    done = made.done(cell)
    assert done is not None
    assert len(right(done, "validation")) == len(data.examples("validation"))
    assert right(done, "test").dtype == bool and len(right(done, "test")) == len(data.examples("test"))
