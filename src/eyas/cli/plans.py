"""The result of `eyas plan`: what was chosen, the Pareto front, what the limits keep out."""

from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from eyas.arch.budget import show
from eyas.cli.terminal import out
from eyas.studies.plan_rows import TITLES, front_rows, front_shown, rated

ROWS = 10  # of the front
MARKS = "top-1: published for ImageNet; (i) interpolated, counts 1 point less, (e) estimated, 1.5 less"


def show_plan(result: Any) -> None:
    """The chosen network with its facts, the front within the budget, what each limit keeps out."""
    plan = result.plan
    chosen = plan["chosen"]
    out.print(f"{plan['weighed']:,} candidates, {plan['fitting']:,} of them may keep {escape(plan['budget'])}")
    out.print(f"\n[bold]{escape(chosen['arch'])}[/] as {chosen['target']}")
    top1 = f", top-1 {rated(chosen)}" if rated(chosen) else ""
    out.print(f"  {show('size', chosen['size'])}, {_timed(plan, chosen)}")
    out.print(f"  {show('madds', chosen['madds'])} MAdds, {show('params', chosen['params'])} parameters{top1}")
    if chosen["explored"] is not None:
        out.print(f"  {chosen['explored']:.1%} of the validation images after a brief training")
    if what := front_shown(plan):
        _show_front(plan, what)
    for bind in plan["binds"]:
        out.print(f"  {escape(bind['sentence'])}")
    if plan["together"]:
        out.print(f"  {' and '.join(plan['together'])} keep something better out only together")
    if result.report:
        out.print(f"report  {escape(str(result.report))}")


def _show_front(plan: dict[str, Any], what: str) -> None:
    """The best of the front that keep the budget."""
    rows = front_rows(plan, what)[-ROWS:]
    timed = any(one["predicted"] or one["measured"] for one in rows)
    table = Table(title=f"Nothing smaller is as good ({TITLES[what]})" if what == "size" else f"Pareto front by {TITLES[what]}")
    table.box, table.title_justify, table.title_style = SIMPLE, "left", ""
    table.add_column("network", overflow="fold")
    table.add_column("format")
    for column in ("top-1", "MAdds", "size", *(("latency",) if timed else ())):
        table.add_column(column, justify="right", no_wrap=True)
    for one in rows:
        latency = one["latency"] if one["measured"] else one["predicted"]
        cells = (rated(one) or "", show("madds", one["madds"]), show("size", one["size"]))
        last = (show("latency", latency) if latency else "",) if timed else ()
        table.add_row(escape(one["arch"]), one["target"], *cells, *last)
    out.print(table)
    if any(one["top1"] is not None for one in rows):
        out.print(f" [dim]{MARKS}")


def _timed(plan: dict[str, Any], chosen: dict[str, Any]) -> str:
    """The latency, and where it was measured or what predicts it."""
    told = f"{show('latency', chosen['latency'])} an image, measured here with {plan['threads']} thread(s)"
    if chosen["predicted"]:
        told += f"; {show('latency', chosen['predicted'])} predicted on {plan['device']}"
    return escape(told)
