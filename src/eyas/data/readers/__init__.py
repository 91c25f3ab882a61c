"""Data sets as users have them, to manifests: folders, lists, shards, hubs, and sets that are known by name."""

import difflib
from collections.abc import Callable
from typing import Literal

from eyas.data import builtin
from eyas.data.manifest import Manifest
from eyas.data.readers import attributes, csv_files, dogs, folders, hugging_face, json_files, parquet, shards
from eyas.data.readers.pairs import Pair, Pairs, read_pairs
from eyas.data.readers.places import Place
from eyas.errors import UserError
from eyas.progress import say

__all__ = [
    "BUILT_IN",
    "FILES",
    "Pair",
    "Pairs",
    "read",
    "read_attributes",
    "read_classes",
    "read_labels",
    "read_pairs",
    "read_pile",
    "task_of",
]

Made = Literal["classify", "attributes", "detect"]

BUILT_IN: dict[str, Callable[[], Manifest]] = {"elpv": builtin.elpv, "fashion-mnist": builtin.fashion_mnist}

FILES: dict[str, Callable[[Place, bool], Manifest]] = {  # by their ending; with labels or without
    ".csv": csv_files.read,
    ".txt": attributes.read_text,
    ".jsonl": json_files.read_lines,
    ".ndjson": json_files.read_lines,
    ".json": json_files.read,
    ".parquet": parquet.read,
}


def read(source: str) -> Manifest:
    """Images with one label each, from whatever they are kept in; see the table in docs/data.md.

    A folder that is named like a built-in set is written `./elpv`.

    Raises:
        UserError: nothing is there, nothing is labelled, all of it has one label, or images have several labels.
    """
    return _classes(source, _read(source, labelled=True))


def read_classes(source: str) -> Manifest:
    """As `read`, for `eyas fit`: of data that is made for classes and for nothing else.

    Raises:
        UserError: as `read` does; and for attributes and boxes, of which a classifier would learn something else, or a part.
    """
    manifest = _read(source, labelled=True)
    if "boxes" in manifest.extra:
        raise UserError(
            f"{source} has boxes, and eyas fit makes classifiers; eyas train --task detect learns boxes, and with --unlabeled "
            "also from those that a first detector is sure of in a pile"
        )
    if _is_table(source):
        raise UserError(
            f"{source} is a table of attributes, and eyas fit makes classifiers; eyas train --task attributes learns them, and "
            "with --teacher and --unlabeled a small network from a large one's answers to a pile"
        )
    return _classes(source, manifest)


def _classes(source: str, manifest: Manifest) -> Manifest:
    """The images with one label each, of two classes at least."""
    manifest = _one_label(source, manifest)
    if len(manifest.classes) < 2:
        raise UserError(
            f"{source} has one class only, {manifest.classes[0]!r}; a classifier needs images of at least two, "
            "each class in a folder of its own or with a label of its own"
        )
    return manifest


def read_labels(source: str) -> Manifest:
    """Images with any number of labels: the column `labels` has a list for every image, `label` its only one or null.

    Raises:
        UserError: nothing is there, or no image has a label.
    """
    manifest = _read(source, labelled=True)
    if "labels" not in manifest.extra:
        columns = {name: manifest.column(name) for name in manifest.table.column_names}
        manifest = Manifest.of(columns | {"labels": [[label] for label in columns["label"]]}, manifest.flips)
    if not any(manifest.column("labels")):
        raise UserError(f"no image in {source} has a label; nothing can be learned from it, but it can be the pile")
    return manifest


def read_attributes(source: str) -> Manifest:
    """Images with attributes: as `read_labels`; of elpv what is known of each cell (`eyas.data.builtin.elpv_attributes`).

    Raises:
        UserError: nothing is there, or no image has a label.
    """
    return builtin.elpv_attributes() if source == "elpv" else read_labels(source)


def task_of(source: str) -> Made:
    """What data is made for: boxes to be detected, attributes to be told, else one class each.

    Attributes are the columns of a table of them, or the labels where an image has several.

    Raises:
        UserError: nothing is there, or nothing is labelled.
    """
    return _made_for(source, _read(source, labelled=True))


def _made_for(source: str, manifest: Manifest) -> Made:
    """What data that was read is made for."""
    if "boxes" in manifest.extra:
        return "detect"
    several = "labels" in manifest.extra and any(len(names) > 1 for names in manifest.column("labels"))
    return "attributes" if several or _is_table(source) else "classify"


def read_pile(source: str) -> Manifest:
    """Images without labels, from whatever they are kept in: every image of a folder, at any depth; labels are dropped.

    Raises:
        UserError: nothing is there, or it holds no images.
    """
    return _read(source, labelled=False).without_labels()


def _read(source: str, labelled: bool) -> Manifest:
    """Whatever `source` names, by its scheme, then by what is there, then by its ending."""
    if source in BUILT_IN:
        return BUILT_IN[source]()
    if source.startswith(hugging_face.SCHEME):
        return hugging_face.read(source, labelled)
    place = Place.of(source)
    if place.is_folder():
        if hugging_face.is_saved(place):
            return hugging_face.read_saved(place, labelled)
        if not labelled:
            return folders.every_image(place)
        return dogs.read(place) if dogs.fits(place) else folders.class_folders(place)
    if shards.fits(source):
        return shards.read(source, labelled)
    expected = f"give a folder of images, a {', '.join(FILES)} or .tar file, hf:owner/name, or {' or '.join(BUILT_IN)}"
    if not place.exists():
        raise UserError(f"no data at {source}{_near(place)}; {expected}")
    if place.suffix not in FILES:
        raise UserError(f"{source} is a file of another kind; {expected}")
    return FILES[place.suffix](place, labelled)


def _is_table(source: str) -> bool:
    """Whether what `_read` has read is a table of attributes."""
    if source in BUILT_IN or source.startswith(hugging_face.SCHEME) or Place.of(source).is_folder():
        return False
    place = Place.of(source)
    return place.suffix == ".txt" or (place.suffix == ".csv" and csv_files.has_attributes(place))


def _one_label(source: str, manifest: Manifest) -> Manifest:
    """The images that have a label, where none has several."""
    if "labels" not in manifest.extra:
        return manifest
    labels = manifest.column("labels")
    several = [row for row, names in enumerate(labels) if len(names) > 1]
    if several:
        example = manifest.column("id")[several[0]]
        raise UserError(
            f"{source} is multi-label: {len(several)} of {len(manifest)} images have several labels, {example} for one "
            f"({_some(labels[several[0]])}); a classifier needs one label for each image, so keep one of them, or learn all of "
            "them with eyas train --task attributes"
        )
    without = sum(not names for names in labels)
    if without == len(manifest):
        raise UserError(f"no image in {source} has a label; give each image one, or give it as the pile")
    if without:
        say(f"{without} images of {source} have no label; they are left out")
    return manifest.where([len(names) == 1 for names in labels])


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _near(place: Place) -> str:
    near = difflib.get_close_matches(place.name, [*place.parent.names(), *BUILT_IN], n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
