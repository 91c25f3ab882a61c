"""Which network for the budget, with made-up measurements instead of exports."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from eyas.arch.budget import Budget
from eyas.arch.cost import cost
from eyas.arch.parse import parse
from eyas.errors import UserError
from eyas.nn.build import build
from eyas.run import read_json
from eyas.studies import plan as planning
from eyas.studies.plan import TRIALS, Candidate, candidates, estimate, plan, rank

CLASSES = ("a", "b")
TEACHER = "efficientnet_lite0@128"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Candidate]]:
    """What was measured, on a device that takes 0.2 ms and a millisecond for each 40 M MAdds, half of it in int8."""
    tried: list[Candidate] = []

    def measured(_: Path, one: Candidate, budget: Budget, *__: Any) -> Candidate:
        pace = 40e6 if one.target == "onnx" else 80e6
        known = replace(one, measured=True, latency=0.2 + one.madds / pace)
        refusals = budget.refusals(size=known.size, madds=known.madds, params=known.params, latency=known.latency)
        tried.append(replace(known, refusals=tuple(refusals)))
        return tried[-1]

    monkeypatch.setattr(planning, "_measured", measured)
    yield tried


def chosen(folder: Path, budget: str, teacher: str = TEACHER) -> dict[str, Any]:
    limits = Budget.parse(budget) if budget else Budget()
    return plan(folder, limits, parse(teacher), CLASSES, 1)["chosen"]


class TestCandidates:
    @pytest.mark.parametrize(
        "teacher", [TEACHER, "mobilenet_v1x0.35@32/16", "mobilenet_v1x1.4@64", "efficientnet_lite0d1.2@96"]
    )
    def test_cost_no_more_than_the_teacher_which_is_one_of_them(self, teacher):
        arch = parse(teacher)
        found = list(candidates(arch, 2))
        assert {teacher} < {one.arch for one in found}
        assert max(one.madds for one in found) == cost(arch, 2).madds
        assert max(parse(one.arch).resolution for one in found) == arch.resolution
        assert len({(one.arch, one.target) for one in found}) == len(found)

    def test_the_teacher_s_family_goes_first_then_the_larger_then_float(self):
        ranked = rank(candidates(parse(TEACHER), 2))
        assert [(one.arch, one.target) for one in ranked[:2]] == [(TEACHER, "onnx"), (TEACHER, "onnx-int8")]
        assert [one.family for one in ranked] == sorted((one.family for one in ranked), reverse=True)
        family = [one.madds for one in ranked if one.family]
        assert family == sorted(family, reverse=True)

    def test_small_pictures_keep_their_stride(self):
        assert all(one.arch.endswith("/8") for one in candidates(parse("mobilenet_v1x0.5@32/8"), 2) if one.family)


class TestChoice:
    @pytest.mark.parametrize("budget", ["", "latency<=5ms", "params<=100M"])
    def test_is_the_teacher_where_it_fits(self, budget, trials, tmp_path):
        assert chosen(tmp_path, budget)["arch"] == TEACHER
        assert len(trials) == 1

    @pytest.mark.parametrize("latency", [2.0, 1.0, 0.7, 0.5, 0.3, 0.25])
    def test_a_latency_is_found_in_few_trials(self, latency, trials, tmp_path):
        found = chosen(tmp_path, f"latency<={latency}ms")
        assert found["latency"] <= latency
        assert len(trials) <= TRIALS
        fits = [
            one
            for one in candidates(parse(TEACHER), 2)
            if 0.2 + one.madds / (40e6 if one.target == "onnx" else 80e6) <= latency
        ]
        assert found["madds"] >= 0.4 * max(one.madds for one in fits)

    def test_is_the_largest_under_a_size(self, trials, tmp_path):
        found = chosen(tmp_path, "size<=2MB")
        assert found["size"] <= 2e6
        assert all(one.madds > found["madds"] for one in trials[:-1])

    def test_a_limit_on_madds_needs_no_measurement_of_what_breaks_it(self, trials, tmp_path):
        found = chosen(tmp_path, "madds<=20M")
        assert found["madds"] <= 20e6
        assert len(trials) == 1

    def test_is_written_with_all_that_was_weighed(self, trials, tmp_path):
        found = chosen(tmp_path, "size<=2MB,latency<=1ms")
        written = read_json(tmp_path / "plan.json")
        assert written["chosen"] == found | {"refusals": []}
        assert sum(one["measured"] for one in written["candidates"]) == len(trials)
        assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


class TestNothingFits:
    def test_by_size_is_known_without_a_trial(self, trials, tmp_path):
        with pytest.raises(
            UserError, match=r"nothing fits the budget size<=1KB: the nearest of 128 candidates is .* is over 1KB"
        ):
            chosen(tmp_path, "size<=1KB")
        assert trials == []

    def test_by_latency_names_the_fastest_measured(self, trials, tmp_path):
        with pytest.raises(UserError, match=r"latency 241\.6us is over 100us\); raise the limit") as refused:
            chosen(tmp_path, "latency<=100us")
        assert "mobilenet_v1x0.25@64 as onnx-int8" in str(refused.value)
        assert min(trials, key=lambda one: one.latency) == trials[-1]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "onnx-int8"])
def test_an_estimated_size_is_near_the_exported_one(target, tmp_path):
    arch = parse("mobilenet_v1x0.25@32")
    (one,) = [one for one in candidates(arch, 2) if one.arch == str(arch) and one.target == target]
    network = build(arch, nn.Linear(arch.features, len(CLASSES)))
    found = planning._measured(tmp_path, one, Budget(), network, CLASSES, 1)
    assert estimate(arch, 2, target) == pytest.approx(found.size, rel=0.1)
    assert found.latency > 0
