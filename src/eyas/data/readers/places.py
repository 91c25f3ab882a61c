"""A file or a folder that is read from, on this machine or behind an address."""

import io
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from eyas.data import remote
from eyas.data.decode import SUFFIXES
from eyas.errors import UserError


@dataclass(frozen=True, slots=True)
class Place:
    """An absolute path, or an address like `s3://bucket/photos`."""

    address: str

    @classmethod
    def of(cls, text: str) -> "Place":
        """The place that a user means by `text`; it holds from any directory."""
        if remote.is_address(text):
            return cls(text if text.endswith("://") else text.rstrip("/"))
        return cls(str(Path(text).expanduser().absolute()))

    def __str__(self) -> str:
        return self.address

    @property
    def remote(self) -> bool:
        """Whether it is behind an address."""
        return remote.is_address(self.address)

    @property
    def name(self) -> str:
        """The last part."""
        return self.address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name, in lower case, with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def parent(self) -> "Place":
        """The folder that it lies in."""
        return Place(self.address.rpartition("/")[0] or "/")

    def child(self, path: str) -> "Place":
        """What `path` means when it is written in a file of this folder: relative, absolute, or an address."""
        if remote.is_address(path):
            return Place(path)
        return Place(path if path.startswith("/") and not self.remote else f"{self.address.rstrip('/')}/{path}")

    def is_folder(self) -> bool:
        """Whether a folder is there."""
        if self.remote:
            system, path = remote.filesystem(self.address)
            with _explained(self):
                return bool(system.isdir(path))
        return Path(self.address).is_dir()

    def exists(self) -> bool:
        """Whether anything is there."""
        if self.remote:
            system, path = remote.filesystem(self.address)
            with _explained(self):
                return bool(system.exists(path))
        return Path(self.address).exists()

    def folders(self) -> list["Place"]:
        """Folders right inside, in the order of their names; none where it cannot be listed."""
        try:
            if self.remote:
                system, path = remote.filesystem(self.address)
                names = [entry["name"].rstrip("/") for entry in system.ls(path, detail=True) if entry["type"] == "directory"]
                return [self.child(name.rpartition("/")[2]) for name in sorted(names)]
            with os.scandir(self.address) as entries:
                return [self.child(name) for name in sorted(entry.name for entry in entries if entry.is_dir())]
        except OSError:
            return []

    def names(self) -> list[str]:
        """Names of what is right inside a folder of this machine; none where it cannot be listed."""
        try:
            return sorted(entry.name for entry in Path(self.address).iterdir())
        except OSError:
            return []

    @contextmanager
    def open(self) -> Generator[Any]:
        """The content of the file, as a binary file.

        Raises:
            UserError: it cannot be opened or read.
        """
        with _explained(self), remote.open_file(self.address) if self.remote else Path(self.address).open("rb") as file:
            yield file

    def lines(self) -> Generator[tuple[int, str]]:
        """Number, from 1, and text of every line that is not blank.

        Raises:
            UserError: it cannot be read, or is not UTF-8.
        """
        with self.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig") as lines:
            try:
                yield from ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())
            except UnicodeDecodeError:
                raise UserError(f"{self} is not UTF-8 text; save it in UTF-8") from None

    def images(self) -> Generator[str]:
        """Paths of the image files at any depth, relative to this folder, in the order of their names; links are followed.

        Raises:
            UserError: a folder cannot be listed.
        """
        if not self.remote:
            yield from _walk(self.address, "", (os.path.realpath(self.address),))
            return
        system, root = remote.filesystem(self.address)
        with _explained(self):
            for path in sorted(system.find(root)):
                name = path[len(root.rstrip("/")) + 1 :]
                if is_image(name) and not any(part.startswith(".") for part in name.split("/")):
                    yield name


def is_image(name: str) -> bool:
    """Whether a file is an image by the ending of its name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def text(name: str) -> str:
    """A name as UTF-8; bytes that are none are shown as \\xff, and the file is then refused by its name."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def folder_of(listing: Place, names: Sequence[str]) -> Place:
    """The folder that the paths in a list of images are relative to.

    It is the one that the list lies in, or else the only folder there that has the first of them (CelebA, LFW); for a
    list in `annotations/` or `Anno/`, also one beside that (COCO: `val2017/` or `images/val2017/`; CelebA: `Img/...`). Where
    several have it, the middle and the last one decide.

    Raises:
        UserError: they do not.
    """
    home = listing.parent
    if not names or home.child(names[0]).exists():
        return home
    top = home.parent if home.name in ("annotations", "Anno") else home
    near = [inner for each in top.folders() for inner in (each, *each.folders())]
    found = [place for place in near if place.child(names[0]).exists()]
    if len(found) > 1:
        found = [place for place in found if all(place.child(names[i]).exists() for i in (len(names) // 2, -1))] or found
    if len(found) > 1:
        raise UserError(
            f"{listing}: {names[0]!r} is in {found[0]} and in {found[1]}; move the list into the folder whose images it means"
        )
    return found[0] if found else home


def _walk(folder: str, prefix: str, above: tuple[str, ...]) -> Generator[str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"the folder {text(folder)} cannot be listed: {error.strerror}; allow it, or move it away") from None
    for entry in entries:
        if _is_folder(entry):
            real = os.path.realpath(entry.path)
            if real not in above:  # a link to a folder that it lies in would never end
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, real))
        elif is_image(entry.name):
            yield text(f"{prefix}{entry.name}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or behind a folder that may not be entered: the image is refused when it is read
        return False


@contextmanager
def _explained(place: Place) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror or error}; check that it is there and may be read") from None
