"""The result of `eyas reproduce` as people read it."""

from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from eyas.cli.terminal import out

COLOURS = {"held": "green", "not held": "red"}


def show_reproduce(result: Any) -> None:
    """A line a cell: its accuracy, how far it is from what it is compared with, the paper's figures, what holds here."""
    table = Table(title="Accuracy on the test split in %, differences in points", title_justify="left", box=SIMPLE)
    for column in ("cell", "accuracy", "difference (95 % interval)", "paper", "here"):
        table.add_column(column, justify="right" if column[0] in "ad" else "left", no_wrap=column != "paper")
    for row in result.rows:
        if row.test:
            table.add_row(row.cell, f"{100 * row.test.value:.1f}", *_compared(row))
    out.print(table)
    others = [f"{row.cell} with {row.against}" for row in result.rows if row.difference and row.against != "baseline"]
    if others:
        out.print(f"each is compared with the baseline, but {', '.join(others)}")
    if missing := [row.cell for row in result.rows if row.skipped]:
        out.print(f"missing, for all seeds or some, as the report explains: {', '.join(missing)}")
    told = ", ".join(f"{held} {result.count(held)}" for held in ("held", "not held", "not decided"))
    out.print(f"[bold]findings: {told}[/]")
    if all(row.seeds <= 1 for row in result.rows):
        out.print("of one seed: the intervals are over images alone, and another training may differ by more (--seeds)")
    out.print(f"report  {escape(str(result.report))}")


def _compared(row: Any) -> tuple[str, ...]:
    if row.difference is None:
        return ("",) * 3
    found, colour = row.difference, COLOURS.get(row.held, "default")
    gain = f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
    return gain, ", ".join(f"{each.difference:+.1f}" for each in row.paper), f"[{colour}]{row.held}[/]"
