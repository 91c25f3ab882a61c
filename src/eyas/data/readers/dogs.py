"""Stanford Dogs as published (Khosla et al. 2011): a folder for each breed in `Images/`, and MATLAB lists of its split."""

import io
from typing import Any

from eyas.data.manifest import Manifest, Split
from eyas.data.readers.folders import class_folders
from eyas.data.readers.places import Place
from eyas.errors import UserError, first_line
from eyas.progress import say

IMAGES = "Images"
LISTS: dict[str, Split] = {"train_list.mat": "train", "test_list.mat": "test"}
FILES = "file_list"  # the variable of a list that holds paths within `Images/`


def fits(root: Place) -> bool:
    """Whether a folder is laid out so: `Images/`, and a list beside it or in `lists/`."""
    return root.child(IMAGES).is_folder() and any(place.exists() for name in LISTS for place in _places(root, name))


def read(root: Place) -> Manifest:
    """The images by breed, as their folders are called (`n02085620-Chihuahua`), with the published split.

    Images that no list names are counted and left out.

    Raises:
        UserError: a list is missing or damaged, names an image that is not there, or both name one.
    """
    folder = root.child(IMAGES)
    manifest = class_folders(folder)
    there, splits = set(manifest.column("id")), dict[str, Split]()
    for name, split in LISTS.items():
        file = _list(root, name)
        for path in _listed(file):
            if path not in there:
                raise UserError(f"{file} names {path!r}, which is not in {folder}; put the whole set there, or its own lists")
            if splits.setdefault(path, split) != split:
                raise UserError(f"{file} names {path!r}, which is in {' and '.join(LISTS)}; an image is trained on or tested")
    column = [splits.get(id) for id in manifest.column("id")]
    if None in column:
        say(f"{column.count(None)} images in {folder} are in neither {' nor '.join(LISTS)}; they are left out")
    return manifest.with_splits(column).where([split is not None for split in column])


def _places(root: Place, name: str) -> tuple[Place, Place]:
    return root.child(name), root.child(f"lists/{name}")


def _list(root: Place, name: str) -> Place:
    found = next((place for place in _places(root, name) if place.exists()), None)
    if found is None:
        raise UserError(
            f"{root} has {IMAGES}/ and a list of Stanford Dogs, and no {name}; the split is {' and '.join(LISTS)}, beside "
            f"{IMAGES}/ or in lists/"
        )
    return found


def _listed(file: Place) -> list[str]:
    """The paths in a MATLAB list; a cell holds one."""
    cells = _variable(file, FILES)
    paths = [cell.item() if getattr(cell, "size", 0) == 1 else None for cell in cells]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise UserError(
            f"{file} holds no list of files in {FILES!r}; expected paths like n02085620-Chihuahua/n02085620_5927.jpg"
        )
    return [str(path) for path in paths]


def _variable(file: Place, name: str) -> list[Any]:
    """The entries of a variable of a MATLAB file; none where it has no such one."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(f"{file} is a MATLAB file, which scipy reads; pip install 'eyas[matlab]'") from None
    with file.open() as opened:
        content = io.BytesIO(opened.read())
    try:
        found = loadmat(content, variable_names=[name])
    except Exception as error:  # whatever scipy meets in a file that is damaged or of another kind
        raise UserError(f"{file} cannot be read as a MATLAB 5 file: {first_line(error)}; get it again") from None
    return list(found[name].ravel()) if name in found else []
