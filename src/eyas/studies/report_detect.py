"""The report of detection: average precision of each class, boxes by split, and those that the pile was given."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from eyas.data.batches import Examples
from eyas.data.boxes import read_boxes, unpack
from eyas.data.manifest import SPLITS, Manifest, Split
from eyas.deploy.boxes import COLOURS
from eyas.report import charts
from eyas.report.charts import Axis
from eyas.report.items import Cell, Gallery, Item, Number, Section, Table, Text
from eyas.studies.card import EXPORT, ROBUST, About
from eyas.studies.detection import box_examples
from eyas.studies.evidence import percent
from eyas.studies.evidence_tasks import TaskRun
from eyas.studies.report_augment import Pixels, Shown, Target
from eyas.studies.report_data import CLASSES, spread, summed
from eyas.studies.report_words import between, listing, ranged, shorter
from eyas.studies.train_detect import PSEUDO

FORMS = {"ssd": "SSD", "ssdlite": "SSDLite", "faster_rcnn": "Faster R-CNN"}
PICTURES = 16
SIDE = 224  # pixels of the longer side of a picture with boxes: small ones are enlarged, so that frames can be seen
NO_FILE = "No file was exported: which regions a Faster R-CNN looks at again depends on the image, so it is no graph of a file."
NOTE = (
    "COCO's figures: average precision at 101 recalls, mean over overlaps of 0.5 to 0.95. The interval of the mean is of 1,000 "
    "bootstrap resamples of the images; a class has none."
)


@dataclass(frozen=True)
class DetectWords:
    """A run that learned boxes (`Words`)."""

    found: TaskRun
    measure: ClassVar[str] = "Mean average precision"
    figure: ClassVar[str] = "map"
    tested: ClassVar[Axis] = Axis("Mean average precision", "%")
    heading: ClassVar[str] = "Average precision"

    def subject(self) -> str:
        """What was learned."""
        return f"boxes of {len(self.found.outputs):,} classes"

    def sentence(self) -> str:
        """What the trained detector does on the test split."""
        tested = self.found.tested
        mean = tested["mean"]
        return (
            f"{self._form} on {self.found.arch} finds {tested['things']:,} things in {mean['images']:,} test images with a "
            f"COCO mAP of {percent(mean['value'])} ({between(mean)}); at an overlap of 0.5 it is {percent(tested['at_50'])}, "
            f"at 0.75 {percent(tested['at_75'])}."
        )

    def numbers(self, whose: str) -> tuple[Number, ...]:
        """COCO's mAP, AP50 and AP75."""
        tested = self.found.scored
        mean = tested["mean"]
        return (
            Number(f"Test mAP of {whose}", percent(mean["value"]), f"{between(mean)}, {mean['images']:,} images"),
            Number("AP50", percent(tested["at_50"]), "at an overlap of 0.5"),
            Number("AP75", percent(tested["at_75"]), "at an overlap of 0.75"),
        )

    def score(self, tested: Mapping[str, Any]) -> Mapping[str, float]:
        """COCO's mean average precision."""
        return tested["mean"]

    def results(self, whose: str) -> tuple[Item, ...]:
        """Average precision of each class."""
        tested = self.found.scored
        trained, there = self._boxes["train"], self._boxes["test"]
        each = sorted(tested["classes"].items(), key=lambda item: -1 if item[1] is None else item[1], reverse=True)
        rows: list[tuple[Cell, ...]] = [
            (name, None if value is None else percent(value), there[name], trained[name]) for name, value in each
        ]
        shown, more = shorter(rows, CLASSES, "classes")
        known = [(name, value, "class") for name, value in each[:CLASSES] if value is not None]
        title = f"Average precision of each class: {whose}"
        columns = ("class", "average precision", "test boxes", "training boxes")
        table = Table(title, columns, shown, f"{NOTE}{self._lost()}{more}")
        return (*([charts.bars(title, known, Axis("Average precision", "%"))] if known else []), table)

    def data(self) -> tuple[Item, ...]:
        """A summary, pictures with their boxes, and how many boxes there are by class and split."""
        manifest = self.found.data.manifest
        summary = summed(self.found, f"with {self.subject()}")
        read = read_boxes(manifest, self.found.data.store, self.found.outputs)
        said = f" {read.said[0].upper()}{read.said[1:]}." if read.said else ""
        without = sum(not boxes for boxes in manifest.column("boxes"))
        empty = f" {without:,} images have no box; that nothing is there is learned too." if without else ""
        note = "From the training split, with the boxes that are learned."
        gallery = _pictures("Labelled images", self._some, self._shown, note)
        return (Text(summary + said + empty), gallery, self._counts())

    def pictured(self) -> tuple[Examples, Shown]:
        """Some training images with their boxes."""
        return self._some, self._shown

    def learned_from(self) -> dict[str, str]:
        """The labels, and where there is a pile the boxes of a first detector."""
        if self.found.pseudo is None:
            return {"model": "the labels"}
        some = self.found.pseudo.result["images"]
        return {"teacher": "the labels", "model": "the labels and boxes of the first detector" if some else "the labels"}

    def lesson(self) -> str:
        """What the first detector was for, where there was one."""
        if self.found.pseudo is None:
            return ""
        return (
            "The first detector learned from the labels alone, and gave unlabelled images the boxes that it was sure of; the "
            "trained one began anew and learned from both, in proportion to their numbers. No control was trained: whether "
            "the unlabelled images helped is not proven."
        )

    def pile(self) -> tuple[Section, ...]:
        """The boxes that unlabelled images were given."""
        pseudo, pile = self.found.pseudo, self.found.pile
        if pseudo is None or pile is None:
            return ()
        images, boxes, score = pseudo.result["images"], pseudo.result["boxes"], self.found.recipe["detection"]["score"]
        text = f"The first detector found {boxes:,} boxes of a score of {score:g} or above in {images:,} of {len(pile):,} "
        text += "unlabelled images."
        if not images:
            return (Section("What the pile was given", (Text(f"{text} So the trained one learned from the labels alone."),)),)
        assert self.found.data.pile_store is not None
        rows = Manifest.load(pseudo.folder / PSEUDO)
        examples = box_examples(_spread(rows), self.found.data.pile_store, self.found.outputs, labelled=False)
        counts = Counter(box["label"] for of in rows.column("boxes") for box in of)
        table, more = shorter([(name, counts[name]) for name in self.found.outputs], CLASSES, "classes")
        left = " Images without such a box were left out: that nothing is in them is what a detector knows least."
        gallery = _pictures("Unlabelled images with their boxes", examples, self._shown, "As the first detector found them.")
        by_class = Table("Boxes of the pile by class", ("class", "boxes"), table, more.strip())
        return (Section("What the pile was given", (Text(text + left), gallery, by_class)),)

    def about(self) -> About:
        """What the model card says."""
        tested = self.found.scored
        mean = tested["mean"]
        rows = [("mAP, overlaps of 0.5 to 0.95", ranged(mean)), ("AP50", percent(tested["at_50"]))]
        rows += [("AP75", percent(tested["at_75"]))]
        rows += [(name, percent(value)) for name, value in tested["classes"].items() if value is not None]
        known = {name: value for name, value in tested["classes"].items() if value is not None}
        worst = [f"The class found worst is {min(known, key=lambda name: known[name])}."] if known else []
        return About(
            task=f"detection ({self._form})",
            knows=f"Classes: {', '.join(self.found.outputs)}",
            use=(
                f"To find things of {len(self.found.outputs):,} classes in pictures like those of "
                f"`{self.found.recipe['data']}`. What is of another class is not found, or taken for one of them."
            ),
            pile=self.lesson(),
            evaluation=Table(
                "Average precision on the test split",
                ("what", "average precision (95 % interval)"),
                tuple(rows),
                f"{tested['things']:,} things in {mean['images']:,} test images, no choice was made on them. {NOTE}",
            ),
            limits=(
                f"Measured on {mean['images']:,} test images of the same source as the training images; other images were not "
                "measured.",
                *worst,
                *([self._lost().strip()] if self._lost() else []),
                ROBUST,
                self._believed(),
            ),
            answer="the boxes that were found",
            none=NO_FILE if self._form == FORMS["faster_rcnn"] else EXPORT,
        )

    @property
    def _form(self) -> str:
        return FORMS[self.found.stages["model"].result["form"]]

    @cached_property
    def _some(self) -> Examples:
        return box_examples(_spread(self.found.data.rows("train")), self.found.data.store, self.found.outputs)

    @cached_property
    def _boxes(self) -> dict[Split, Counter[str]]:
        """Boxes around single things by split and class, as they are learned and judged."""
        return {split: self._by_class(split) for split in SPLITS}

    @property
    def _shown(self) -> Shown:
        names = self.found.outputs

        def caption(target: Target) -> str:
            counts = Counter(int(row[4]) for row in unpack(target))
            told = [f"{count} {names[number]}" for number, count in sorted(counts.items())]
            return listing(told, 4) if told else "nothing"

        return Shown(caption, framed)

    def _by_class(self, split: Split) -> Counter[str]:
        rows = self.found.data.manifest.where(split=split)
        targets = read_boxes(rows, self.found.data.store, self.found.outputs).targets
        return Counter(self.found.outputs[int(box[4])] for row in targets for box in unpack(row) if box[5] == 0)

    def _believed(self) -> str:
        threshold = self.found.artifacts[self.found.ships]["threshold"] if self.found.ships else None
        if threshold is None:
            return "From which score on a box is to be believed is not chosen here: average precision is over all scores."
        return f"A box is sure from a score of {threshold:.2f} on: there F1 was largest on the validation images."

    def _lost(self) -> str:
        """Classes that nothing could be said or learned of."""
        never = [name for name in self.found.outputs if not self._boxes["train"][name]]
        nowhere = [name for name, value in self.found.scored["classes"].items() if value is None]
        told = f" No test image shows {listing(nowhere)}: no figure, and no part of the mean." if nowhere else ""
        return told + (f" Training has no box of {listing(never)}: what is not shown is not found." if never else "")

    def _counts(self) -> Table:
        counts = list(self._boxes.values())
        counts.append(sum(counts, Counter()))
        images = self.found.data.findings["splits"]
        rows: list[tuple[Cell, ...]] = [(name, *(of[name] for of in counts)) for name in self.found.outputs]
        shown, more = shorter(rows, CLASSES, "classes")
        totals: tuple[Cell, ...] = ("all boxes", *(of.total() for of in counts))
        last: tuple[Cell, ...] = ("images", *(images[split] for split in SPLITS), sum(images.values()))
        note = f"Boxes around single things within their picture; those around crowds are not counted.{more}"
        return Table("Boxes by class and split", ("class", *SPLITS, "all"), (*shown, totals, last), note)


def framed(pixels: Pixels, target: Target) -> Pixels:
    """A picture with a frame around each of its boxes, in the colour of the class."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    ratio = SIDE / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    picture = picture.resize(size, Image.Resampling.NEAREST if ratio > 1 else Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for left, top, right, bottom, number, _ in unpack(target).tolist():
        x, y, far_x, far_y = (share * (side - 1) for share, side in zip((left, top, right, bottom), size * 2, strict=True))
        draw.rectangle((x - 2, y - 2, far_x + 2, far_y + 2), outline="white", width=2)  # seen on a thing of the frame's colour
        draw.rectangle((x, y, far_x, far_y), outline=COLOURS[int(number) % len(COLOURS)], width=2)
    return np.array(picture)


def _pictures(title: str, examples: Examples, shown: Shown, note: str) -> Gallery:
    pictures = []
    for position, target in zip(examples.positions.tolist(), examples.targets, strict=True):
        pictures.append((shown.drawn(examples.store[position], target), shown.caption(target)))
    return Gallery(title, tuple(pictures), note)


def _spread(rows: Manifest) -> Manifest:
    """At most `PICTURES` of them, evenly from all."""
    taken = {*spread(list(range(len(rows))), PICTURES)}
    return rows.where([row in taken for row in range(len(rows))])
