"""Curves over training steps as the coordinates of a drawing; the template of the page draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from afa_wsss.report.ticks import round_ticks, short_text, tick_texts

WIDTH, HEIGHT = 480, 210
TOP, RIGHT, BOTTOM, LEFT = 14, 10, 26, 40
LETTER = 6.4
"""Width of a letter of the drawing's font, generously: the text is laid out before any browser measures it."""

LINE_HEIGHT = 14

MOST_POINTS = 160
"""A longer curve is drawn as the means of this many stretches."""

MOST_DOTS = 24
"""A curve of at most this many points has a dot at each, which shows its value under the pointer."""

FAR_APART = 20.0
"""Curves whose largest values differ by more than this factor are drawn in charts of their own."""

Point = tuple[float, float]


class Curve(NamedTuple):
    """A logged value over training steps, in the order of the steps."""

    name: str
    points: Sequence[Point]


class Series(NamedTuple):
    """A logged value to draw, its label, and the name of its color in the template."""

    name: str
    label: str
    color: str


class Dot(NamedTuple):
    """A point of a line in the drawing, and the text under the pointer."""

    x: float
    y: float
    text: str


class Line(NamedTuple):
    """A curve in the coordinates of its drawing.

    Attributes:
        label: Name in the key below the chart.
        color: Name of a color of the template.
        path: Points of an SVG polyline.
        last: Last value, for the key.
        dots: Empty for a long curve.
    """

    label: str
    color: str
    path: str
    last: str
    dots: Sequence[Dot]


class Tick(NamedTuple):
    """A place on an axis, and its text."""

    place: float
    text: str


class Mark(NamedTuple):
    """A dashed line where a phase begins; its text starts at ``x``, or ends there if ``leftward``, at height ``y``."""

    x: float
    y: float
    text: str
    leftward: bool


class Chart(NamedTuple):
    """Lines that share their axes; ``left`` is where the plot begins."""

    title: str
    left: float
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark]


class Frame(NamedTuple):
    """The ranges of values that a drawing shows, and the margins around them."""

    first: float
    last: float
    low: float
    high: float
    left: float = LEFT
    top: float = TOP

    def x(self, step: float) -> float:
        """Distance from the left edge."""
        return self.left + (step - self.first) / (self.last - self.first) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        """Distance from the upper edge."""
        return self.top + (self.high - value) / (self.high - self.low) * (HEIGHT - self.top - BOTTOM)


def draw_chart(
    title: str,
    wanted: Sequence[Series],
    history: Sequence[Curve],
    marks: Mapping[str, int] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    until: float = 0.0,
) -> Chart | None:
    """The curves of one chart, scaled to its frame; all charts of one history share the range of steps.

    Args:
        title: Over the chart.
        wanted: What to draw, in this order.
        history: Curves by name; those not wanted are left out.
        marks: Steps at which a phase begins, by its title; those outside the range of steps are left out.
        limits: Lowest and highest value of the axis; None for those of the curves, with a margin.
        until: Step that the range of steps reaches at least.

    Returns:
        None where nothing that is wanted has two points.
    """
    points = {curve.name: thin_out(curve.points) for curve in history if len(curve.points) > 1}
    shown = [(series, points[series.name]) for series in wanted if series.name in points]
    if not shown:
        return None
    steps = [step for line in points.values() for step, _ in line]
    low, high = limits or _value_range([value for _, line in shown for _, value in line])
    ticks = round_ticks(low, high)
    texts = tick_texts(ticks)
    left = max(LEFT, 12 + LETTER * max(map(len, texts), default=0))
    frame = Frame(min(steps), max(*steps, min(steps) + 1, until), low, high, left)
    placed = place_marks(marks or {}, frame)
    frame = frame._replace(top=max([TOP, *(mark.y + 6 for mark in placed)]))
    return Chart(
        title,
        left,
        [_line(series, line, frame) for series, line in shown],
        [Tick(frame.x(tick), f"{tick:,.0f}") for tick in round_ticks(frame.first, frame.last)],
        [Tick(frame.y(tick), text) for tick, text in zip(ticks, texts, strict=True)],
        placed,
    )


def split_by_magnitude(wanted: Sequence[Series], history: Sequence[Curve]) -> list[list[Series]]:
    """Groups of series that are readable in one chart, in the order of ``wanted``; series without a curve are left out.

    The largest absolute values of a group differ by a factor of at most ``FAR_APART``; a curve that is 0 throughout
    is drawn among the smallest.
    """
    largest = {curve.name: max(abs(value) for _, value in curve.points) for curve in history if curve.points}
    falling = sorted((series for series in wanted if series.name in largest), key=lambda series: -largest[series.name])
    groups: list[list[Series]] = []
    for series in falling:
        if not groups or 0 < largest[series.name] * FAR_APART < largest[groups[-1][0].name]:
            groups.append([])
        groups[-1].append(series)
    return sorted((sorted(group, key=wanted.index) for group in groups), key=lambda group: wanted.index(group[0]))


def place_marks(marks: Mapping[str, int], frame: Frame) -> list[Mark]:
    """Marks inside the range of steps, their texts in as many lines as they need not to cover each other."""
    placed: list[Mark] = []
    ends: list[float] = []
    for text, step in sorted(marks.items(), key=lambda mark: mark[1]):
        if not frame.first < step < frame.last:
            continue
        x, width = frame.x(step), 8 + LETTER * len(text)
        leftward = x + width > WIDTH and x - width > 0
        start, end = (x - width, x) if leftward else (x, x + width)
        row = next((row for row, taken in enumerate(ends) if taken <= start), len(ends))
        ends[row : row + 1] = [end]
        placed.append(Mark(x, TOP - 4 + LINE_HEIGHT * row, text, leftward))
    return placed


def thin_out(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """The points themselves, or where there are more than ``most``, the means of that many equal stretches."""
    if len(points) <= most:
        return list(points)
    edges = [round(index * len(points) / most) for index in range(most + 1)]
    return [_mean(points[start:end]) for start, end in pairwise(edges)]


def _mean(points: Sequence[Point]) -> Point:
    steps, values = zip(*points, strict=True)
    return sum(steps) / len(points), sum(values) / len(points)


def _value_range(values: Sequence[float]) -> tuple[float, float]:
    """All values with a margin above and below; the range stops at 0 where no value is negative."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def _line(series: Series, points: Sequence[Point], frame: Frame) -> Line:
    places = [(frame.x(step), frame.y(value)) for step, value in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    texts = [f"step {step:,.0f}: {short_text(value, digits=4)}" for step, value in points]
    dots = [Dot(x, y, text) for (x, y), text in zip(places, texts, strict=True)]
    last = short_text(points[-1][1], digits=3, zeros=True)
    return Line(series.label, series.color, path, last, dots if len(points) <= MOST_DOTS else [])
