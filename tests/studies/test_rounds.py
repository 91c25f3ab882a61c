"""Several rounds, FixMatch beside them, and several seeds: what a user finds after them."""

from pathlib import Path

import pytest

from eyas.arch.parse import parse
from eyas.cli import main
from eyas.errors import UserError
from eyas.recipe import Round, SelfTraining
from eyas.run import read_json
from eyas.studies.learning import start
from eyas.studies.noisy_student import planned
from eyas.studies.proof import Comparison, judged

WIDER = "mobilenet_v1x0.5@32/16"


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory) -> Path:
    """Two rounds, the second with a wider student, FixMatch, two seeds."""
    folder = tmp_path_factory.mktemp("rounds") / "run"
    rounds = f"[{{ratio: 1}}, {{arch: {WIDER}, ratio: 2}}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyas.studies.noisy_student.judged", lambda *given, **named: judged(*given, **named) | {"goes_on": True})
        words = ("--self_training.rounds", rounds, "--method", "both", "--seeds", "2")
        assert main(photos.fit(folder, *words)) == 0
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("fit")
class TestRun:
    def test_every_network_of_every_seed_is_there(self, run):
        stages = ("round-1/student", "round-1/control", "round-2/student", "round-2/control", "fixmatch/student")
        for seed in ("", "seeds/1/"):
            assert all((run / f"{seed}{stage}" / "model.safetensors").exists() for stage in ("teacher", *stages))
            assert not (run / f"{seed}fixmatch/control").exists()  # that of the first round is the same network

    def test_the_first_control_is_the_teacher_and_that_of_a_wider_student_is_not(self, run):
        weights = {stage: (run / stage / "model.safetensors").read_bytes() for stage in ("teacher", "round-1/control")}
        assert weights["teacher"] == weights["round-1/control"]
        assert read_json(run / "round-2" / "control" / "stage.json")["result"]["arch"] == WIDER
        asked = read_json(run / "teacher" / "inputs.json")["inputs"]
        assert asked == read_json(run / "round-1" / "control" / "inputs.json")["inputs"]
        assert asked["ratio"] == 1  # as many images a step as the student sees

    def test_a_student_teaches_the_next_round(self, run):
        inputs = read_json(run / "round-2" / "labels" / "inputs.json")["inputs"]
        teacher = read_json(run / "round-2" / "verdict" / "inputs.json")["inputs"]["teacher"]
        assert inputs["teacher"] == teacher == read_json(run / "round-1" / "verdict" / "inputs.json")["inputs"]["student"]
        assert read_json(run / "round-2" / "student" / "stage.json")["result"]["arch"] == WIDER

    def test_all_are_tested_once(self, run):
        tested = read_json(run / "test" / "stage.json")["result"]
        assert list(tested) == ["teacher", "control", "student", "control-2", "student-2", "fixmatch", "fitted"]

    def test_the_pile_is_judged_by_all_seeds(self, run):
        pooled = read_json(run / "seeds" / "validation" / "stage.json")["result"]
        assert [verdict["seeds"] for verdict in (*pooled["rounds"], pooled["second"])] == [2, 2, 2]
        assert "over 2 seeds" in read_json(run / "result.json")["verdict"]
        for name, scored in read_json(run / "seeds" / "test" / "stage.json")["result"].items():
            assert scored["value"] == pytest.approx(sum(scored["each"]) / 2), name
            assert scored["low"] <= scored["value"] <= scored["high"], name

    def test_the_report_shows_them(self, run):
        page = (run / "report.html").read_text()
        assert "What the pile gave" in page and "Over 2 seeds" in page
        assert "noised student of round 2" in page and "FixMatch" in page
        facts = read_json(run / "report.json")["facts"]
        assert [each["number"] for each in facts["rounds"]] == [1, 2]


class TestPlan:
    begin = start(parse("mobilenet_v1x0.25@32"), "none")

    def test_a_round_keeps_the_architecture_before_it(self):
        choice = SelfTraining(rounds=(Round(), Round(arch="mobilenet_v1x0.5@32"), Round()))
        archs = [str(begin.arch) for _, begin in planned(choice, self.begin, "none")]
        assert archs == ["mobilenet_v1x0.25@32", "mobilenet_v1x0.5@32", "mobilenet_v1x0.5@32"]

    def test_a_warm_start_needs_the_same_network(self):
        choice = SelfTraining(rounds=(Round(), Round(arch="mobilenet_v1x0.5@32", start="teacher")))
        with pytest.raises(UserError, match=r"^round 2 begins mobilenet_v1x0\.5@32 with the weights of its teacher, which is "):
            planned(choice, self.begin, "none")

    def test_an_unknown_architecture_is_refused_before_anything_is_done(self):
        with pytest.raises(UserError, match="no architecture is named 'mobilenet_v9'"):
            planned(SelfTraining(rounds=(Round(arch="mobilenet_v9"),)), self.begin, "none")


class TestVerdict:
    def test_a_student_proven_worse_than_its_teacher_ends_the_rounds(self):
        ahead, unsure = Comparison(1.0, -1.0, 3.0, 0.8, 100), Comparison(-1.0, -3.0, 1.0, 0.2, 100)
        worse = Comparison(-3.0, -5.0, -1.0, 0.01, 100)
        assert judged(unsure, ahead)["goes_on"] and judged(ahead, unsure)["goes_on"]
        assert not judged(ahead, worse)["goes_on"]
        assert not judged(ahead, ahead)["helped"]  # 80 % of the resamples are no proof

    def test_says_over_how_many_seeds(self):
        proven = Comparison(4.0, 1.0, 7.0, 0.99, 100)
        assert judged(proven, proven, seeds=3)["sentence"] == (
            "The pile helped; student less equal-compute control: +4.0 points (95 % interval +1.0 to +7.0) on 100 validation "
            "images over 3 seeds."
        )
