"""`eyas evaluate`: how good a trained model is on images that it has not seen, by the figures of its task."""

from dataclasses import dataclass
from pathlib import Path

from eyas.nn.weights import kind_of
from eyas.studies.detection import Detected, evaluate_boxes
from eyas.studies.evaluate_classes import Evaluated, Part, evaluate_classes, known_pictures
from eyas.studies.evaluate_tasks import EvaluatedAttributes, EvaluatedEmbedding, evaluate_attributes, evaluate_embedding
from eyas.studies.model import find_model


@dataclass(frozen=True)
class EvaluatedBoxes:
    """How well a detector finds things in the images of a data set that it has not seen."""

    model: Path
    found: Detected


def evaluate(
    run: str | Path, data: str | Path, split: Part = "auto", columns: tuple[str, ...] = ()
) -> Evaluated | EvaluatedAttributes | EvaluatedEmbedding | EvaluatedBoxes:
    """Measure a model on labelled images that it has not seen.

    Accuracy for classes, mean average precision for attributes and boxes, verification and retrieval for embeddings.

    Args:
        run: a run of eyas fit or eyas train, or one stage's folder in it.
        data: labelled images, as for the training; for embeddings also a list of pairs like LFW's pairs.txt.
        split: which images; auto takes the test split where the data has one, else all.
        columns: of a table, that are attributes though they are no labels.

    Raises:
        UserError: the data has other classes than the model, or no image that can be used.
    """
    path = find_model(run)
    match kind_of(path):
        case "classify":
            return evaluate_classes(run, data, split)
        case "attributes":
            return evaluate_attributes(run, data, split, columns)
        case "embed":
            return evaluate_embedding(run, data, split)
        case "detect":
            return EvaluatedBoxes(path, evaluate_boxes(path, str(data), split, known_pictures(Path(run))))
