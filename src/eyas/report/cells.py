"""The cells of a table as text: which columns are numbers, and how many decimals they share."""

import math
import re

from eyas.report.items import Cell, Table

NOTHING = "–"
SIGNIFICANT = 4  # digits of the largest float of a column
MOST_DECIMALS = 4

# A number, perhaps with a unit of up to three letters, perhaps with what bounds it: "87.4 % (84.9–89.6)", "<= 2 MB".
_QUANTITY = re.compile(r"([<>]=? |[≤≥±] ?)?[+\-−]?\d[\d.,]*(\s?(%|[A-Za-zµ]{1,3}))?(\s?[(±].*)?")


def texts(table: Table) -> list[list[str]]:
    """The rows of `table` as they are shown, `[row][column]`."""
    columns = [[row[index] for row in table.rows] for index in range(len(table.columns))]
    shown = [_column(cells) for cells in columns]
    return [[column[index] for column in shown] for index in range(len(table.rows))]


def numeric(table: Table) -> list[bool]:
    """For each column, whether it is set to the right."""
    columns = [[row[index] for row in table.rows if row[index] is not None] for index in range(len(table.columns))]
    return [bool(cells) and all(_is_quantity(cell) for cell in cells) for cells in columns]


def _is_quantity(cell: Cell) -> bool:
    if isinstance(cell, str):
        return cell in ("", NOTHING) or _QUANTITY.fullmatch(cell) is not None
    return not isinstance(cell, bool)


def _column(cells: list[Cell]) -> list[str]:
    floats = [cell for cell in cells if isinstance(cell, float) and math.isfinite(cell) and cell]
    decimals = _decimals(floats)
    # Where fixed decimals would show the smallest as zero, every number has its own.
    style = ".3g" if any(abs(cell) < 0.5 * 10**-decimals for cell in floats) else f",.{decimals}f"
    return [_text(cell, style) for cell in cells]


def _decimals(floats: list[float]) -> int:
    """Those that the largest needs for its significant digits, less what would be a zero in every row."""
    largest = max(map(abs, floats), default=1.0)
    most = min(max(SIGNIFICANT - 1 - math.floor(math.log10(largest)), 0), MOST_DECIMALS)
    return max((len(f"{cell:.{most}f}".partition(".")[2].rstrip("0")) for cell in floats), default=0)


def _text(cell: Cell, style: str) -> str:
    match cell:
        case None:
            return NOTHING
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return format(cell, style) if math.isfinite(cell) else NOTHING
        case _:
            return cell
