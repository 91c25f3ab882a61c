"""Which network for the budget, with made-up measurements instead of exports."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from eyas.arch import search
from eyas.arch.budget import Budget
from eyas.arch.latency import Table
from eyas.arch.parse import parse
from eyas.arch.search import tables
from eyas.arch.spec import Arch
from eyas.cli import main
from eyas.errors import UserError
from eyas.run import read_json
from eyas.studies import plan_candidates, plan_stage
from eyas.studies.plan_candidates import (
    DOUBT,
    QUICK,
    STEP,
    Candidate,
    beginning,
    better,
    estimate,
    formats,
    gain,
    merit,
    order,
    tier_of,
)
from eyas.studies.plan_choice import TRIALS, choose
from eyas.studies.plan_known import FACTS, Known, remembering
from eyas.studies.plan_stage import gathered, planned

CLASSES = ("a", "b")
TEACHER = "efficientnet_lite0@128"
PACE = {"onnx": 40e6, "onnx-int8": 80e6}  # MAdds a millisecond of the made-up device


def device(one: Candidate) -> tuple[int, float]:
    """Bytes as estimated, 0.2 ms and a millisecond for each 40 M MAdds, half of it in int8."""
    return round(one.estimate), 0.2 + one.madds / PACE[one.target]


class Bench:
    """The made-up device, which remembers what it was asked for."""

    def __init__(self, answer: Callable[[Candidate], tuple[int, float]] = device) -> None:
        self.answer = answer
        self.tried: list[Candidate] = []

    def __call__(self, one: Candidate) -> tuple[int, float]:
        self.tried.append(one)
        return self.answer(one)


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()

    def measuring(_: Arch | None, __: Sequence[str], ___: int) -> Bench:
        return made

    monkeypatch.setattr(plan_stage, "measuring", measuring)
    return made


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Dials with fewer settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "WIDTHS", (1.0, 0.25, 0.35, 0.5, 0.75, 0.9))
        patch.setattr(search, "DEPTHS", (1.0, 0.5))
        patch.setattr(search, "SHARES", (1.0, 4 / 7, 2 / 7))
        yield


@pytest.fixture(scope="module")
def students() -> list[Candidate]:
    return gathered(parse(TEACHER), tables(["mobilenet_v1", "mobilenet_v3", "efficientnet_lite"]), QUICK, 2)


@pytest.fixture(scope="module")
def small() -> list[Candidate]:
    """Two families for ten classes, without a teacher."""
    return gathered(None, tables(["mobilenet_v1", "mobilenet_v3"]), QUICK, 10)


def told(found: list[Candidate], budget: str, folder: Path | None = None, teacher: str | None = TEACHER, **more: Any) -> Any:
    limits = Budget.parse(budget) if budget else Budget()
    return planned(folder, found, limits, parse(teacher) if teacher else None, CLASSES, 1, **more)


def quantity(one: Candidate, name: str) -> float:
    size, latency = device(one)
    return {"size": size, "madds": one.madds, "params": one.params, "latency": latency}[name]


def fits(one: Candidate, limits: Budget) -> bool:
    size, latency = device(one)
    return limits.admits(size=size, madds=one.madds, params=one.params, latency=latency)


class TestOrder:
    def test_the_teacher_then_what_begins_with_weights_then_published_accuracy(self, students):
        assert [one.name for one in students[:2]] == [f"{TEACHER} as onnx", f"{TEACHER} as onnx-int8"]
        tiers = [tier_of(one) for one in students]
        assert tiers == sorted(tiers)
        assert {one.begins for one in students} >= {"itself", "inherits", "drawn"}
        assert all(one.table == "efficientnet_lite0" for one in students if one.begins in ("itself", "inherits"))

    def test_of_one_table_the_larger_goes_first(self, students):
        steps = [merit(one) // STEP for one in students if one.begins == "inherits" and one.top1]
        assert steps == sorted(steps, reverse=True)
        unknown = [one.madds for one in students if one.begins == "inherits" and one.top1 is None]
        assert len(unknown) > 4
        assert unknown == sorted(unknown, reverse=True)

    def test_where_all_else_is_alike_float_goes_before_int8(self, small):
        places = {one.name: place for place, one in enumerate(small)}
        assert all(places[f"{one.arch} as onnx"] < places[f"{one.arch} as onnx-int8"] for one in small)

    def test_without_a_teacher_a_better_published_network_goes_first_though_it_costs_less(self, small):
        by_name = {one.name: one for one in small}
        v3, v1 = by_name["mobilenet_v3_small as onnx"], by_name["mobilenet_v1x0.75@128 as onnx"]
        assert (v3.top1, v1.top1) == (67.4, 62.1)
        assert v3.madds < v1.madds
        assert order(v3) < order(v1)
        assert better(v3, v1) and not better(v1, v3)
        assert gain(v3, v1) == pytest.approx(5.3)
        said = replace(v1, top1=68.0, how="interpolated")  # as good as it is said to be only to about a point
        assert order(v3) < order(said)

    def test_what_was_explored_goes_before_what_is_published(self, small):
        poor = replace(small[-1], explored=0.8, rung=2)
        assert order(poor) < order(small[0])
        assert order(poor) < order(replace(small[0], explored=0.9, rung=1))
        assert order(replace(small[0], explored=0.9, rung=2)) < order(poor)

    def test_of_half_precision_files_a_weight_takes_two_bytes(self):
        one = search.weigh(parse("mobilenet_v1x0.5@64"), 10)
        assert estimate(one, "openvino-bf16") == estimate(one, "onnx-fp16") < 0.6 * estimate(one, "onnx")

    def test_weights_that_are_installed_count_only_where_they_may_be_used(self, monkeypatch):
        monkeypatch.setattr(plan_candidates, "installed", lambda _: True)
        teacher, other, narrow = parse(TEACHER), parse("mobilenet_v3_small@128"), parse("efficientnet_lite0x0.5@128")
        assert [beginning(teacher)(arch) for arch in (teacher, narrow, other)] == ["itself", "inherits", "published"]
        assert [beginning(teacher, "none")(arch) for arch in (teacher, narrow, other)] == ["itself", "inherits", "drawn"]
        drawn = gathered(teacher, ["mobilenet_v3_small"], QUICK, 2, weights="none")
        assert "published" not in {one.begins for one in drawn}

    def test_none_costs_more_than_the_teacher(self, students):
        assert max(one.madds for one in students) == students[0].madds


class TestChoice:
    @pytest.mark.parametrize("budget", ["", "latency<=5ms", "params<=100M"])
    def test_is_the_teacher_where_it_fits(self, budget, students, bench):
        assert told(students, budget)["chosen"]["arch"] == TEACHER
        assert len(bench.tried) == 1

    @pytest.mark.parametrize("latency", [2.0, 1.0, 0.7, 0.5, 0.3, 0.25])
    def test_a_latency_is_found_in_few_trials(self, latency, students, bench):
        found = told(students, f"latency<={latency}ms")["chosen"]
        assert found["latency"] <= latency
        assert len(bench.tried) <= TRIALS
        best = min((one for one in students if fits(one, Budget(latency=latency))), key=order)
        assert found["begins"] == best.begins
        assert (found["top1"] or 45) >= (best.top1 or 45) - 3

    def test_is_the_best_under_a_size(self, students):
        found = told(students, "size<=2MB")["chosen"]
        best = min((one for one in students if fits(one, Budget(size=2e6))), key=order)
        assert (found["arch"], found["target"]) == (best.arch, best.target)
        assert found["begins"] == "inherits"
        assert found["target"] == "onnx-int8"

    def test_of_many_without_a_teacher_too(self, small):
        found = told(small, "size<=1.5MB,madds<=40M", teacher=None)["chosen"]
        best = min((one for one in small if fits(one, Budget(size=1.5e6, madds=40e6))), key=order)
        assert found["top1"] >= best.top1 - 2 * STEP

    def test_a_limit_on_madds_needs_no_measurement_of_what_breaks_it(self, students, bench):
        assert told(students, "madds<=20M")["chosen"]["madds"] <= 20e6
        assert len(bench.tried) == 1

    def test_estimates_that_are_wrong_are_corrected_by_what_is_measured(self, small):
        bench = Bench(lambda one: (round(1.3 * one.estimate), 0.1))
        made = choose(small, Budget(size=1e6), bench, Known())
        assert made.chosen.size <= 1e6
        assert len(bench.tried) <= 4

    def test_a_measurement_that_something_disturbed_keeps_no_larger_network_out(self):
        shared = {"table": "t", "target": "onnx", "params": 1, "estimate": 1, "size": 1, "measured": True}
        slow = Candidate("t@32", madds=10_000_000, latency=9.0, **shared)
        quick = Candidate("t", madds=20_000_000, latency=1.0, **shared)
        between = Candidate("t@48", "t", "onnx", 15_000_000, 1, 1, 1)
        assert Known((slow, quick)).latency(between) == pytest.approx(0.8, abs=0.2)

    @pytest.mark.parametrize("budget", ["size<=1MB", "size<=1MB,madds<=30M"])
    def test_a_front_is_of_those_that_keep_the_budget(self, budget, small):
        found = told(small, budget, teacher=None)
        by_name = {f"{one['arch']} as {one['target']}": one for one in found["candidates"]}
        limits = Budget.parse(budget)
        fitting = [one for one in small if one.top1 is not None and fits(one, limits)]
        for what, names in found["fronts"].items():
            assert not any(by_name[name]["refusals"] for name in names)
            best = max(merit(one) for one in fitting)
            assert by_name[names[-1]]["top1"] - DOUBT[by_name[names[-1]]["how"]] > best - STEP, what

    def test_what_is_written_tells_the_choice_and_the_fronts(self, students, bench, tmp_path):
        found = told(students, "size<=2MB,latency<=1ms", tmp_path)
        written = read_json(tmp_path / "plan.json")
        assert written["chosen"] == found["chosen"] | {"refusals": []}
        names = {f"{one['arch']} as {one['target']}" for one in written["candidates"]}
        assert {name for front in written["fronts"].values() for name in front} <= names
        assert sum(one["measured"] for one in written["candidates"]) == len(bench.tried)
        assert sorted(file.name for file in tmp_path.iterdir()) == [FACTS, "plan.json"]


class TestKilled:
    def test_a_plan_that_was_killed_measures_nothing_twice_and_chooses_the_same(self, students, tmp_path):
        budget, whole = Budget(latency=0.5), Bench()
        undisturbed = choose(students, budget, whole, Known()).chosen
        assert len(whole.tried) > 2

        def dies(one: Candidate) -> tuple[int, float]:
            if len(first.tried) > 2:
                raise KeyboardInterrupt
            return device(one)

        first, second = Bench(dies), Bench()
        with pytest.raises(KeyboardInterrupt):
            choose(students, budget, remembering(first, tmp_path), Known())
        again = choose(students, budget, remembering(second, tmp_path), Known())
        assert again.chosen == undisturbed
        assert [one.name for one in first.tried[:2] + second.tried] == [one.name for one in whole.tried]


class TestBinds:
    @pytest.mark.parametrize("budget", ["size<=1MB,latency<=600us", "size<=1MB,madds<=20M", "params<=1M,latency<=2ms"])
    def test_what_the_next_better_one_needs_is_computed(self, budget, small):
        limits = Budget.parse(budget)
        found = told(small, budget, teacher=None, relax=2)
        chosen = next(one for one in small if one.name == f"{found['chosen']['arch']} as {found['chosen']['target']}")
        for bind in found["binds"]:
            name = bind["limit"]
            let_in = [one for one in small if better(one, chosen) and fits(one, replace(limits, **{name: None}))]
            let_in = [one for one in let_in if (gain(one, chosen) or STEP) >= STEP]
            needs = [quantity(one, name) for one in let_in]
            if not needs:
                assert bind["sentence"].endswith("does not bind: without it the same network is chosen")
                continue
            assert bind["sure"]
            assert min(needs) <= bind["needed"] <= 1.15 * min(needs)
            assert bind["ahead"] >= STEP
            assert bind["sentence"].startswith(f"{name}<=")
            assert "points of top-1" in bind["sentence"]
        assert any(bind["better"] for bind in found["binds"])

    def test_a_limit_that_keeps_nothing_better_out_does_not_bind(self, small):
        binds = told(small, "size<=1MB,params<=900M", teacher=None)["binds"]
        assert binds[1]["sentence"] == "params<=900M does not bind: without it the same network is chosen"
        assert binds[0]["better"] is not None

    def test_what_is_not_measured_is_said_to_be_about(self, small):
        (bind,) = told(small, "size<=1MB", teacher=None)["binds"]
        assert not bind["sure"]
        assert " binds: at about " in bind["sentence"]

    def test_limits_that_bind_only_together_are_told(self):
        def one(arch: str, madds: int, params: int, top1: float) -> Candidate:
            return Candidate(arch, arch, "onnx", madds, params, 100, 100, top1, "published")

        found = sorted([one("poor", 10, 10, 50.0), one("rich", 99, 99, 70.0)], key=order)
        made = choose(found, Budget(madds=20, params=20), Bench(lambda _: (100, 1.0)), Known())
        assert made.chosen.arch == "poor"
        assert [bind.better for bind in made.binds] == [None, None]
        assert made.together == ("madds", "params")


class TestNothingFits:
    @pytest.mark.parametrize(
        ("budget", "says"),
        [
            ("size<=1KB", r"the smallest of \d+ candidates is mobilenet_v1x0.25d0.5@64 as onnx-int8 with 1\d\d\.\dKB"),
            ("latency<=100us", r"the fastest of \d+ candidates is \S+ as onnx-int8 with .*latency \d+(\.\d+)?us is over 100us"),
            ("madds<=10K", r"the cheapest of \d+ candidates is .*\(madds .* is over 10K\)"),
            ("params<=10K", r"the leanest of \d+ candidates is .* is over 10K"),
        ],
    )
    def test_names_the_least_that_there_is(self, budget, says, small, bench):
        with pytest.raises(UserError, match=rf"nothing fits the budget {budget}: {says}.*; raise the limit$"):
            told(small, budget, teacher=None)
        assert len(bench.tried) <= TRIALS + 1

    @pytest.mark.parametrize("limits", [*combinations(["size<=1KB", "madds<=10K", "params<=10K", "latency<=1us"], 2)])
    def test_of_several_impossible_limits_names_the_least_of_each(self, limits, small):
        with pytest.raises(UserError) as refused:
            told(small, ",".join(limits), teacher=None)
        words = {"size": "smallest", "madds": "cheapest", "params": "leanest", "latency": "fastest"}
        assert all(f"the {words[limit.partition('<')[0]]} of" in str(refused.value) for limit in limits)
        assert str(refused.value).endswith("raise the limits")

    def test_limits_that_can_only_be_kept_alone_are_named_with_what_each_leaves(self, small):
        with pytest.raises(UserError) as refused:
            told(small, "size<=200KB,madds<=1.2M,latency<=90ms", teacher=None)
        assert "size and madds cannot be kept together (within madds<=1.2M the smallest is" in str(refused.value)
        assert "within size<=200KB the cheapest is mobilenet_v1x0.25d0.5@64" in str(refused.value)

    def test_after_the_trials_only_what_was_measured_is_said_not_to_fit(self, small):
        larger = Bench(lambda one: (round(max(one.estimate, 2_000_001)), 1.0))
        with pytest.raises(
            UserError, match=r"^none of the 2 that were measured, of \d+ candidates, fits the budget size<=2MB: the"
        ):
            choose(small, Budget(size=2e6), larger, Known(), trials=2)

    def test_the_size_that_is_named_was_measured(self, small):
        bench = Bench(lambda _: (777_777, 1.0))
        with pytest.raises(UserError, match=r"777\.8KB"):
            choose(small, Budget(size=1000), bench, Known())
        assert len(bench.tried) == 1


def table_of(device: str, target: str = "onnx", threads: int = 1) -> Table:
    """A device that takes a microsecond for every layer and 50 M MAdds a millisecond."""
    groups = ("conv 1x1", "conv", "depthwise 3x3", "depthwise 3x3 strided", "depthwise 5x5", "depthwise 5x5 strided")
    glue = {name: {"steps": 1e-3} for name in ("images", "add", "mean", "border", "squeeze", "pool", "linear")}
    models = {name: {"steps": 1e-3, "madds": 1 / 50} for name in groups} | glue
    return Table(
        device=device,
        runtime="onnxruntime 1",
        target=target,
        threads=threads,
        date="2026-01-01",
        probes=0,
        error=0.0,
        run_ms=0.05,
        models=models,
        measured=(),
    )


class TestTable:
    def test_of_another_device_decides_whatever_is_measured_here(self, bench):
        table = table_of("a small board")
        found = gathered(None, tables(["mobilenet_v1"]), ("onnx",), 10, table)
        made = told(found, "latency<=1ms", teacher=None, table=table)
        assert 0.8 < made["chosen"]["predicted"] <= 1.0
        assert made["chosen"]["latency"] == device(next(one for one in found if one.arch == made["chosen"]["arch"]))[1]
        assert made["device"] == "a small board"
        assert made["fronts"]["latency"]
        assert len(bench.tried) == 1
        (bind,) = made["binds"]
        assert bind["needed"] == bind["better"]["predicted"] > 1.0

    def test_of_this_machine_is_corrected_by_what_is_measured(self, bench, monkeypatch):
        monkeypatch.setattr(plan_stage, "device", lambda: "here")
        table = table_of("here")
        found = gathered(None, tables(["mobilenet_v1"]), ("onnx",), 10, table)
        made = told(found, "latency<=1ms", teacher=None, table=table)
        assert made["chosen"]["latency"] <= 1.0
        assert 2 <= len(bench.tried) <= 4

    def test_its_format_is_the_only_one(self):
        table = table_of("a small board", "onnx-int8")
        assert formats(None, table) == ("onnx-int8",)
        with pytest.raises(
            UserError, match="the latency table is of onnx-int8 on a small board and says nothing of onnx; give"
        ):
            formats(["onnx"], table)


class TestCommand:
    def plan(self, *words: str) -> int:
        return main(["plan", "--family", "mobilenet_v1", "mobilenet_v3", "--classes", "10", *words])

    def test_prints_the_choice_the_front_and_what_binds(self, capsys):
        assert self.plan("--budget", "size<=1MB") == 0
        shown = capsys.readouterr().out
        assert "may keep size<=1MB" in shown
        assert "as onnx-int8" in shown
        assert "size<=1MB binds: at " in shown
        assert shown.count(" onnx-int8 ") > 3
        assert "(i) interpolated, counts 1 point less" in shown

    def test_as_json_and_as_a_report_with_charts(self, bench, capsys, tmp_path):
        words = ("--budget", "size<=1MB,latency<=3ms", "--out", str(tmp_path / "out"))
        assert self.plan(*words, "--json") == 0
        assert '"sentence": "size<=1MB binds: at ' in capsys.readouterr().out
        page = (tmp_path / "out" / "report.html").read_text()
        assert page.count("<svg") == 2
        assert "The Pareto front against file size" in page
        assert "What the limits keep out" in page
        tried = len(bench.tried)
        assert self.plan(*words) == 0
        assert len(bench.tried) == tried  # done before, kept

    def test_the_impossible_is_one_sentence(self, capsys):
        assert self.plan("--budget", "size<=1KB") == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len([line for line in told if "nothing fits the budget size<=1KB: the smallest of" in line]) == 1

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--explore", "1"], "--explore is 1; it must be 2 or above"),
            (["--explore", "4"], "--explore and --data go together"),
            (["--explore", "4", "--data", "photos"], "give --out a directory"),
            (["--classes", "0"], "--classes is 0"),
            (["--to", "timm"], "no plan can be made for the format 'timm'"),
            (["--family", "vgg"], "no family is named 'vgg'"),
            (["--threads", "-1"], "threads is -1"),
        ],
    )
    def test_a_mistake_is_told_at_once(self, words, says, bench, capsys):
        assert self.plan("--budget", "size<=1MB", *words) == 2
        assert says in capsys.readouterr().err
        assert bench.tried == []

    def test_tensorboard_needs_a_run_to_lie_beside(self, bench, capsys):
        assert self.plan("--budget", "size<=1MB", "--tensorboard") == 2
        assert capsys.readouterr().err == "eyas plan: --tensorboard writes beside the run: give --out a directory\n"
        assert bench.tried == []

    @pytest.mark.parametrize("kept", [True, False])
    def test_stopped_it_goes_on_only_where_something_was_kept(self, kept, bench, capsys, tmp_path):
        def stopped(_: Candidate) -> tuple[int, float]:
            raise KeyboardInterrupt

        bench.answer = stopped
        assert self.plan("--budget", "size<=1MB", *(("--out", str(tmp_path / "out")) if kept else ())) == 130
        told = capsys.readouterr().err.splitlines()[-1]
        goes_on = "; give the same command again to go on from the last checkpoint"
        assert told == f"eyas plan: stopped{goes_on if kept else ''}"

    def test_a_table_of_other_threads_is_refused(self, capsys, tmp_path):
        table_of("a small board", threads=4).save(tmp_path / "table.json")
        assert self.plan("--budget", "size<=1MB", "--table", str(tmp_path / "table.json")) == 2
        assert "the latency table is of 4 threads, not of 1; give --threads 4" in capsys.readouterr().err
