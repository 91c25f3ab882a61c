"""What files of each kind of network are judged by: the images of a run with what is true of them, and the figures told.

A kind is one class here and one line in `JUDGES`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from torch import nn

from eyas.data.batches import Examples
from eyas.data.boxes import unpack
from eyas.data.manifest import Split
from eyas.deploy.parity import Answers, Classes, Gauge
from eyas.nn.answers import Kind
from eyas.nn.build import Network
from eyas.nn.ssd import Ssd, layout
from eyas.studies.answering import confusion, correct
from eyas.studies.attributes import Attributed, tell
from eyas.studies.calibrate import threshold_for
from eyas.studies.detection import Boxed, judge
from eyas.studies.gauges import AttributeGauge, BoxGauge, VectorGauge
from eyas.studies.prepare import Data
from eyas.studies.proof import accuracy, compare
from eyas.studies.train_embed import identified
from eyas.studies.verification import every, retrieve, verify
from eyas.tasks.attributes import Attributes
from eyas.tasks.box_scores import best_score
from eyas.tasks.classify import Classify
from eyas.tasks.distill import Teachable
from eyas.tasks.embed import Embed

RELIABLE = 0.95  # share of answers that are right from the threshold on

Change = dict[str, Any]


@runtime_checkable
class Judge(Protocol):
    """A run's images with what is true of them, and what is told of a network's answers to them."""

    def examples(self, split: Split) -> Examples:
        """The images of a split, in the order of `Data.rows`."""
        ...

    def threshold(self, given: Answers) -> float | None:
        """From which confidence on the answers to the validation images are to be relied on; None where nothing says so."""
        ...

    def gauge(self, threshold: float | None) -> Gauge:
        """What compares a file with the network, on the validation images."""
        ...

    def changes(self, before: Answers, after: Answers) -> tuple[Change, dict[str, Change]]:
        """What becomes of the measure on the validation images, and of that of each class or attribute, with intervals."""
        ...

    def test(self, given: Answers) -> dict[str, Any]:
        """Figures of the answers to the test images, as the run's own stage `test` tells them of the network."""
        ...

    def teachable(self) -> Teachable | None:
        """The task, where a network can be taught it by another one's answers."""
        ...


@dataclass(frozen=True)
class ClassJudge:
    """Of networks that answer one class an image."""

    data: Data

    def examples(self, split: Split) -> Examples:
        """The labelled images of a split."""
        return self.data.examples(split)

    def threshold(self, given: Answers) -> float | None:
        """The least confidence at which 95 % of the answers are right."""
        return threshold_for(RELIABLE, given.max(1), given.argmax(1) == self._truth)

    def gauge(self, threshold: float | None) -> Gauge:  # noqa: ARG002 (every image has an answer)
        """The first answer, and accuracy."""
        return Classes(self._truth)

    def changes(self, before: Answers, after: Answers) -> tuple[Change, dict[str, Change]]:
        """Accuracy of all images, and of those of each class."""
        first, second = before.argmax(1) == self._truth, after.argmax(1) == self._truth
        rows = {name: self._truth == index for index, name in enumerate(self.data.classes)}
        return _change(first, second), {name: _change(first[of], second[of]) for name, of in rows.items() if of.any()}

    def test(self, given: Answers) -> dict[str, Any]:
        """Accuracy with its interval, and the confusion matrix (rows: the truth)."""
        examples = self.examples("test")
        return {"accuracy": asdict(accuracy(correct(given, examples))), "confusion": confusion(given, examples)}

    def teachable(self) -> Teachable:
        """Classification."""
        return Classify(self.data.classes)

    @property
    def _truth(self) -> np.ndarray:
        return self.examples("validation").targets.argmax(1)


@dataclass(frozen=True)
class AttributeJudge:
    """Of networks that tell attributes."""

    told: Attributed

    def examples(self, split: Split) -> Examples:
        """The images of a split with their attributes."""
        return self.told.examples(split)

    def threshold(self, given: Answers) -> float | None:  # noqa: ARG002 (each attribute would need one)
        """None: an attribute is there from a half on."""
        return None

    def gauge(self, threshold: float | None) -> AttributeGauge:  # noqa: ARG002
        """Whether attributes are there, and their mean average precision."""
        return AttributeGauge(self.told.names, targets=self.examples("validation").targets)

    def changes(self, before: Answers, after: Answers) -> tuple[Change, dict[str, Change]]:
        """Mean average precision, and that of each attribute."""
        gauge = self.gauge(None)
        return gauge.change(before, after), gauge.changes(before, after)

    def test(self, given: Answers) -> dict[str, Any]:
        """What `Told` holds."""
        return asdict(tell(given, self.examples("test").targets, self.told.names))

    def teachable(self) -> Teachable:
        """Attributes."""
        return Attributes(self.told.names)


@dataclass(frozen=True)
class VectorJudge:
    """Of networks that embed."""

    data: Data
    width: int

    def examples(self, split: Split) -> Examples:
        """The images of a split with their identities."""
        return identified(self.data, split)

    def threshold(self, given: Answers) -> float | None:  # noqa: ARG002 (it would be of pairs)
        """None: a vector is no answer that could be doubted."""
        return None

    def gauge(self, threshold: float | None) -> VectorGauge:  # noqa: ARG002
        """The direction of vectors, and retrieval."""
        return VectorGauge(("retrieval",), identities=self._identities("validation"))

    def changes(self, before: Answers, after: Answers) -> tuple[Change, dict[str, Change]]:
        """Mean average precision of retrieval."""
        gauge = self.gauge(None)
        return gauge.change(before, after), gauge.changes(before, after)

    def test(self, given: Answers) -> dict[str, Any]:
        """Verification of all pairs, and retrieval."""
        numbers = self._identities("test")
        return {
            "verification": asdict(verify(given, numbers, every(numbers))),
            "retrieval": asdict(retrieve(given, numbers)),
        }

    def teachable(self) -> Teachable:
        """Embedding."""
        return Embed(self.width)

    def _identities(self, split: Split) -> np.ndarray:
        return self.examples(split).targets[:, 0].astype(np.int64)


@dataclass(frozen=True)
class BoxJudge:
    """Of detectors."""

    boxed: Boxed
    facts: dict[str, Any]

    def examples(self, split: Split) -> Examples:
        """The images of a split with their boxes."""
        return self.boxed.examples(split)

    def threshold(self, given: Answers) -> float | None:
        """The score of the largest F1, at an overlap of a half."""
        return best_score(self.gauge(None).found(given), self._truth("validation"), len(self.boxed.classes))

    def gauge(self, threshold: float | None) -> BoxGauge:
        """The boxes that are sure, and COCO's mean average precision."""
        sure = 0.5 if threshold is None else threshold
        return BoxGauge(self.boxed.classes, truth=self._truth("validation"), facts=self.facts, threshold=sure)

    def changes(self, before: Answers, after: Answers) -> tuple[Change, dict[str, Change]]:
        """Mean average precision, and that of each class."""
        gauge = self.gauge(None)
        return gauge.change(before, after), gauge.changes(before, after)

    def test(self, given: Answers) -> dict[str, Any]:
        """What `Detected` holds."""
        return asdict(judge(self.gauge(None).found(given), self.examples("test"), self.boxed.classes))

    def teachable(self) -> None:
        """None: of two detectors no answers can be compared but boxes."""

    def _truth(self, split: Split) -> list[np.ndarray]:
        return [unpack(row) for row in self.examples(split).targets]


def _width(network: Network) -> int:
    assert isinstance(network.head, nn.Linear)
    return network.head.out_features


def _boxes(data: Data, network: Network, columns: tuple[str, ...]) -> Judge:  # noqa: ARG001 (attributes have columns)
    # Of Faster R-CNN nothing is asked: it cannot be exported, and `Shipment` says so.
    return BoxJudge(Boxed.of(data), layout(network) if isinstance(network, Ssd) else {})


JUDGES: dict[Kind, Callable[[Data, Network, tuple[str, ...]], Judge]] = {
    "classify": lambda data, network, columns: ClassJudge(data),  # noqa: ARG005
    "attributes": lambda data, network, columns: AttributeJudge(Attributed.of(data, columns)),  # noqa: ARG005
    "embed": lambda data, network, columns: VectorJudge(data, _width(network)),  # noqa: ARG005
    "detect": _boxes,
}


def _change(before: Bool[np.ndarray, " n"], after: Bool[np.ndarray, " n"]) -> Change:
    """Accuracy before and after as shares, and the change in points."""
    found = compare(after, before)
    shares = {"images": len(before), "before": float(before.mean()), "after": float(after.mean())}
    return {**shares, "points": found.difference, "low": found.low, "high": found.high}
