"""What a report asks of a task: its result, its data and its pictures in its own words; and how such figures are written."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eyas.data.batches import Examples
from eyas.report.charts import Axis
from eyas.report.items import Cell, Item, Number, Section
from eyas.studies.card import About
from eyas.studies.evidence import percent
from eyas.studies.evidence_tasks import TaskRun
from eyas.studies.report_augment import Shown


@runtime_checkable
class Words(Protocol):
    """A finished run of one task in the words of that task: one implementation for each."""

    @property
    def measure(self) -> str:
        """What networks are chosen by, for example "Mean average precision"."""
        ...

    @property
    def figure(self) -> str:
        """Its name in the logs."""
        ...

    @property
    def tested(self) -> Axis:
        """What `score` is, and its unit."""
        ...

    @property
    def heading(self) -> str:
        """Of the section with the results."""
        ...

    def subject(self) -> str:
        """What was learned, for the page's line under the title."""
        ...

    def sentence(self) -> str:
        """What the trained network does on the test split, with its interval."""
        ...

    def numbers(self, whose: str) -> tuple[Number, ...]:
        """The headline figures of what is shown."""
        ...

    def score(self, tested: Mapping[str, Any]) -> Mapping[str, float]:
        """Value, low and high of the task's own measure, of one test."""
        ...

    def results(self, whose: str) -> tuple[Item, ...]:
        """The figures of what is shown, part by part."""
        ...

    def data(self) -> tuple[Item, ...]:
        """What the labels are: a summary, pictures, counts by split."""
        ...

    def pictured(self) -> tuple[Examples, Shown]:
        """The training images, and how one is shown with its labels."""
        ...

    def learned_from(self) -> dict[str, str]:
        """What each network learned from, in a cell of a table."""
        ...

    def lesson(self) -> str:
        """The same in sentences, where somebody else's answers were learned; "" where the labels were."""
        ...

    def pile(self) -> tuple[Section, ...]:
        """What the unlabelled images were given, where they were given anything that can be shown."""
        ...

    def about(self) -> About:
        """What the model card says of the task."""
        ...


def between(found: Mapping[str, float]) -> str:
    """`95 % interval 82.3 to 87.7 %`."""
    return f"95 % interval {100 * found['low']:.1f} to {percent(found['high'])}"


def ranged(found: Mapping[str, float]) -> str:
    """`85.2 % (82.3 to 87.7)`."""
    return f"{100 * found['value']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def points(change: Mapping[str, float]) -> str:
    """`-0.3 (-0.9 to +0.2)`."""
    return f"{change['points']:+.1f} ({change['low']:+.1f} to {change['high']:+.1f})"


def listing(names: Sequence[str], most: int = 8) -> str:
    """`a, b and 3 more`."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def shorter(rows: Sequence[tuple[Cell, ...]], most: int, what: str) -> tuple[tuple[tuple[Cell, ...], ...], str]:
    """The first rows of a long table, and what its note says of the others."""
    return tuple(rows[:most]), f" The first {most} of {len(rows)} {what}." if len(rows) > most else ""


def by_teacher(found: TaskRun) -> str:
    """What a student learned from, in a cell of a table; the labels where nobody taught it."""
    if found.recipe["teacher"] is None:
        return "the labels"
    if found.recipe["unlabeled_only"]:
        return "answers of the teacher to unlabelled images alone"
    return f"answers of the teacher to labelled {'and unlabelled ' * (found.pile is not None)}images"


def taught(found: TaskRun, answers: str) -> str:
    """Who taught a student its `answers` ("vectors"), on which images; "" where nobody did."""
    teacher = found.recipe["teacher"]
    if teacher is None:
        return ""
    parts = {"labelled training": 0 if found.recipe["unlabeled_only"] else found.data.findings["splits"]["train"]}
    parts["unlabelled"] = len(found.pile) if found.pile is not None else 0
    images = " and ".join(f"{count:,} {kind}" for kind, count in parts.items() if count)
    return (
        f"`{teacher}` was the teacher: the network learnt its {answers} of {images} images. No label was looked at in "
        f"training; those of the validation images chose the best weights.{_seen(found)}"
    )


def _seen(found: TaskRun) -> str:
    """A warning where the teacher knew held-out images of its student."""
    saw, splits = found.stages["model"].result.get("teacher_saw") or {}, found.data.findings["splits"]
    counts = " and ".join(f"{count:,} of {splits[split]:,} {split} images" for split, count in saw.items() if count)
    return f" **It had seen {counts} in its own training: figures on them are too good.**" if counts else ""
