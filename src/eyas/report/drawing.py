"""What the charts share: axes, colours, one look, and the way from altair's chart to a static SVG.

Groups differ in shape or dash as well as in colour, and the colours (Okabe and Ito, 2008, darkened where they are too pale
on white) stay apart for colour-blind readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eyas.errors import UserError
from eyas.report.items import Figure

Real = int | float  # written out for the checks at test time, to which an int is no float

WIDTH = 420  # pixels; two side by side on a page of 1200; on a phone the letters stay readable
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5559b", "#a67c00", "#4a90c4", "#5f6b7a")
DASHES = ((1, 0), (6, 3), (2, 2), (9, 3, 2, 3))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
INK, SOFT, GRID = "#1b2430", "#596575", "#d5dbe2"

CONFIG = {
    "aria": False,  # the page describes the figure as a whole
    "background": None,
    "font": "Arial, Helvetica, Liberation Sans, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 13,
        "titleFontSize": 13,
        "labelColor": INK,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": 150,
        "gridColor": GRID,
        "domainColor": SOFT,
        "tickColor": SOFT,
        "tickSize": 4,
        "labelFlush": False,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelFontSize": 13,
        "labelColor": INK,
        "labelLimit": 190,
        "symbolStrokeWidth": 2,
        "symbolSize": 70,
        "columnPadding": 14,
        "offset": 10,
        "padding": 0,
    },
    "text": {"fontSize": 13, "color": INK},
}


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows: `Axis("Size", "MB")`. With the unit "%", values are shares (0.87) and are drawn as percentages."""

    title: str
    unit: str = ""
    log: bool = False

    def of(self, value: Real) -> Real:
        """`value` as it is drawn."""
        return 100 * value if self.unit == "%" else value

    def label(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class Rule:
    """A dashed line across a chart: a limit, a threshold."""

    at: Real
    label: str


def packages() -> tuple[Any, Any]:
    """The modules altair and vl_convert.

    Raises:
        UserError: they are not installed.
    """
    try:
        import altair
        import vl_convert
    except ImportError:
        raise UserError("charts need the packages altair and vl-convert: run `pip install 'eyas[report]'`") from None
    return altair, vl_convert


def figure(chart: Any, height: int, title: str, note: str, width: int = WIDTH) -> Figure:
    """The chart of altair as SVG. Nothing is fetched: the data are in the chart, and no address is allowed."""
    _, vl_convert = packages()
    spec = chart.properties(width=width, height=height).to_dict() | {"autosize": {"type": "fit", "contains": "padding"}}
    return Figure(title, vl_convert.vegalite_to_svg(spec, config=CONFIG, allowed_base_urls=[]), note)


def position(channel: Any, field: str, axis: Axis) -> Any:
    """`channel` (altair's X or Y) showing the numbers of `field`, not forced to begin at zero."""
    scale = {"type": "log"} if axis.log else {"zero": False}
    return channel(f"{field}:Q", title=axis.label()).scale(**scale).axis(tickCount=6)


def colour(alt: Any, names: list[str]) -> Any:
    """A colour for each group of `names`, in that order."""
    return alt.Color("group:N", scale=alt.Scale(domain=names, range=cycle(COLOURS, names)), legend=legend(alt, names))


def shape(alt: Any, names: list[str]) -> Any:
    """A shape for each group of `names`, in that order."""
    return alt.Shape("group:N", scale=alt.Scale(domain=names, range=cycle(SHAPES, names)), legend=legend(alt, names))


def legend(alt: Any, names: list[str]) -> Any:
    """The names of the groups above the chart. None for a single group: its name would say nothing that the title does not."""
    return alt.Legend(columns=2 if sum(map(len, names)) > 40 else 0) if len(names) > 1 else None


def cycle(choices: Sequence[Any], names: list[str]) -> list[Any]:
    """One of `choices` for each name, from the first again when they run out."""
    return [choices[n % len(choices)] for n in range(len(names))]


def rule_layers(alt: Any, rule: Rule | None, x: Axis, middle: Real) -> list[Any]:
    """The dashed line, and its label at the top on the side where there is more room."""
    if rule is None:
        return []
    at = x.of(rule.at)
    side = {"align": "right", "dx": -5} if at > middle else {"align": "left", "dx": 5}
    base = alt.Chart(alt.InlineData([{"at": at, "label": rule.label}])).encode(alt.X("at:Q"))
    return [
        base.mark_rule(strokeDash=[5, 3], strokeWidth=1.5, color=INK),
        base.mark_text(**side).encode(alt.Text("label:N"), alt.YValue(8)),
    ]
