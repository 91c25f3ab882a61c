"""The report of attributes: average precision of each, and how often each is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from eyas.data.batches import Examples
from eyas.data.manifest import SPLITS
from eyas.report import charts
from eyas.report.charts import Axis
from eyas.report.items import Cell, Gallery, Item, Number, Section, Table, Text
from eyas.studies.attributes import Attributed
from eyas.studies.card import EXPORT, ROBUST, About
from eyas.studies.evidence import percent
from eyas.studies.evidence_tasks import TaskRun
from eyas.studies.report_augment import Shown, Target
from eyas.studies.report_data import CLASSES, spread, summed
from eyas.studies.report_words import between, by_teacher, listing, ranged, shorter, taught

PICTURES = 16
NOTE = (
    "Area under precision over recall, in steps. Intervals are of 1,000 bootstrap resamples of the images, all attributes of "
    "an image together. An answer drawn at random would have the share that has it."
)


@dataclass(frozen=True)
class AttributeWords:
    """A run that learned attributes (`Words`)."""

    found: TaskRun
    measure: ClassVar[str] = "Mean average precision"
    figure: ClassVar[str] = "map"
    tested: ClassVar[Axis] = Axis("Mean average precision", "%")
    heading: ClassVar[str] = "Average precision"

    def subject(self) -> str:
        """What was learned."""
        return f"{len(self.found.outputs):,} attributes"

    def sentence(self) -> str:
        """What the trained network does on the test split."""
        told = self.found.tested
        mean, constant = told["mean"], told["constant"]
        left = f" {self._constant(constant)}" if constant else ""
        return (
            f"{self.found.arch} tells {mean['there']:,} attributes of {mean['images']:,} test images with a mean average "
            f"precision of {percent(mean['value'])} ({between(mean)}).{left}"
        )

    def numbers(self, whose: str) -> tuple[Number, ...]:
        """The mean, and the attribute that is told worst."""
        told = self.found.scored
        mean, each = told["mean"], told["each"]
        worst = min(each, key=lambda name: each[name]["value"])
        return (
            Number(f"Test mAP of {whose}", percent(mean["value"]), f"{between(mean)}, {mean['images']:,} images"),
            Number("Told worst", percent(each[worst]["value"]), f"{worst}; {between(each[worst])}"),
        )

    def score(self, tested: Mapping[str, Any]) -> Mapping[str, float]:
        """Mean average precision."""
        return tested["mean"]

    def results(self, whose: str) -> tuple[Item, ...]:
        """Average precision of each attribute."""
        told = self.found.scored
        each = sorted(told["each"].items(), key=lambda item: -item[1]["value"])
        dots = [(name, one["value"], one["low"], one["high"], "attribute") for name, one in each[:CLASSES]]
        rows: list[tuple[Cell, ...]] = [
            (name, ranged(one), one["there"], one["images"], percent(one["there"] / one["images"])) for name, one in each
        ]
        rows += [(name, None, None, None, None) for name in told["constant"]]
        columns = ("attribute", "average precision (95 % interval)", "test images that have it", "known of", "share")
        shown, more = shorter(rows, CLASSES, "attributes")
        left = f" {self._constant(told['constant'])}" if told["constant"] else ""
        title = f"Average precision of each attribute: {whose}"
        return (
            charts.intervals(title, dots, Axis("Average precision", "%"), "Lines are 95 % intervals."),
            Table(title, columns, shown, f"{NOTE}{left}{more}"),
        )

    def data(self) -> tuple[Item, ...]:
        """A summary, pictures with their attributes, and how many images have each."""
        summary = summed(self.found, f"with {self.subject()}")
        return (Text(summary), self._samples(), self._counts())

    def pictured(self) -> tuple[Examples, Shown]:
        """The training images, captioned with their attributes."""
        return self._attributed.examples("train"), Shown(self._caption)

    def learned_from(self) -> dict[str, str]:
        """The labels, or a teacher's answers."""
        return {"model": by_teacher(self.found)}

    def lesson(self) -> str:
        """Who taught the network, where somebody did."""
        return taught(self.found, "probabilities")

    def pile(self) -> tuple[Section, ...]:
        """Nothing: a teacher's probabilities are not kept."""
        return ()

    def about(self) -> About:
        """What the model card says."""
        told = self.found.scored
        mean = told["mean"]
        rows = [("mean", ranged(mean)), *((name, ranged(one)) for name, one in told["each"].items())]
        worst = min(told["each"], key=lambda name: told["each"][name]["value"])
        return About(
            task="telling attributes, each there or not",
            knows=f"Attributes: {', '.join(self.found.outputs)}",
            use=(
                f"To tell which of {self.subject()} images like those of `{self.found.recipe['data']}` show. It answers with a "
                "probability of each to any image, also to one of another kind."
            ),
            pile=self.lesson(),
            evaluation=Table(
                "Average precision on the test split",
                ("attribute", "average precision (95 % interval)"),
                tuple(rows),
                f"{mean['images']:,} test images, no choice was made on them; intervals are of a bootstrap over images.",
            ),
            limits=(
                f"Measured on {mean['images']:,} test images of the same source as the training images; other images were not "
                "measured.",
                f"The attribute told worst is {worst}: an average precision of {percent(told['each'][worst]['value'])}.",
                *([self._constant(told["constant"])] if told["constant"] else []),
                ROBUST,
                "Which probability to act on is not chosen here: average precision is over all thresholds.",
            ),
            answer="the probability of each attribute",
            none=EXPORT,
        )

    @cached_property
    def _attributed(self) -> Attributed:
        return Attributed(self.found.data, self.found.outputs, tuple(self.found.recipe["columns"]))

    def _constant(self, names: list[str]) -> str:
        which = "is" if len(names) == 1 else "are"
        return f"{listing(names)} {which} the same for all test images: nothing ranks that, and it is no part of the mean."

    def _caption(self, target: Target) -> str:
        there = [name for name, value in zip(self.found.outputs, target, strict=True) if value >= 0.5]
        return listing(there, 5) if there else "none of them"

    def _samples(self) -> Gallery:
        examples, store = self._attributed.examples("train"), self.found.data.store
        rows = spread(list(range(len(examples))), PICTURES)
        shown = [(store[int(examples.positions[row])], self._caption(examples.targets[row])) for row in rows]
        note = "From the training split, at the size that they are prepared at, with what is there."
        return Gallery("Labelled images", tuple(shown), note)

    def _counts(self) -> Table:
        targets = {split: self._attributed.examples(split).targets for split in SPLITS}
        every = np.concatenate(list(targets.values()))
        rows: list[tuple[Cell, ...]] = []
        for place, name in enumerate(self.found.outputs):
            there = [int((of[:, place] >= 0.5).sum()) for of in targets.values()]
            known = int((~np.isnan(every[:, place])).sum())
            rows.append((name, *there, percent(sum(there) / known) if known else None, len(every) - known))
        rows.append(("all images", *map(len, targets.values()), None, None))
        shown, more = shorter(rows[:-1], CLASSES, "attributes")
        note = f"Share: of the images that it is known of.{more}"
        columns = ("attribute", *targets, "share", "unknown of")
        return Table("Images with each attribute by split", columns, (*shown, rows[-1]), note)
