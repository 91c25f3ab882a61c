"""Successive halving: brief trainings whose accuracy is made up, and one that is real."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eyas.arch.budget import Budget
from eyas.arch.parse import parse
from eyas.cli import main
from eyas.progress import listening
from eyas.recipe import Augment, Splits, Training
from eyas.run import Run, read_json
from eyas.studies import plan_explore, plan_stage
from eyas.studies.learning import start
from eyas.studies.plan_candidates import Candidate
from eyas.studies.plan_explore import STEPS, Trainer, explore, rungs, short_list
from eyas.studies.plan_stage import plan_student
from eyas.studies.prepare import Data, prepare
from tests.scenes import write_scenes

FAST = Training(epochs=1, min_steps=1, batch=8, norm_momentum=0.3, augment=Augment(operations=0, crop=1))
ARCHS = [f"mobilenet_v1x{width}@32/16" for width in (0.25, 0.35, 0.5, 0.75)]


class Told:
    """A listener that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, label: str, total: int | None) -> None:
        pass

    def advance(self, label: str, done: int, note: str) -> None:
        pass

    def end(self, label: str) -> None:
        pass

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_scenes(tmp_path_factory.mktemp("explored"), 12))


@pytest.fixture
def ready(photos: str, tmp_path: Path) -> Any:
    with Run.open(tmp_path / "run") as run:
        yield run, prepare(run, photos, None, 0, Splits(), 32, 0, to_train=False)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was trained, and for how many steps, where the wider network does better but the widest is a flash in the pan."""
    asked: list[tuple[str, int]] = []

    def learn(_: Path, network: Any, lesson: Any, __: Data) -> dict[str, Any]:
        asked.append((str(network.arch), lesson.steps))
        width = network.arch.width
        return {"validation": 0.6 if width == 0.75 and lesson.steps > STEPS else 0.5 + width / 2}

    monkeypatch.setattr(plan_explore, "learn", learn)
    return asked


def trainer(run: Run, data: Data, **more: Any) -> Trainer:
    return Trainer(**{"run": run, "data": data, "training": FAST, "teacher": None, "weights": "none", "seed": 0} | more)


def test_each_rung_has_half_the_networks_and_twice_the_steps():
    assert rungs(8, 50) == [(8, 50), (4, 100), (2, 200)]
    assert rungs(5, 10) == [(5, 10), (3, 20), (2, 40)]
    assert rungs(1) == []


def test_the_short_list_takes_turns_among_the_tables():
    def one(arch: str, target: str = "onnx") -> Candidate:
        return Candidate(arch, arch.partition("x")[0], target, 1, 1, 1, 1)

    found = [one("a"), one("a", "onnx-int8"), one("ax0.9"), one("ax0.8"), one("b"), one("c"), one("cx0.5")]
    assert short_list(found, 4) == ["a", "b", "c", "ax0.9"]
    assert short_list(found, 99) == ["a", "b", "c", "ax0.9", "cx0.5", "ax0.8"]


def test_the_worse_half_is_dropped_and_the_rest_trained_anew_for_longer(ready, trained):
    found = explore(trainer(*ready), ARCHS)
    assert trained == [*((arch, STEPS) for arch in ARCHS), (ARCHS[3], 2 * STEPS), (ARCHS[2], 2 * STEPS)]
    assert {name: proxy.rung for name, proxy in found.items()} == {ARCHS[0]: 1, ARCHS[1]: 1, ARCHS[2]: 2, ARCHS[3]: 2}
    assert max(found.values(), key=lambda proxy: (proxy.rung, proxy.validation)).arch == ARCHS[2]


@pytest.mark.usefixtures("trained")
def test_the_cost_is_told_beforehand(ready):
    told = Told()
    with listening(told):
        explore(trainer(*ready), ARCHS)
    first = next(line for line in told.lines if line.startswith("exploring"))
    assert re.fullmatch(r"exploring 4 networks for 50 steps, then 2 networks for 100 steps; about \d+ (s|min) in all", first)


def test_what_was_trained_before_a_kill_is_not_trained_again(ready, trained, monkeypatch):
    made = plan_explore.learn
    done = 0

    def dies(*given: Any) -> dict[str, Any]:
        nonlocal done
        done += 1
        if done == 4:
            raise KeyboardInterrupt
        return made(*given)

    monkeypatch.setattr(plan_explore, "learn", dies)
    with pytest.raises(KeyboardInterrupt):
        explore(trainer(*ready), ARCHS)
    explore(trainer(*ready), ARCHS)
    assert len(trained) == 6


def test_a_narrower_network_begins_with_what_it_inherits(ready, monkeypatch):
    teacher = start(parse("efficientnet_lite0@64"))
    if not teacher.weights:
        pytest.skip("no published weights are installed")
    seen: list[str] = []
    monkeypatch.setattr(plan_explore, "learn", learn_names(seen))
    inherited: list[str] = []
    monkeypatch.setattr(plan_explore, "inherit", lambda narrow, _: inherited.append(str(narrow.arch)))
    explore(trainer(*ready, teacher=teacher, weights="auto"), ["efficientnet_lite0x0.5@64", "mobilenet_v1x0.25@64"])
    assert seen == ["efficientnet_lite0x0.5@64", "mobilenet_v1x0.25@64"]
    assert inherited == ["efficientnet_lite0x0.5@64"]


def learn_names(seen: list[str]) -> Callable[..., dict[str, Any]]:
    def learn(_: Path, network: Any, __: Any, ___: Data) -> dict[str, Any]:
        seen.append(str(network.arch))
        return {"validation": 0.5}

    return learn


def test_what_is_found_decides_the_plan_of_a_student(ready, monkeypatch):
    """A table that would begin with drawn weights is taken, because the brief training found it better."""

    def learn(_: Path, network: Any, __: Any, ___: Data) -> dict[str, Any]:
        return {"validation": 0.9 if network.arch.name == "mobilenet_v2" else 0.6}

    monkeypatch.setattr(plan_explore, "learn", learn)
    monkeypatch.setattr(plan_stage, "measuring", lambda *_: lambda one: (round(one.estimate), 0.1))
    run, data = ready
    begin = start(parse("mobilenet_v1@32/16"), "none")
    plain = plan_student(run, begin, data, Budget(size=1.5e6), 1)
    found = plan_student(run, begin, data, Budget(size=1.5e6), 1, 6, FAST, "none")
    assert plain["chosen"]["table"] == "mobilenet_v1"
    assert found["chosen"]["table"] == "mobilenet_v2"
    assert found["chosen"]["explored"] == 0.9
    assert {one["arch"] for one in found["explored"]} > {found["chosen"]["arch"]}


def test_a_real_exploration_through_the_command(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan_stage, "measuring", lambda *_: lambda one: (round(one.estimate), 0.1))
    words = ["plan", "--family", "mobilenet_v1", "--budget", "size<=900KB", "--data", photos, "--explore", "2"]
    words += ["--out", str(tmp_path / "out"), "--cache_dir", "none", "--training.batch", "8"]
    monkeypatch.setattr(plan_explore.explore, "__defaults__", (3,))
    assert main(words) == 0
    assert "of the validation images after a brief training" in capsys.readouterr().out
    made = read_json(tmp_path / "out" / "plan" / "plan.json")
    assert len(made["explored"]) == 2
    assert made["chosen"]["arch"] in {one["arch"] for one in made["explored"]}
    assert "Brief trainings on these images" in (tmp_path / "out" / "report.html").read_text()
    assert main(words) == 0
    assert "done before, kept" in capsys.readouterr().err
