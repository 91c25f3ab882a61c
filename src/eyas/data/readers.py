"""Data sets as users have them, to manifests: a folder, a CSV, or a built-in name."""

import csv
import difflib
import os
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath
from typing import Any

from eyas.data import builtin
from eyas.data.decode import SUFFIXES
from eyas.data.manifest import COLUMNS, Manifest, Split
from eyas.errors import UserError
from eyas.progress import say

BUILT_IN: dict[str, Callable[[], Manifest]] = {"elpv": builtin.elpv, "fashion-mnist": builtin.fashion_mnist}

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def read(source: str) -> Manifest:
    """Labelled images: a built-in name, a folder of class folders (perhaps inside train/ val/ test/), or a CSV.

    A folder that is named like a built-in set is written `./elpv`.

    Raises:
        UserError: nothing is there, nothing is labelled, or all of it has one label.
    """
    manifest = _read(source, _labelled_folder, labelled=True)
    if len(manifest.classes) < 2:
        raise UserError(
            f"{source} has one class only, {manifest.classes[0]!r}; a classifier needs images of at least two, "
            "each class in a folder of its own or with a label of its own"
        )
    return manifest


def read_pile(source: str) -> Manifest:
    """Images without labels: every image in a folder, at any depth, a CSV, or a built-in set; labels there are dropped.

    Raises:
        UserError: nothing is there, or it holds no images.
    """
    return _read(source, _every_image, labelled=False).without_labels()


def _read(source: str, folder: Callable[[Path], Manifest], labelled: bool) -> Manifest:
    if source in BUILT_IN:
        return BUILT_IN[source]()
    path = Path(source).expanduser().absolute()  # a run goes on from any directory
    if path.is_dir():
        return folder(path)
    if not path.exists():
        raise UserError(f"no data at {source}{_near(path)}; give a folder of images, a .csv, or {' or '.join(BUILT_IN)}")
    if path.suffix.lower() == ".csv":
        return _csv(path, labelled)
    raise UserError(f"{source} is a file of another kind; give a folder of images, a .csv, or {' or '.join(BUILT_IN)}")


def _near(path: Path) -> str:
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, [*beside, *BUILT_IN], n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _every_image(root: Path) -> Manifest:
    ids = list(_images(root))
    if not ids:
        raise UserError(f"{root} holds no images; {_looked_for()}")
    return Manifest.of({"id": ids, "source": [str(root / id) for id in ids]})


def _labelled_folder(root: Path) -> Manifest:
    ids = list(_images(root))
    if not ids:
        raise UserError(f"{root} holds no images; expected a folder for each class, {_looked_for()}")
    splits = _split_folders(root, ids)
    depth = 1 if splits else 0  # of the class folder
    labelled = [id for id in ids if len(PurePosixPath(id).parts) > depth + 1]
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
            "source": [str(root / id) for id in labelled],
            "label": [PurePosixPath(id).parts[depth] for id in labelled],
            "split": [splits.get(PurePosixPath(id).parts[0]) for id in labelled],
        }
    )


def _split_folders(root: Path, ids: list[str]) -> dict[str, Split]:
    """Splits by the name of their folder, where the first folders are splits and not classes."""
    first = {PurePosixPath(id).parts[0] for id in ids if len(PurePosixPath(id).parts) > 1}
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


def _images(root: Path) -> Generator[str]:
    """Paths of the image files below `root`, relative to it, in the order of their names; links are followed."""
    yield from _walk(root, "", (os.path.realpath(root),))


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Generator[str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be listed: {error.strerror}; allow it, or move it away") from None
    for name in names:
        entry = folder / name
        if entry.is_dir():
            real = os.path.realpath(entry)
            if real not in above:  # a link to a folder that it lies in would never end
                yield from _walk(entry, f"{prefix}{name}/", (*above, real))
        elif entry.suffix.lower() in SUFFIXES:
            yield _text(f"{prefix}{name}")


def _text(name: str) -> str:
    """A name as UTF-8; bytes that are none are shown as \\xff, and the file is then refused by its name."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _looked_for() -> str:
    return f"with files that end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def _csv(path: Path, labelled: bool) -> Manifest:
    needed = ("path", "label") if labelled else ("path",)
    columns: dict[str, list[Any]] = {}
    seen: dict[str, int] = {}
    for line, row in _rows(path, needed):
        where = f"{path}, line {line}"
        id = os.path.normpath(row["path"]).replace(os.sep, "/")
        if not row["path"] or not (path.parent / id).exists():
            raise UserError(f"{where}: no file {row['path']!r} beside {path.name}; paths are relative to the folder of the CSV")
        if id in seen:
            raise UserError(f"{where}: {row['path']!r} is on line {seen[id]} already; list every image once")
        seen[id] = line
        for name, value in _cells(id, path.parent / id, row, labelled, where).items():
            columns.setdefault(name, []).append(value)
    if not columns:
        raise UserError(f"{path} lists no images: there is nothing below its first line")
    return Manifest.of(columns)


def _cells(id: str, file: Path, row: dict[str, str], labelled: bool, where: str) -> dict[str, str | None]:
    cells: dict[str, str | None] = {"id": id, "source": str(file), "group": row.get("group") or None}
    if not labelled:
        return cells
    if not row["label"]:
        raise UserError(f"{where}: the label of {row['path']!r} is empty; give it one, or move the image to the pile")
    split = row.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        raise UserError(f"{where}: no split is called {row['split']!r}; write train, validation or test, or leave it empty")
    extra = {f"csv.{name}" if name in COLUMNS else name: row[name] for name in row if name not in ("path", *COLUMNS[2:])}
    return {**cells, "label": row["label"], "split": SPLIT_NAMES.get(split), **extra}


def _rows(path: Path, needed: tuple[str, ...]) -> Generator[tuple[int, dict[str, str]]]:
    """Line number and cells by column, stripped, of every line that is not blank."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, needed)
            for cells in reader:
                if len(cells) not in (0, len(header)):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} values where line 1 names {len(header)} columns; "
                        "put values that hold a comma in double quotes"
                    )
                if cells:
                    yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}, at line {reader.line_num}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _check_header(path: Path, header: list[str], needed: tuple[str, ...]) -> None:
    for name in needed:
        if name not in header:
            raise UserError(
                f"{path}, line 1: no column {name!r} among {', '.join(header) or 'nothing'}; "
                f"the first line is path,label or path,label,split,group, with commas"
            )
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1: a column is named twice in {', '.join(header)}; every column needs its own name")
