"""The whole of self-training again with other seeds: is it the pile that helped, or luck?"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from eyas.data.batches import Examples
from eyas.data.manifest import Split
from eyas.nn.weights import load_network
from eyas.run import Done, Run
from eyas.studies.answering import correct, probabilities
from eyas.studies.learning import MODEL
from eyas.studies.noisy_student import Course, named
from eyas.studies.prepare import Data
from eyas.studies.proof import accuracy_seeds, compare_seeds, judged

Answered = dict[str, Bool[np.ndarray, "trainings n"]]


def over_seeds(run: Run, courses: list[Course], data: Data) -> Course:
    """The first course, each round with the verdict over all seeds that came so far; of one seed as it is."""
    if len(courses) == 1:
        return courses[0]
    found = _stage(run, "seeds/validation", courses, data, lambda: _verdicts(courses, data)).result
    first = courses[0]
    rounds = tuple(replace(each, verdict=new or each.verdict) for each, new in zip(first.rounds, found["rounds"], strict=True))
    second = replace(first.second, verdict=found["second"]) if first.second and found["second"] else first.second
    return replace(first, rounds=rounds, second=second)


def test_over_seeds(run: Run, courses: list[Course], data: Data) -> dict[str, Any]:
    """The mean accuracy over seeds of every network that all of them have, on the test split."""
    return _stage(run, "seeds/test", courses, data, lambda: _scores(_answered(courses, data, "test"))).result


def _stage(run: Run, name: str, courses: list[Course], data: Data, make: Callable[[], dict[str, Any]]) -> Done:
    networks = [{name: done.digest for name, done in course.networks.items()} for course in courses]
    return run.stage(name, lambda _: make(), networks=networks, data=data.digest)


def _verdicts(courses: list[Course], data: Data) -> dict[str, Any]:
    """A verdict for each round of the first course; none for one that not all seeds have."""
    answered = _answered(courses, data, "validation")

    def verdict(student: str, control: str, teacher: str) -> dict[str, Any] | None:
        if student not in answered:
            return None
        gains = [compare_seeds(answered[student], answered[other]) for other in (control, teacher)]
        return judged(*gains, seeds=len(courses))

    numbers = range(1, len(courses[0].rounds) + 1)
    teachers = ["teacher", *(named("student", number) for number in numbers)]
    rounds = [verdict(named("student", n), named("control", n), teacher) for n, teacher in zip(numbers, teachers, strict=False)]
    against = "fixmatch-control" if "fixmatch-control" in answered else "control"
    return {"rounds": rounds, "second": verdict("fixmatch", against, "teacher"), "accuracy": _scores(answered)}


def _answered(courses: list[Course], data: Data, split: Split) -> Answered:
    """Which images each network answered rightly, a row a seed."""
    examples = data.examples(split)
    common = [name for name in courses[0].networks if all(name in course.networks for course in courses)]
    return {name: np.stack([_right(course.networks[name], examples) for course in courses]) for name in common}


def _right(done: Done, examples: Examples) -> Bool[np.ndarray, " n"]:
    return correct(probabilities(load_network(done.folder / MODEL)[0], examples), examples)


def _scores(answered: Answered) -> dict[str, Any]:
    return {name: {**asdict(accuracy_seeds(rows)), "each": rows.mean(1).tolist()} for name, rows in answered.items()}
