"""Curves over training steps as the coordinates of a drawing; the report's template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

WIDTH, HEIGHT = 480, 210
TOP, RIGHT, BOTTOM, LEFT = 14, 10, 26, 40
MOST_POINTS = 160
"""A longer curve is drawn as the means of this many stretches."""

MOST_DOTS = 24
"""A curve of at most so many points has a dot at each, which tells its value under the pointer."""

Point = tuple[float, float]


class Curve(NamedTuple):
    """A logged value over training steps, in the order of the steps."""

    name: str
    points: Sequence[Point]


class Dot(NamedTuple):
    """A point of a line in the drawing, and what it tells."""

    x: float
    y: float
    told: str


class Line(NamedTuple):
    """A curve in the coordinates of its drawing.

    Attributes:
        label: Name in the key below the chart.
        colour: Name of the template's colour.
        path: Points of an SVG polyline.
        last: Last value, for the key.
        dots: Empty for a long curve.
    """

    label: str
    colour: str
    path: str
    last: str
    dots: Sequence[Dot]


class Tick(NamedTuple):
    """A place on an axis, and its text."""

    place: float
    text: str


class Chart(NamedTuple):
    """Lines that share their axes; ``marks`` are steps at which something begins."""

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Tick]


class Series(NamedTuple):
    """Which logged value a chart shows, under which label and in which of the template's colours."""

    name: str
    label: str
    colour: str


class Frame(NamedTuple):
    """The ranges that a drawing shows."""

    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        """Distance from the left edge."""
        return LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Distance from the upper edge."""
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def draw_chart(
    title: str, wanted: Sequence[Series], history: Sequence[Curve], marks: Mapping[str, int] | None = None
) -> Chart | None:
    """The curves of one chart, scaled to its frame.

    Args:
        title: Over the chart.
        wanted: What to draw, in this order.
        history: Curves by name; those not wanted are left out.
        marks: Steps at which something begins, by its name; shown where the curves reach them.

    Returns:
        None where nothing that is wanted has two points.
    """
    points = {curve.name: thin_out(curve.points) for curve in history if len(curve.points) > 1}
    shown = [(series, points[series.name]) for series in wanted if series.name in points]
    if not shown:
        return None
    frame = _frame([point for _, line in shown for point in line])
    reached = {name: step for name, step in (marks or {}).items() if frame.first < step < frame.last}
    return Chart(
        title,
        [_line(series, line, frame) for series, line in shown],
        [Tick(frame.x(tick), f"{tick:,.0f}") for tick in round_ticks(frame.first, frame.last)],
        [Tick(frame.y(tick), f"{tick:g}") for tick in round_ticks(frame.low, frame.high)],
        [Tick(frame.x(step), name) for name, step in reached.items()],
    )


def thin_out(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """The points themselves, or where there are more than ``most``, the means of that many equal stretches."""
    if len(points) <= most:
        return list(points)
    edges = [round(index * len(points) / most) for index in range(most + 1)]
    return [_mean(points[start:end]) for start, end in pairwise(edges)]


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``, their distance 1, 2 or 5 times a power of 10."""
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if _count(low, high, unit * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round((first + index) * step, 10) for index in range(_count(low, high, step))]


def _count(low: float, high: float, step: float) -> int:
    """How many multiples of ``step`` lie between ``low`` and ``high``."""
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def _mean(points: Sequence[Point]) -> Point:
    steps, values = zip(*points, strict=True)
    return sum(steps) / len(points), sum(values) / len(points)


def _frame(points: Sequence[Point]) -> Frame:
    """All points, and a little air above and below; what is never negative is not shown below 0."""
    steps, values = zip(*points, strict=True)
    air = 0.08 * (max(values) - min(values)) or 0.08 * abs(max(values)) or 1.0
    low = min(values) - air
    low = max(0.0, low) if min(values) >= 0 else low
    return Frame(min(steps), max(*steps, min(steps) + 1), low, max(values) + air)


def _line(series: Series, points: Sequence[Point], frame: Frame) -> Line:
    path = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in points)
    dots = [Dot(frame.x(step), frame.y(value), f"step {step:,.0f}: {value:.4g}") for step, value in points]
    last = f"{points[-1][1]:.3g}"
    return Line(series.label, series.colour, path, last, dots if len(points) <= MOST_DOTS else [])
