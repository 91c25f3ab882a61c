"""`eyas evaluate`: how good a trained model is on images that it has not seen, by the figures of its task."""

from pathlib import Path

from eyas.errors import UserError
from eyas.nn.weights import kind_of
from eyas.studies.evaluate_classes import Evaluated, Part, evaluate_classes
from eyas.studies.evaluate_tasks import (
    EvaluatedAttributes,
    EvaluatedBoxes,
    EvaluatedEmbedding,
    evaluate_attributes,
    evaluate_boxes,
    evaluate_embedding,
)
from eyas.studies.model import find_model


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
        UserError: the data has other classes than the model, no image that can be used, or an option is for another task.
    """
    kind = kind_of(find_model(run))
    if columns and kind != "attributes":
        raise UserError(f"--columns names attributes, and the task is {kind}; leave it out")
    match kind:
        case "classify":
            return evaluate_classes(run, data, split)
        case "attributes":
            return evaluate_attributes(run, data, split, columns)
        case "embed":
            return evaluate_embedding(run, data, split)
        case "detect":
            return evaluate_boxes(run, data, split)
