"""What `eyas reproduce` found, as values."""

from dataclasses import dataclass
from pathlib import Path

from eyas.studies.proof import Accuracy, Comparison
from eyas.studies.reproduce_cells import Side
from eyas.studies.reproduce_paper import Figures, Held


@dataclass(frozen=True)
class Row:
    """A cell over all seeds that have it and what it is compared with.

    Attributes:
        cell: its name.
        study: the question that it belongs to.
        does: what is different.
        against: the cell that it is compared with.
        side: on which side of that the paper says that it is.
        paper: the paper's figures.
        seeds: how many there are.
        skipped: why seeds are missing, or all.
        validation: accuracy on the validation split.
        test: accuracy on the test split.
        difference_validation: accuracy less that of `against` on the validation split, in points.
        difference: the same on the test split.
        held: whether the paper's finding held, by the test split.
    """

    cell: str
    study: str
    does: str
    against: str
    side: Side
    paper: tuple[Figures, ...]
    seeds: int
    skipped: str = ""
    validation: Accuracy | None = None
    test: Accuracy | None = None
    difference_validation: Comparison | None = None
    difference: Comparison | None = None
    held: Held = "no claim"


@dataclass(frozen=True)
class Reproduced:
    """What `eyas reproduce` leaves: the run's directory, which paper, a row a cell, and the page."""

    run: Path
    study: str
    rows: tuple[Row, ...]
    report: Path

    def count(self, held: Held) -> int:
        """How many findings have that verdict."""
        return sum(row.held == held and row.difference is not None for row in self.rows)


def points(found: Comparison | None) -> str:
    """`-1.2 (-2.0 to -0.4)`."""
    return f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f})" if found else ""
