"""The result of `eyas cost`: one architecture in lines, several as a comparison, breakdowns with the roofline view."""

from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from eyas.arch.cost import Share
from eyas.cli.terminal import out
from eyas.studies.cost import Costed

COMPARED = (
    "MAdds: multiply-adds of one image; FLOPs are twice that; x: of the first row's",
    "params: all trainable; kernels: of layers alone, as the MobileNets paper counts",
    "peak: activations alive at once in int8; top-1: as published for ImageNet",
)
MOVED = (
    "moved: each layer's input, weights, output in int8; float32 moves 4 times that",
    "MAdds/byte: multiply-adds for a byte moved; where few, memory is what limits",
)


def show_cost(result: list[Costed]) -> None:
    """One architecture in full or several side by side, then the breakdowns that were asked for."""
    if len(result) == 1:
        _show_one(result[0])
    else:
        _show_comparison(result)
    for found in result:
        if found.shares:
            if len(result) > 1:
                _show_name(found)
            _show_shares(found)
    if any(found.shares for found in result):
        _show_notes(MOVED)


def cost_rows(result: list[Costed]) -> list[dict[str, Any]]:
    """A row an architecture or, broken down, a row a group; numbers as they are, blank where one is not known."""
    if not any(found.shares for found in result):
        return [
            {"arch": found.arch, "resolution": found.resolution, "classes": found.classes}
            | {"madds": found.cost.madds, "params": found.cost.params, "weights": found.cost.weights}
            | {"peak_activation_bytes": found.cost.peak_activation_bytes, "top1": found.top1}
            for found in result
        ]
    return [
        {"arch": found.arch, "group": share.group, "layers": share.layers, "madds": share.madds, "params": share.params}
        | {"moved_bytes": share.moved, "madds_per_byte": share.intensity}
        for found in result
        for share in found.shares
    ]


def _show_name(found: Costed) -> None:
    classes = "" if found.classes is None else f", {found.classes} classes"
    out.print(f"[bold]{escape(found.arch)}[/] at {found.resolution} x {found.resolution} pixels{classes}")


def _show_one(found: Costed) -> None:
    cost = found.cost
    _show_name(found)
    out.print(f"  MAdds             {cost.madds / 1e6:>8,.1f} M  multiply-adds of one image; FLOPs are twice that")
    weights = f"{cost.weights / 1e6:,.2f} M are kernel weights"
    out.print(f"  parameters        {cost.params / 1e6:>8,.2f} M  all trainable; {weights}")
    if cost.peak_activation_bytes is not None:
        peak = cost.peak_activation_bytes / 1e6
        out.print(f"  peak activations  {peak:>8,.2f} MB in int8; {4 * peak:,.2f} MB in float32")


def _show_comparison(result: list[Costed]) -> None:
    """A row each; MAdds and kernel weights also relative to the first one's."""
    first = result[0].cost
    table = _table("", "px", "MAdds\n(M)", "", "params\n(M)", "kernels\n(M)", "", "peak\n(MB)", "top-1\n(%)")
    for found in result:
        cost = found.cost
        table.add_row(
            escape(found.arch),
            str(found.resolution),
            f"{cost.madds / 1e6:,.1f}",
            _times(cost.madds, first.madds),
            f"{cost.params / 1e6:,.2f}",
            f"{cost.weights / 1e6:,.2f}",
            _times(cost.weights, first.weights),
            "" if cost.peak_activation_bytes is None else f"{cost.peak_activation_bytes / 1e6:,.2f}",
            "" if found.top1 is None else f"{found.top1:.1f}",
        )
    _show_table(table)
    _show_notes(COMPARED)


def _show_shares(found: Costed) -> None:
    """A row a group and their sum; how many layers each has only where some have several."""
    whole = found.cost
    layers, moved = sum(share.layers for share in found.shares), sum(share.moved for share in found.shares)
    several = layers > len(found.shares)
    counts = ("layers",) if several else ()
    table = _table("", *counts, "MAdds\n(M)", "share", "parameters", "share", "moved\n(MB)", "MAdds/\nbyte")
    for share in (*found.shares, Share("all", whole.madds, whole.params, layers, moved)):
        table.add_row(
            escape(share.group),
            *((str(share.layers),) if several else ()),
            f"{share.madds / 1e6:,.2f}",
            _percent(share.madds, whole.madds),
            f"{share.params:,}",
            _percent(share.params, whole.params),
            f"{share.moved / 1e6:,.2f}",
            f"{share.intensity:,.1f}",
            end_section=share is found.shares[-1],
        )
    _show_table(table)


def _table(name: str, *numbers: str) -> Table:
    """A column of names, which fold where the terminal is narrow, and columns of numbers, which never do."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(name, overflow="fold", min_width=16)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True, vertical="bottom")
    return table


def _show_table(table: Table) -> None:
    wide = Measurement.get(out, out.options.update(width=10 * out.width), table).maximum
    if wide > out.width:
        table.padding = 0
    out.print(table)


def _show_notes(lines: tuple[str, ...]) -> None:
    for line in lines:
        out.print(f" [dim]{line}")


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


def _times(value: int, first: int) -> str:
    return f"{value / first:,.{1 if value >= first else 2}f}x" if first else ""
