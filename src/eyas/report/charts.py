"""Charts as static SVG: values in, `Figure` out. No network and no JavaScript.

Titles stand in the page's captions, so the drawing holds only axes, marks and a legend.
"""

import math
from collections.abc import Sequence

from eyas.report.drawing import (
    DASHES,
    INK,
    Axis,
    Real,
    Rule,
    colour,
    cycle,
    figure,
    legend,
    packages,
    position,
    rule_layers,
    shape,
)
from eyas.report.items import Figure

ROW = 34  # pixels of a line in charts that have a line for each name
MARKED = 12  # points up to which each point of a curve is marked
COUNTED = 20  # classes up to which a confusion matrix has room for its counts


def lines(title: str, series: dict[str, Sequence[tuple[Real, Real]]], x: Axis, y: Axis, note: str = "") -> Figure:
    """Curves, one a name, such as learning curves; points that are not finite are left out.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    points = [
        {"x": x.of(at), "y": y.of(value), "group": name}
        for name, curve in series.items()
        for at, value in curve
        if math.isfinite(value)
    ]
    names = list(series)
    dots = {"size": 35, "filled": True} if max(map(len, series.values()), default=0) <= MARKED else False
    chart = (
        alt.Chart(alt.InlineData(points))
        .mark_line(strokeWidth=2, strokeJoin="round", point=dots)
        .encode(
            position(alt.X, "x", x),
            position(alt.Y, "y", y),
            colour(alt, names),
            alt.StrokeDash("group:N", scale=alt.Scale(domain=names, range=cycle(DASHES, names)), legend=legend(alt, names)),
        )
    )
    return figure(chart, 270, title, note)


def histogram(
    title: str,
    edges: Sequence[Real],
    counts: dict[str, Sequence[int]],
    x: Axis,
    y: Axis,
    rule: Rule | None = None,
    note: str = "",
) -> Figure:
    """Counts between `edges` (one more than the counts of a group), the groups stacked in the order given.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    base = [0] * (len(edges) - 1)
    boxes = []
    for name, heights in counts.items():
        for n, height in enumerate(heights):
            box = {"low": x.of(edges[n]), "high": x.of(edges[n + 1]), "base": base[n], "top": base[n] + height, "group": name}
            boxes += [box] if height else []
            base[n] += height
    names = list(counts)
    span = alt.Scale(domain=[x.of(edges[0]), x.of(edges[-1])], nice=False)
    ceiling = alt.Scale(domain=[0, max(*base, 1) * 1.18], nice=False)  # room for the label of the rule
    bars = (
        alt.Chart(alt.InlineData(boxes))
        .mark_rect(stroke="#ffffff", strokeWidth=0.75)
        .encode(
            alt.X("low:Q", title=x.label(), axis=alt.Axis(grid=False), scale=span),
            alt.X2("high:Q"),
            alt.Y("base:Q", title=y.label(), scale=ceiling, axis=alt.Axis(tickCount=5)),
            alt.Y2("top:Q"),
            colour(alt, names),
        )
    )
    middle = (x.of(edges[0]) + x.of(edges[-1])) / 2
    return figure(alt.layer(bars, *rule_layers(alt, rule, x, middle)), 270, title, note)


def intervals(title: str, rows: Sequence[tuple[str, Real, Real | None, Real | None, str]], x: Axis, note: str = "") -> Figure:
    """A dot and its interval for each `(name, value, low, high, group)`, from top to bottom; `None`: no interval is known.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    groups = list(dict.fromkeys(row[4] for row in rows))
    values = [
        {
            "name": name,
            "value": x.of(value),
            "low": x.of(value if low is None else low),
            "high": x.of(value if high is None else high),
            "shown": f"{x.of(value):.1f}" if x.unit == "%" else f"{value:.3g}",
            "group": group,
        }
        for name, value, low, high, group in rows
    ]
    order = list(dict.fromkeys(row[0] for row in rows))
    names = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(grid=True, ticks=False, domain=False, labelPadding=8))
    scale = alt.Scale(zero=False, nice=True, padding=12)
    base = alt.Chart(alt.InlineData(values)).encode(names, colour(alt, groups))
    spans = base.mark_rule(strokeWidth=2).encode(
        alt.X("low:Q", title=x.label(), scale=scale, axis=alt.Axis(tickCount=6)), alt.X2("high:Q")
    )
    dots = base.mark_point(filled=True, size=75, opacity=1).encode(alt.X("value:Q"), shape(alt, groups))
    labels = (
        alt.Chart(alt.InlineData(values)).mark_text(dy=-11, fontSize=11).encode(names, alt.X("value:Q"), alt.Text("shown:N"))
    )
    return figure(alt.layer(spans, dots, labels), ROW * len(order) + 80, title, note)


def bars(title: str, rows: Sequence[tuple[str, Real, str]], x: Axis, note: str = "") -> Figure:
    """A bar for each name, made of the `(name, value, group)` of that name end to end, in the order given.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    ends: dict[str, Real] = {}
    boxes = []
    for name, value, group in rows:
        start = ends.get(name, 0.0)
        ends[name] = start + x.of(value)
        boxes.append({"name": name, "start": start, "end": ends[name], "group": group})
    order = list(ends)
    names = alt.Y(
        "name:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelPadding=8), scale=alt.Scale(padding=0.3)
    )
    scale = alt.Scale(domain=[0, max(*ends.values(), 1e-9) * 1.12], nice=False)  # room for the totals
    drawn = (
        alt.Chart(alt.InlineData(boxes))
        .mark_bar(stroke="#ffffff", strokeWidth=0.75)
        .encode(
            names,
            alt.X("start:Q", title=x.label(), scale=scale, axis=alt.Axis(tickCount=6)),
            alt.X2("end:Q"),
            colour(alt, list(dict.fromkeys(row[2] for row in rows))),
        )
    )
    totals = [{"name": name, "end": end, "shown": f"{end:,.4g}"} for name, end in ends.items()]
    labels = alt.Chart(alt.InlineData(totals)).mark_text(align="left", dx=5).encode(names, alt.X("end:Q"), alt.Text("shown:N"))
    return figure(alt.layer(drawn, labels), ROW * len(order) + 80, title, note)


def confusion(title: str, matrix: Sequence[Sequence[int]], classes: Sequence[str], note: str = "") -> Figure:
    """Counts `matrix[true][predicted]`; the darker a cell, the larger its share of the true class.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    cells = [
        {"true": true, "predicted": predicted, "share": count / max(sum(row), 1), "shown": f"{count:,}"}
        for true, row in zip(classes, matrix, strict=True)
        for predicted, count in zip(classes, row, strict=True)
    ]
    order = list(classes)
    slanted = max(map(len, classes)) * len(classes) > 34  # letters that fit side by side under the matrix
    crowded = len(classes) > COUNTED
    angle = 0 if not slanted else -90 if crowded else -40
    across = alt.Axis(labelAngle=angle, ticks=False, domain=False, labelLimit=110, labelOverlap=crowded)
    down = alt.Axis(ticks=False, domain=False, labelLimit=110, labelOverlap=crowded)
    base = alt.Chart(alt.InlineData(cells)).encode(
        alt.X("predicted:N", sort=order, title="Predicted class", axis=across, scale=alt.Scale(padding=0.02)),
        alt.Y("true:N", sort=order, title="True class", axis=down, scale=alt.Scale(padding=0.02)),
    )
    shades = alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=["#eef3f8", "#08519c"]), legend=None)
    counts = base.mark_text(fontSize=15 if len(order) <= 4 else 11 if len(order) <= 10 else 8).encode(
        alt.Text("shown:N"), color=alt.condition("datum.share > 0.45", alt.value("#ffffff"), alt.value(INK))
    )
    layers = [base.mark_rect().encode(shades), *([] if crowded else [counts])]
    return figure(alt.layer(*layers), min(130 + 60 * len(order), 430), title, note)


def scatter(
    title: str,
    points: Sequence[tuple[str, Real, Real, str]],
    x: Axis,
    y: Axis,
    rule_x: Rule | None = None,
    chosen: str | None = None,
    note: str = "",
) -> Figure:
    """A mark for each `(name, x, y, group)`; the one named `chosen` is ringed and named.

    Raises:
        UserError: the package to draw with is not installed.
    """
    alt, _ = packages()
    groups = list(dict.fromkeys(point[3] for point in points))
    values = [{"name": name, "x": x.of(at), "y": y.of(value), "group": group} for name, at, value, group in points]
    low, high = min(x.of(point[1]) for point in points), max(x.of(point[1]) for point in points)
    middle = math.sqrt(low * high) if x.log else (low + high) / 2
    base = alt.Chart(alt.InlineData(values)).encode(position(alt.X, "x", x), position(alt.Y, "y", y))
    marks = base.mark_point(filled=True, size=55, opacity=0.85).encode(colour(alt, groups), shape(alt, groups))
    layers = [*rule_layers(alt, rule_x, x, middle), marks]
    for name, at, value, _ in points:
        if name == chosen:
            side = {"align": "right", "dx": -11} if x.of(at) > middle else {"align": "left", "dx": 11}
            found = alt.Chart(alt.InlineData([{"x": x.of(at), "y": y.of(value), "name": name}])).encode(
                alt.X("x:Q"), alt.Y("y:Q")
            )
            named = found.encode(alt.Text("name:N"))
            layers += [
                found.mark_point(size=230, color=INK, strokeWidth=1.75, opacity=1),
                named.mark_text(**side, fontWeight="bold", stroke="#ffffff", strokeWidth=3, opacity=0.7),  # a halo over marks
                named.mark_text(**side, fontWeight="bold"),
            ]
    return figure(alt.layer(*layers), 290, title, note)
