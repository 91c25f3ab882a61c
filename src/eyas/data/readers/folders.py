"""A folder of images: a folder for each class, or simply every image in it."""

from pathlib import PurePosixPath

from eyas.data.decode import SUFFIXES
from eyas.data.manifest import Manifest, Split
from eyas.data.readers.places import Place
from eyas.errors import UserError
from eyas.progress import say

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def every_image(root: Place) -> Manifest:
    """Every image at any depth, without labels.

    Raises:
        UserError: there is none, or a folder cannot be listed.
    """
    ids = list(root.images())
    if not ids:
        raise UserError(f"{root} holds no images; {_looked_for(root)}")
    return Manifest.of({"id": ids, "source": [root.child(id).address for id in ids]})


def class_folders(root: Place) -> Manifest:
    """The images of class folders, perhaps inside train/ val/ test/; folders inside a class folder belong to the class.

    Raises:
        UserError: there are no images, no class folders, or splits and classes beside each other.
    """
    ids = list(root.images())
    if not ids:
        raise UserError(f"{root} holds no images; expected a folder for each class, {_looked_for(root)}")
    splits = _split_folders(root, ids)
    depth = 1 if splits else 0  # of the class folder
    parts = {id: id.split("/") for id in ids}
    labelled = [id for id in ids if len(parts[id]) > depth + 1]
    if not labelled:
        raise UserError(
            f"{root} holds {len(ids)} images but no class folders; put the images of each class into a folder with its name, "
            "or list them in a .csv with the columns path,label (a folder without classes can be the pile)"
        )
    if len(labelled) < len(ids):
        say(f"{len(ids) - len(labelled)} images in {root} are beside the class folders and have no class; they are left out")
    return Manifest.of(
        {
            "id": labelled,
            "source": [root.child(id).address for id in labelled],
            "label": [parts[id][depth] for id in labelled],
            "split": [splits.get(parts[id][0]) for id in labelled],
        }
    )


def _split_folders(root: Place, ids: list[str]) -> dict[str, Split]:
    """Splits by the name of their folder, where the first folders are splits and not classes."""
    first = {PurePosixPath(id).parts[0] for id in ids if "/" in id}
    splits = {name: SPLIT_NAMES[name.lower()] for name in first if name.lower() in SPLIT_NAMES}
    if "train" not in splits.values():
        return {}
    others = sorted(first - set(splits))
    if others and len(splits) > 1:
        raise UserError(
            f"{root} holds the split folders {', '.join(sorted(splits))} and also {', '.join(others[:3])}; keep only splits "
            "(train, validation, test), each with a folder for each class, or only classes"
        )
    return {} if others else splits


def _looked_for(root: Place) -> str:
    return f"with files that end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}{_instead(root)}"


def _instead(root: Place) -> str:
    """What to give where the folder holds images in files of another kind."""
    names = [name for place in (root, *root.folders()[:9]) for name in place.names()]
    if any(name.endswith(".tar") for name in names):
        return f"; WebDataset shards are given as '{root}/*.tar'"
    if any(name.endswith(".parquet") for name in names):
        return f"; a folder of Parquet files as Hugging Face has it is given as hf:{root}"
    return ""
