"""What a report is made of, as values: text, verdicts, headline figures, tables, charts, galleries."""

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from jaxtyping import UInt8

Tone = Literal["good", "bad", "neutral"]
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, set apart by blank lines; lines that begin with "- " make a list, `backticks` make code.

    Everything else is plain text: what looks like HTML or Markdown is shown as it is written.
    """

    text: str

    def blocks(self) -> list[tuple[bool, list[str]]]:
        """Paragraphs and lists in order: whether it is a list, and its lines or items."""
        found = []
        for paragraph in re.split(r"\n\s*\n", self.text.strip()):
            for listed, lines in groupby(paragraph.splitlines(), key=lambda line: line.startswith("- ")):
                found.append((listed, [line.removeprefix("- ").strip() if listed else line.strip() for line in lines]))
        return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence set large: what the reader should take away. The tone gives its colour and its mark."""

    sentence: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Number:
    """A headline figure: `Number("Accuracy on the test split", "87.4 %", "95 % interval 84.9–89.6 %")`."""

    label: str
    value: str
    note: str = ""
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Headline figures side by side."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column heads.

    Columns of numbers, and of texts such as "87.4 % (84.9–89.6)" or "1.72 MB", are set to the right; floats of a
    column share their number of decimals. `None` and numbers that are not finite show as a dash.

    Raises:
        ValueError: a row does not have a cell for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {number} has {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart as an SVG element, from `eyas.report.charts`; it goes into the page as it is."""

    title: str
    svg: str
    note: str = ""


# Arrays have no single truth value, so two galleries are the same only when they are one.
@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Images in a grid, each with its caption: uint8, [height, width, 1 or 3], of any sizes."""

    title: str
    images: tuple[tuple[UInt8[np.ndarray, "_ _ _"], str], ...]
    note: str = ""


Item = Text | Verdict | Numbers | Table | Figure | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, which also stands in the table of contents, and what belongs under it."""

    title: str
    items: tuple[Item, ...]
