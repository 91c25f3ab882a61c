"""Tables with a column for each attribute, -1/1 or 0/1, as CelebA has them (Liu et al. 2015); an empty cell is unknown."""

from collections.abc import Generator, Iterable, Sequence

from eyas.data.manifest import Manifest
from eyas.data.readers.partition import with_partition
from eyas.data.readers.places import Place, folder_of
from eyas.data.readers.rows import PATH_NAMES, Row, file_row, manifest_of
from eyas.errors import UserError
from eyas.progress import say

IMAGE_NAMES = (*PATH_NAMES, "image_id", "image", "filename", "file", "id")  # of the first column
BESIDE = ("split", "group", "weight")  # columns that are no attributes

_Lines = Iterable[tuple[int, list[str]]]  # line number, values


def fits(header: Sequence[str], first: Sequence[str]) -> bool:
    """Whether a table is one of attributes, from its header and its first row."""
    if len(header) < 2 or header[0].lower() not in IMAGE_NAMES or {"label", "labels"} & {*header}:
        return False
    values = [value for name, value in zip(header[1:], first[1:], strict=True) if name not in BESIDE] if first else []
    return any(values) and set(values) <= {"-1", "0", "1", ""}


def read(place: Place, header: Sequence[str], lines: _Lines, labelled: bool) -> Manifest:
    """The manifest of a table of attributes: `labels` are the names of those that are 1, `unknown` of the empty ones.

    An attribute that no image has is said: nothing can be learned of it. CelebA's partition beside the table is the split.

    Raises:
        UserError: naming the line: a value that is not -1, 0 or 1, or an image that is not there.
    """
    if len(set(header)) < len(header):
        raise UserError(f"{place}, line 1: a column is named twice in {', '.join(header)}; every column needs its own name")
    names, rows = list(header), list(lines)
    if labelled:
        names, rows = with_partition(place, names, rows)
    return manifest_of(place, _rows(place, names, rows), labelled, "csv")


def read_text(place: Place, labelled: bool) -> Manifest:
    """`list_attr_celeba.txt`: the number of images, the names of the attributes, then a name and -1 or 1 for each.

    Raises:
        UserError: it is another kind of text, or a line is wrong.
    """
    lines = ((number, line.split()) for number, line in place.lines())
    count, names = next(lines, (1, []))[1], next(lines, (2, []))[1]
    if len(count) != 1 or not count[0].isdigit() or not names:
        raise UserError(
            f"{place} is text of another kind; the first line of an attribute table is the number of images, the second the "
            "names of the attributes, and other lists of images are a .csv with the columns path,label"
        )
    rows = list(lines)
    for line, values in rows:
        if len(values) != len(names) + 1:
            raise UserError(f"{place}, line {line}: {len(values) - 1} values where line 2 names {len(names)} attributes")
    return read(place, ["image_id", *names], rows, labelled)


def _rows(place: Place, header: Sequence[str], lines: list[tuple[int, list[str]]]) -> Generator[Row]:
    folder = folder_of(place, [values[0] for _, values in lines])
    attributes = [(column, name) for column, name in enumerate(header) if column and name not in BESIDE]
    others = [(column, name) for column, name in enumerate(header) if name in BESIDE]
    gaps = any("" in values for _, values in lines)
    _say_absent(place, attributes, lines)
    off = None  # what stands for an attribute that an image does not have: -1 or 0, in all of the table
    for line, values in lines:
        for column, name in attributes:
            value = values[column]
            if value not in ("1", "") and value != off:
                if value not in ("-1", "0") or off is not None:
                    expected = f"{off} or 1 as above" if off else "-1 or 1, or 0 or 1"
                    raise UserError(f"{place}, line {line}: {name} is {value!r}; an attribute is {expected}")
                off = value
        cells: dict[str, object] = {"labels": [name for column, name in attributes if values[column] == "1"]}
        if gaps:
            cells["unknown"] = [name for column, name in attributes if values[column] == ""]
        yield file_row(place, folder, f"line {line}", values[0], cells | {name: values[column] for column, name in others})


def _say_absent(place: Place, attributes: list[tuple[int, str]], lines: list[tuple[int, list[str]]]) -> None:
    absent = [name for column, name in attributes if not any(values[column] == "1" for _, values in lines)]
    if absent:
        say(f"{place}: no image has {', '.join(absent)}; nothing can be learned of what is the same for all")
