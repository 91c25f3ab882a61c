"""The stage that plans: candidates gathered, explored where that is asked for, chosen, and told as plan.json."""

from collections.abc import Sequence
from dataclasses import asdict
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eyas.arch.budget import Budget
from eyas.arch.cost import cost
from eyas.arch.latency import Table
from eyas.arch.search import Weighed, dialled, front, seen_at, students, tables, weighed
from eyas.arch.spec import Arch
from eyas.deploy.time_models import device
from eyas.progress import say
from eyas.recipe import Training
from eyas.run import Run, write_json
from eyas.studies.learning import Start
from eyas.studies.plan_candidates import QUICK, STEP, Candidate, beginning, candidates, merit, order
from eyas.studies.plan_choice import TRIALS, Choice, choose
from eyas.studies.plan_explore import Proxy, Trainer, apply, explore, short_list
from eyas.studies.plan_known import Known, measuring, remembering
from eyas.studies.prepare import Data

SHOWN = 300  # candidates that plan.json tells of, besides those that were measured and those on a front
RULES = 3  # changes when the same request may be answered otherwise than before


def plan_student(
    run: Run,
    begin: Start,
    ready: Data,
    limits: Budget,
    threads: int,
    number: int = 0,
    training: Training = Training(),
    weights: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """The stage of a run in which the network is chosen that `begin`, the teacher, is to teach; what plan.json tells.

    Args:
        run: the stage goes there.
        begin: the teacher.
        ready: the data.
        limits: the budget.
        threads: that latency is measured with.
        number: of candidates that are trained briefly; 0: none.
        training: how, but for its length.
        weights: `none` begins them with drawn ones.
        seed: of the trainings.

    Raises:
        UserError: no candidate fits; what comes nearest is told.
    """
    teacher, classes = begin.arch, ready.classes
    found = gathered(teacher, tables(None), QUICK, len(classes), weights=weights)
    trainer = Trainer(run, ready, training, begin, weights, seed)
    proxies = explored(trainer, found, limits, threads, number) if number else {}
    asked = {"budget": str(limits), "teacher": str(teacher), "classes": classes, "threads": threads, "rules": RULES}
    asked |= {"drawn": weights == "none"}
    return run.stage(
        "plan",
        lambda folder: planned(folder, found, limits, teacher, classes, threads, proxies=proxies),
        **asked | ({"explored": list(proxies.values())} if proxies else {}),
    ).result


def gathered(
    teacher: Arch | None,
    names: Sequence[str],
    targets: Sequence[str],
    classes: int,
    table: Table | None = None,
    within: tuple[int, int] | None = None,
    weights: str = "auto",
) -> list[Candidate]:
    """All candidates, the preferred first.

    Args:
        teacher: what they are to learn from; None where there is none.
        names: of the tables.
        targets: the formats.
        classes: of the classifier.
        table: of the device's latencies.
        within: the largest side in pixels and output stride for the images that there are; None for any images.
        weights: `none`: a student begins with no published ones.
    """
    if teacher:
        most = cost(teacher, classes).madds  # one that is larger would learn from a weaker one
        networks = [one for one in weighed(students(teacher, names), classes) if one.madds <= most]
        return candidates(networks, targets, classes, beginning(teacher, weights), table)
    archs = seen_at(within[0], names, within[1]) if within else dialled(names)
    networks: list[Weighed] = weighed(archs, classes)
    return candidates(networks, targets, classes, lambda _: None, table)


def explored(trainer: Trainer, found: Sequence[Candidate], limits: Budget, threads: int, number: int) -> dict[str, Proxy]:
    """What brief trainings find of `number` candidates that may fit."""
    known = Known(threads=threads)
    names = short_list((one for one in found if known.hopeful(one, limits)), number)
    if len(names) < 2:
        say(f"{len(names) or 'no'} network may fit, and one is compared with nothing: no candidate is trained")
        return {}
    return explore(trainer, names)


def planned(
    folder: Path | None,
    found: Sequence[Candidate],
    limits: Budget,
    teacher: Arch | None,
    classes: Sequence[str],
    threads: int,
    table: Table | None = None,
    proxies: dict[str, Proxy] | None = None,
    trials: int = TRIALS,
    relax: int = 0,
) -> dict[str, Any]:
    """Choose, and tell all of it; what is measured is written into `folder` as it comes, and plan.json at the end.

    Args:
        folder: of the stage; None keeps nothing.
        found: all candidates.
        limits: the budget.
        teacher: whose dialect its own table is exported in.
        classes: of the classifier.
        threads: that latency is measured with.
        table: of the device's latencies.
        proxies: what brief trainings found, by architecture.
        trials: candidates that are measured to find one that fits.
        relax: candidates that are measured to be sure of what a higher limit would buy.

    Raises:
        UserError: nothing fits.
    """
    here, proxies = device(), proxies or {}
    known = Known(threads=threads, elsewhere=table is not None and table.device != here)
    ranked = sorted(apply(proxies, found), key=order)
    with TemporaryDirectory() as scratch:
        measure = remembering(measuring(teacher, classes, threads), folder or Path(scratch))
        choice = choose(ranked, limits, measure, known, trials, relax)
    made = fronts(choice)
    told = {
        "budget": str(limits),
        "classes": len(classes),
        "teacher": str(teacher) if teacher else None,
        "threads": threads,
        "device": table.device if table else here,
        "measured_on": here,
        "weighed": len(ranked),
        "fitting": sum(choice.known.hopeful(one, limits) for one in ranked),
        **choice.facts(),
        "fronts": made,
        "explored": [asdict(proxy) for proxy in proxies.values()],
        "candidates": [asdict(one) for one in shown(choice, made)],
    }
    if folder:
        write_json(folder / "plan.json", told)
    return told


def fronts(choice: Choice) -> dict[str, list[str]]:
    """The Pareto fronts within the budget: names of the candidates that keep it and that nothing cheaper which does is as
    good as, against each cost, the cheapest first.

    Good is published top-1 less what it is in doubt by, in steps of half a point; where nothing is published, MAdds in steps
    of a tenth. Latency has a front where a table predicts it.
    """
    known, every = choice.known, [one for one in choice.candidates if not one.refusals]
    rated = [one for one in every if one.top1 is not None]
    costs = ["size", *(["madds"] if rated else []), *(["latency"] if all(one.predicted for one in every) else [])]
    found = {}
    for what in costs:
        spent = {one.name: known.all(one)[what] for one in rated or every}
        made = front(
            rated or every,
            lambda one: merit(one) or log(one.madds),
            lambda one, spent=spent: spent[one.name],
            STEP if rated else log(1.1),
        )
        found[what] = [one.name for one in made]
    return found


def shown(choice: Choice, fronts: dict[str, list[str]]) -> list[Candidate]:
    """Candidates to tell of: the chosen, measured and relaxed ones, the fronts, and some of the rest evenly, in their order."""
    wanted = {name for names in fronts.values() for name in names} | {choice.chosen.name}
    wanted |= {bind.better.name for bind in choice.binds if bind.better}
    every = choice.candidates
    step = max(1, -(-len(every) // SHOWN))
    return [
        one
        for place, one in enumerate(every)
        if one.measured or one.explored is not None or one.name in wanted or place % step == 0
    ]
