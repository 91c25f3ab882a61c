"""`eyas plan`: which network fits a budget, and what each of its limits keeps out."""

from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from eyas.arch.budget import Budget
from eyas.arch.latency import Table
from eyas.arch.parse import parse
from eyas.arch.search import tables
from eyas.errors import UserError
from eyas.recipe import Splits, Training
from eyas.report.page import Report
from eyas.run import Run, plain, read_json, write_json
from eyas.studies.learning import Start, start
from eyas.studies.plan_candidates import formats
from eyas.studies.plan_explore import Trainer, check_count
from eyas.studies.plan_stage import RULES, explored, gathered, planned
from eyas.studies.prepare import Data, cache_of, choose_resolution, prepare
from eyas.studies.report_plan import plan_section
from eyas.studies.ship import sound
from eyas.studies.train import SMALL, STRIDE

TRIALS = 8  # candidates that are measured to find one that fits: more than in a run, which has other things to do
RELAX = 2  # candidates that are measured to be sure of what a higher limit would buy
LARGEST_STRIDE = 32


@dataclass(frozen=True)
class Planned:
    """What `eyas plan` found.

    Attributes:
        plan: the choice, the Pareto fronts, what binds, and the candidates that were looked at, as in plan.json.
        out: where it was written; None where nowhere.
        report: the page; None without `out`.
    """

    plan: dict[str, Any]
    out: Path | None
    report: Path | None


def plan(
    budget: str,
    family: list[str] | None = None,
    classes: int = 1000,
    teacher: str | None = None,
    table: str | None = None,
    to: list[str] | None = None,
    threads: int = 1,
    explore: int = 0,
    data: str | None = None,
    out: str | None = None,
    weights: str = "auto",
    training: Training = Training(),
    labels: int = 0,
    seed: int = 0,
    cache_dir: str = "auto",
) -> Planned:
    """Find the most accurate network that a budget admits, and what each limit keeps out.

    Args:
        budget: what the model file must keep, for example "size<=2MB,latency<=10ms".
        family: families or tables to choose from, for example mobilenet_v3 efficientnet_lite; all when left out.
        classes: of the classifier; with --data those of the data.
        teacher: plan for a student of this network, for example efficientnet_lite0@160.
        table: a latency table of the device, made by eyas measure --device-table.
        to: formats; the latency table's, or onnx and onnx-int8 when left out.
        threads: processor threads that latency is measured with; 0 lets the runtime choose.
        explore: train so many candidates briefly on --data, drop the worse half, and again, until one is left; 0: none.
        data: labelled images to explore with.
        out: directory for plan.json and report.html; the same command goes on with it.
        weights: what candidates begin with when explored: auto (those of an installed package) or none.
        training: how candidates are trained when explored; only its length is not taken.
        labels: explore with only so many labels besides those of the test split; 0 uses all.
        seed: what the splits and the trainings follow from.
        cache_dir: where prepared images are kept between runs; auto is the user's cache folder, none keeps none.

    Raises:
        UserError: nothing fits, or what was asked for cannot be planned.
    """
    asked = {"study": "plan", **{name: value for name, value in locals().items() if name != "cache_dir"}}
    limits, timed = Budget.parse(budget), Table.load(table) if table else None
    _check(threads, timed, explore, data, out, classes)
    targets, names = formats(to, timed), tables(family)
    begin = start(parse(teacher), weights) if teacher else None
    strong = begin.arch if begin else None
    with Run.open(out) if out else nullcontext() as run:
        within = _images(data, begin) if data else None
        if run is None:
            found = gathered(strong, names, targets, classes, timed, weights=weights)
            told = planned(None, found, limits, strong, _named(classes), threads, timed, trials=TRIALS, relax=RELAX)
            return Planned(plain(told), None, None)
        ready = _prepared(run, data, within[0], labels, seed, cache_dir, training) if data and within else None
        answers = ready.classes if ready else _named(classes)
        found = gathered(strong, names, targets, len(answers), timed, within, weights)
        trainer = Trainer(run, ready, training, begin, weights, seed) if ready else None
        proxies = explored(trainer, found, limits, threads, explore) if trainer else {}
        done = run.stage(
            "plan",
            lambda folder: planned(folder, found, limits, strong, answers, threads, timed, proxies, TRIALS, RELAX),
            budget=str(limits),
            tables=names,
            classes=answers,
            teacher=begin.facts if begin else None,
            table=read_json(Path(table)) if table else None,
            to=targets,
            threads=threads,
            drawn=weights == "none",
            explored=list(proxies.values()),
            rules=RULES,
        ).result
        write_json(run.path / "recipe.json", asked)
        title, text = f"Eyas plan: {run.path.resolve().name}", f"{done['chosen']['arch']} within {limits}"
        page = Report(title, text, (plan_section(done),), (), done).save(run.path)
    return Planned(done, Path(out or ""), page)


def _check(threads: int, table: Table | None, explore: int, data: str | None, out: str | None, classes: int) -> None:
    """Whether what was asked for can be planned.

    Raises:
        UserError: it cannot.
    """
    sound(threads)
    if classes < 1:
        raise UserError(f"--classes is {classes}; it must be 1 or above")
    if table and table.threads != threads:
        raise UserError(f"the latency table is of {table.threads} threads, not of {threads}; give --threads {table.threads}")
    check_count(explore)
    if bool(explore) != bool(data):
        raise UserError("--explore and --data go together: candidates are explored by training them on labelled images")
    if explore and not out:
        raise UserError("--explore trains, and what is trained is kept in a run: give --out a directory")
    missing = [package for package in ("altair", "vl_convert") if out and find_spec(package) is None]
    if missing:
        raise UserError(f"--out writes a report, and needs {', '.join(missing)}: pip install 'eyas[report]'")


def _named(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


def _images(data: str, begin: Start | None) -> tuple[int, int]:
    """The side that images of this data are seen at, and the output stride that suits it."""
    side = begin.arch.resolution if begin else choose_resolution(data, torch.cuda.is_available())
    return side, STRIDE if side <= SMALL else LARGEST_STRIDE


def _prepared(run: Run, data: str, side: int, labels: int, seed: int, cache_dir: str, training: Training) -> Data:
    return prepare(run, data, None, labels, Splits(), side, seed, False, cache_of(cache_dir), view=training.test_crop)
