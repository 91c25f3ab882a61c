"""CelebA's published partition, a list beside its table of attributes (Liu et al. 2015): the split of every image."""

from eyas.data.manifest import Split
from eyas.data.readers.places import Place
from eyas.errors import UserError
from eyas.progress import say

FILES = ("list_eval_partition.txt", "list_eval_partition.csv")  # as published; as Kaggle has it
HEADER = ["image_id", "partition"]  # of the second
PARTS: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}

Lines = list[tuple[int, list[str]]]  # line number, values


def with_partition(table: Place, header: list[str], lines: Lines) -> tuple[list[str], Lines]:
    """A table of attributes with the published split of each image in a column `split`, where a partition lies beside it.

    As published, the table is in `Anno/` and the partition in `Eval/` beside that. A table with a column `split` keeps its
    own. Images that the partition names besides those of the table are counted and left out: a table may be a part.

    Raises:
        UserError: naming the line: of the partition, that is none, or an image of the table that it does not name.
    """
    file = None if "split" in header else _beside(table)
    if file is None:
        return header, lines
    splits = _read(file)
    for line, values in lines:
        if values[0] not in splits:
            raise UserError(
                f"{table}, line {line}: {values[0]!r} is not in {file}, which has the split of {len(splits)} images; add its "
                "line there, or move that file away and Eyas draws the splits"
            )
    others = sorted({*splits} - {values[0] for _, values in lines})
    if others:
        say(f"{file} names {len(others)} images that are not in {table.name}, {others[0]!r} for one; they are left out")
    return [*header, "split"], [(line, [*values, splits[values[0]]]) for line, values in lines]


def _beside(table: Place) -> Place | None:
    """The partition's file; where there are two, that of the table's kind."""
    homes = [table.parent, *([table.parent.parent.child("Eval")] if table.parent.name == "Anno" else [])]
    found = [home.child(name) for home in homes for name in FILES if home.child(name).exists()]
    return min(found, key=lambda file: file.suffix != table.suffix, default=None)


def _read(file: Place) -> dict[str, Split]:
    """The split of every image that the partition names."""
    comma = "," if file.suffix == ".csv" else None
    lines = [(number, [word.strip() for word in text.split(comma)]) for number, text in file.lines()]
    if comma and lines and lines[0][1] == HEADER:
        del lines[0]
    splits: dict[str, Split] = {}
    for number, words in lines:
        if len(words) != 2 or words[1] not in PARTS:
            raise UserError(
                f"{file}, line {number}: {' '.join(words)[:60]!r} is not an image and its part; a line has a name and 0 "
                "(train), 1 (validation) or 2 (test)"
            )
        if words[0] in splits:
            raise UserError(f"{file}, line {number}: {words[0]!r} is there already; an image has one part")
        splits[words[0]] = PARTS[words[1]]
    if not splits:
        raise UserError(f"{file} names no images; get it again, or move it away and Eyas draws the splits")
    return splits
