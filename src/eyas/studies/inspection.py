"""An exported file beside the trained network: both asked the same images, the file as a device sees them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from eyas.data.augment import prepare
from eyas.data.batches import Examples, stacked
from eyas.data.manifest import Split
from eyas.deploy import predict as page
from eyas.deploy.parity import Gauge, Parity, Predictor, check, reference_of
from eyas.deploy.shipment import CALIBRATION, Shipment
from eyas.deploy.target import Artifact
from eyas.nn.answers import Kind
from eyas.nn.build import Network
from eyas.nn.detectors import load_detector
from eyas.nn.weights import kind_of, load_network
from eyas.studies.encoded import Encoded
from eyas.studies.judges import JUDGES, Judge

BATCH = 32

Images = UInt8[np.ndarray, "n _height _width 3"]


@dataclass(frozen=True, eq=False)
class Inspection:
    """A trained network and the images that its files are held against; what was asked once is not asked again.

    Attributes:
        model: the network's file.
        encoded: the run's images, as devices see them.
        frame: height and width of what the files take, where they crop and resize by themselves.
        columns: of the data that are attributes, where they are no labels.
    """

    model: Path
    encoded: Encoded
    frame: tuple[int, int] | None = None
    columns: tuple[str, ...] = ()
    asked: dict[str, Predictor] = field(default_factory=dict)

    @cached_property
    def judge(self) -> Judge:
        """The run's images with what is true of them."""
        return JUDGES[self._kind](self.encoded.data, self._loaded[0], self.columns)

    @cached_property
    def shipment(self) -> Shipment:
        """The network, with calibration images of the training split and a threshold from the validation split."""
        network, classes = self._loaded
        arch, view = network.arch, network.arch.preprocessing.view
        training = stacked(_spread(self.judge.examples("train"), CALIBRATION), arch.resolution, view)
        bare = Shipment(network, str(arch), classes, arch.resolution, view, self.frame, calibration=training, kind=self._kind)
        bare.module()  # says it where there is no such graph, before anything is asked
        given = _answers(self._reference(network), self._prepared("validation", bare))
        return replace(bare, threshold=self.judge.threshold(given))

    def parity(self, artifact: Artifact) -> Parity:
        """How a file answers the validation images, beside the network."""
        seen = self._seen("validation", artifact)
        reference = self._reference(self.shipment.network)
        return check(reference, self._asked(artifact), self._shown(seen), self._gauge, BATCH, seen=seen)

    def changes(self, artifact: Artifact) -> dict[str, Any]:
        """What becomes of the measure on the validation images, and of that of each class or attribute: points, with 95 %
        intervals."""
        seen = self._seen("validation", artifact)
        before = _answers(self._reference(self.shipment.network), self._shown(seen))
        change, classes = self.judge.changes(before, _answers(self._asked(artifact), seen))
        return {"change": change, "classes": classes}

    def test(self, artifact: Artifact) -> dict[str, Any]:
        """The figures of a file on the test images, with intervals."""
        # Without a frame what is prepared is what a device sees, as parity on the encoded validation images has shown.
        images = self._seen("test", artifact) if self.frame else self._prepared("test", self.shipment)
        return self.judge.test(_answers(artifact.predictor(), images))

    @cached_property
    def _kind(self) -> Kind:
        return kind_of(self.model)

    @cached_property
    def _loaded(self) -> tuple[Network, tuple[str, ...]]:
        return load_detector(self.model) if self._kind == "detect" else load_network(self.model)

    @cached_property
    def _gauge(self) -> Gauge:
        return self.judge.gauge(self.shipment.threshold)

    def _prepared(self, split: Split, shipment: Shipment) -> Images:
        return stacked(self.judge.examples(split), shipment.resolution, shipment.crop)

    def _seen(self, split: Split, artifact: Artifact) -> Images:
        return self.encoded.images(split, page.about(artifact.folder))

    def _shown(self, seen: Images) -> Images:
        """What the network is shown where a file is shown `seen`: the prepared images, or those made of the same frames."""
        if self.frame is None:
            return self._prepared("validation", self.shipment)
        return np.stack([prepare(frame, self.shipment.resolution, self.shipment.crop) for frame in seen])

    def _reference(self, network: Any) -> Predictor:
        return self.asked.setdefault("", _remembered(reference_of(network, self._kind)))

    def _asked(self, artifact: Artifact) -> Predictor:
        key = repr(sorted(artifact.files.items()))
        if key not in self.asked:
            self.asked[key] = _remembered(artifact.predictor())
        return self.asked[key]


def _remembered(predict: Predictor) -> Predictor:
    """The same predictor, which gives the answer to images that it was asked before without computing it again."""
    kept: dict[bytes, np.ndarray] = {}

    def ask(images: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(images.tobytes()).digest()
        if key not in kept:
            kept[key] = predict(images)
        return kept[key]

    return ask


def _answers(predict: Callable[[np.ndarray], np.ndarray], images: Images) -> np.ndarray:
    return np.concatenate([predict(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def _spread(examples: Examples, count: int) -> Examples:
    """At most `count` examples, evenly from all."""
    rows = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
    return replace(examples, positions=examples.positions[rows], targets=examples.targets[rows])
