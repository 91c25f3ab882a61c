"""How good a trained model of another task than classification is on images that it has not seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eyas.data.attributes import attribute_names, attribute_targets
from eyas.data.batches import Examples
from eyas.data.boxes import classes_of
from eyas.data.identities import identity_targets, numbered
from eyas.data.readers import read, read_attributes, read_labels, read_pairs
from eyas.errors import UserError
from eyas.nn.detectors import load_detector
from eyas.nn.weights import load_network
from eyas.studies.attributes import Told, probabilities_of, tell
from eyas.studies.detection import Detected, box_examples, found_in, judge
from eyas.studies.evaluate_classes import Part, chosen, unseen
from eyas.studies.model import check_kind, find_model
from eyas.studies.train_embed import vectors_of
from eyas.studies.verification import Pairing, Retrieved, Verified, every, listed, retrieve, verify


@dataclass(frozen=True)
class EvaluatedAttributes:
    """How well a model tells the attributes of a data set; `seen` and `unreadable` images were left out."""

    model: Path
    told: Told
    seen: int
    unreadable: int


@dataclass(frozen=True)
class EvaluatedEmbedding:
    """How well a model's vectors tell images apart; `retrieval` where the data is images and no list of pairs."""

    model: Path
    verification: Verified
    retrieval: Retrieved | None
    seen: int
    unreadable: int


@dataclass(frozen=True)
class EvaluatedBoxes:
    """How well a detector finds things in a data set; `seen` and `unreadable` images were left out."""

    model: Path
    found: Detected
    seen: int
    unreadable: int


def evaluate_attributes(
    run: str | Path, data: str | Path, split: Part = "auto", columns: tuple[str, ...] = ()
) -> EvaluatedAttributes:
    """Measure average precision of each attribute, and their mean, on images that the model has not seen.

    Args:
        run: a run of eyas train, or one stage's folder in it.
        data: images with attributes.
        split: which images; auto takes the test split where the data has one, else all.
        columns: that are attributes, where they are no labels.

    Raises:
        UserError: the model is for another task, or the data has none of its attributes.
    """
    path = find_model(run)
    check_kind(path, "attributes")
    network, names = load_network(path)
    manifest = chosen(read_attributes(str(data)), split)
    known = attribute_names(manifest, columns)
    if not {*known} & {*names}:
        raise UserError(f"{data} has none of the attributes that {path} tells; it tells {', '.join(names[:10])}")
    with unseen(run, manifest, network.arch, str(data)) as found:
        targets = attribute_targets(found.rows, names, columns)
        targets[:, [name not in known for name in names]] = np.nan  # nobody said
        given = probabilities_of(network, Examples(found.store, found.positions, targets, labelled=True))
    return EvaluatedAttributes(path, tell(given, targets, names), found.seen, found.unreadable)


def evaluate_embedding(run: str | Path, data: str | Path, split: Part = "auto") -> EvaluatedEmbedding:
    """Measure how well vectors tell whether two images show the same, on images that the model has not seen.

    Args:
        run: a run of eyas train, or one stage's folder in it.
        data: images by identity, of which all pairs are told apart; or a list of pairs like LFW's pairs.txt.
        split: which images; auto takes the test split where the data has one, else all.

    Raises:
        UserError: the model is for another task, a pair names a picture that is not there, or there are too few pairs.
    """
    path = find_model(run)
    check_kind(path, "embed")
    network, _ = load_network(path)
    of_pairs = read_pairs(str(data)) if Path(data).suffix == ".txt" else None
    manifest = chosen(read(str(data)), split) if of_pairs is None else of_pairs.images
    if of_pairs is not None:
        named = {id for pair in of_pairs.pairs for id in (pair.first, pair.second)}
        manifest = manifest.where([id in named for id in manifest.column("id")])
    with unseen(run, manifest, network.arch, str(data)) as found:
        labels = found.rows.column("label")
        given = vectors_of(network, Examples(found.store, found.positions, identity_targets(labels), labelled=True))
        rows = {id: row for row, id in enumerate(found.rows.column("id"))}
    identities = numbered(labels)
    pairs: Pairing = every(identities) if of_pairs is None else listed(of_pairs.pairs, rows)
    verified = verify(given, identities, pairs)  # says it where there is nothing to tell apart
    retrieved = retrieve(given, identities) if of_pairs is None else None
    return EvaluatedEmbedding(path, verified, retrieved, found.seen, found.unreadable)


def evaluate_boxes(run: str | Path, data: str | Path, split: Part = "auto") -> EvaluatedBoxes:
    """Measure average precision of boxes on images that the detector has not seen, for example COCO's own validation file.

    Args:
        run: a run of eyas train, or one stage's folder in it.
        data: images with boxes.
        split: which images; auto takes the test split where the data has one, else all.

    Raises:
        UserError: the model is for another task, or the data has other classes, or no image that can be used.
    """
    path = find_model(run)
    check_kind(path, "detect")
    detector, classes = load_detector(path)
    manifest = read_labels(str(data))
    unknown = [name for name in classes_of(manifest) if name not in classes]
    if unknown:
        raise UserError(f"{data} has boxes of {unknown[0]!r}, which {path} was not trained on; it knows {', '.join(classes)}")
    with unseen(run, chosen(manifest, split), detector.arch, str(data)) as found:
        examples = box_examples(found.rows, found.store, classes)
        detected = judge(found_in(detector, examples), examples, classes)
    return EvaluatedBoxes(path, detected, found.seen, found.unreadable)
