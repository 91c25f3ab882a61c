"""The papers' trade-off plots, drawn from our own costs: published top-1 against MAdds and against parameters.

`docs/architectures.py` writes them. A white ground is part of the drawing, which pages of either brightness show alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eyas.arch.accuracy import PUBLISHED
from eyas.arch.cost import Cost, cost
from eyas.arch.parse import parse
from eyas.report.drawing import COLOURS, SHAPES, figure, packages

WIDTH, HEIGHT = 760, 540  # pixels; the column of the page is as wide

Side = Literal["", "left", "right", "above", "below", "above left", "below right"]
Value = Callable[[Cost], int]

# Where a label stands from its point, in pixels, and which of its edges stands there.
PLACES: dict[Side, dict[str, Any]] = {
    "left": {"dx": -9, "align": "right", "baseline": "middle"},
    "right": {"dx": 9, "align": "left", "baseline": "middle"},
    "above": {"dy": -9, "align": "center", "baseline": "bottom"},
    "below": {"dy": 10, "align": "center", "baseline": "top"},
    "above left": {"dx": -1, "dy": -6, "align": "right", "baseline": "bottom"},
    "below right": {"dx": 7, "dy": 4, "align": "left", "baseline": "top"},
}


@dataclass(frozen=True, slots=True)
class Point:
    """A network, its label, and on which side of it the label stands in each of the two plots (`""`: nowhere)."""

    name: str
    label: str
    by_madds: Side
    by_params: Side


@dataclass(frozen=True, slots=True)
class Line:
    """Networks of a family; with a `dash` joined by a line, because each is the one before it scaled."""

    family: str
    points: tuple[Point, ...]
    dash: tuple[int, int] | None = None


SOLID, DASHED = (1, 0), (5, 3)

# The point that names the family has its name in the label.
LINES = (
    Line(
        "MobileNetV1",
        (
            Point("mobilenet_v1x0.25", "×0.25", "right", "right"),
            Point("mobilenet_v1x0.5", "×0.5", "left", "left"),
            Point("mobilenet_v1x0.75", "×0.75", "left", "left"),
            Point("mobilenet_v1", "MobileNetV1", "right", "right"),
        ),
        SOLID,
    ),
    Line(
        "MobileNetV1",
        (
            Point("mobilenet_v1@128", "@128", "right", ""),
            Point("mobilenet_v1@160", "@160", "right", ""),
            Point("mobilenet_v1@192", "@192", "right", ""),
            Point("mobilenet_v1", "", "", ""),
        ),
        DASHED,
    ),
    Line("MobileNetV2", (Point("mobilenet_v2", "MobileNetV2", "left", "left"),)),
    Line(
        "MobileNetV3",
        (
            Point("mobilenet_v3_small", "MobileNetV3 small", "above", "right"),
            Point("mobilenet_v3_large", "MobileNetV3 large", "left", "right"),
        ),
    ),
    Line(
        "MnasNet",
        (
            Point("mnasnet_b1", "MnasNet-B1", "left", "left"),
            Point("mnasnet_a1", "MnasNet-A1", "above left", "left"),
        ),
    ),
    Line(
        "EfficientNet",
        (
            Point("efficientnet_b0", "EfficientNet-B0", "above left", "left"),
            *(Point(f"efficientnet_b{n}", f"B{n}", "above left", "above left") for n in (1, 2)),
            *(Point(f"efficientnet_b{n}", f"B{n}", "above", "above") for n in range(3, 8)),
        ),
        SOLID,
    ),
    Line("EfficientNet", (Point("efficientnet_b7", "", "", ""), Point("efficientnet_l2", "L2", "above", "above")), DASHED),
    Line(
        "EfficientNet-Lite",
        (
            Point("efficientnet_lite0", "Lite0", "below right", "below right"),
            Point("efficientnet_lite1", "Lite1", "below right", ""),
            *(Point(f"efficientnet_lite{n}", f"Lite{n}", "below right", "below right") for n in (2, 3)),
            Point("efficientnet_lite4", "EfficientNet-Lite4", "below right", "below right"),
        ),
        SOLID,
    ),
    Line(
        "ResNet",
        (
            Point("resnet18", "ResNet-18", "below", "below"),
            *(Point(f"resnet{n}", f"{n}", "below right", "below right") for n in (34, 50)),
            *(Point(f"resnet{n}", f"{n}", "below", "below") for n in (101, 152)),
        ),
        SOLID,
    ),
)
FAMILIES = list(dict.fromkeys(line.family for line in LINES))


def by_madds() -> str:
    """Accuracy against MAdds, as SVG."""
    ticks = [3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 3e10, 1e11, 3e11]
    return _plot("MAdds of one image", ticks, lambda of: of.madds, lambda point: point.by_madds)


def by_params() -> str:
    """Accuracy against parameters, as SVG."""
    ticks = [5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8]
    without = [line for line in LINES if line.points[0].name != "mobilenet_v1@128"]  # resolution changes no parameters
    return _plot("Parameters", ticks, lambda of: of.params, lambda point: point.by_params, without)


def _plot(title: str, ticks: list[float], value: Value, side: Callable[[Point], Side], of: Sequence[Line] = LINES) -> str:
    alt, _ = packages()
    layers = [layer for line in of for layer in _layers(alt, line, value, side, _axes(alt, title, ticks))]
    chart = alt.layer(*layers).properties(background="#ffffff", padding=14)
    return figure(chart, HEIGHT, title, "", WIDTH).svg


def _axes(alt: Any, title: str, ticks: list[float]) -> tuple[Any, Any]:
    wide = alt.Scale(type="log", domain=[ticks[0] * 0.75, ticks[-1] * 2.2], nice=False)
    x = alt.X("x:Q", title=title, scale=wide, axis=alt.Axis(values=ticks, format="~s"))
    y = alt.Y("y:Q", title="ImageNet top-1 accuracy, as published (%)", scale=alt.Scale(domain=[48, 88], nice=False))
    return x, y.axis(values=list(range(50, 90, 5)))


def _layers(alt: Any, line: Line, value: Value, side: Callable[[Point], Side], axes: tuple[Any, Any]) -> list[Any]:
    colour, shape = (choices[FAMILIES.index(line.family) % len(choices)] for choices in (COLOURS, SHAPES))
    spots = [_spot(point, value) for point in line.points]
    base = alt.Chart(alt.InlineData(spots)).encode(*axes)
    layers = [base.mark_point(filled=True, size=55, opacity=1, color=colour, shape=shape)]
    if line.dash:
        layers.insert(0, base.mark_line(strokeWidth=1.75, strokeDash=list(line.dash), color=colour))
    for point, spot in zip(line.points, spots, strict=True):
        if side(point):
            label = alt.Chart(alt.InlineData([spot | {"label": point.label}])).encode(*axes, alt.Text("label:N"))
            named = line.family.split("-")[0] in point.label
            layers.append(
                label.mark_text(**PLACES[side(point)], color=colour, fontSize=12, fontWeight="bold" if named else "normal")
            )
    return layers


def _spot(point: Point, value: Value) -> dict[str, float]:
    return {"x": value(cost(parse(point.name))), "y": PUBLISHED[point.name][0]}
