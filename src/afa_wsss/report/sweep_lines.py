"""Parallel coordinates: every run of a sweep as a line over an axis for each setting, and one for the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from afa_wsss.report.sweep_runs import SweepRun
from afa_wsss.report.sweep_values import number, ordered

WIDTH, HEIGHT = 1040, 320
TOP, BOTTOM, SIDE = 34, 16, 90
FAR_APART = 30.0
"""Positive numbers that differ by more than this factor are placed by their logarithms."""


class Mark(NamedTuple):
    """A value on an axis: its height, and its text."""

    y: float
    text: str


class Axis(NamedTuple):
    """One setting, or the score.

    Attributes:
        name: Over the axis.
        x: Distance from the left edge.
        marks: Values with their heights.
    """

    name: str
    x: float
    marks: Sequence[Mark]


class RunLine(NamedTuple):
    """A run as points of an SVG polyline; ``strength`` of its score is 0 for the worst run and 1 for the best."""

    path: str
    text: str
    strength: float


class Coordinates(NamedTuple):
    """The drawing."""

    axes: Sequence[Axis]
    lines: Sequence[RunLine]


def parallel_coordinates(runs: Sequence[SweepRun], metric: str, settings: Sequence[str]) -> Coordinates | None:
    """Axes for ``settings`` in their order and for the score; None where fewer than two runs have a score."""
    scored = sorted((run for run in runs if metric in run.scores), key=lambda run: run.scores[metric])
    if len(scored) < 2 or not settings:
        return None
    columns = {name: [run.settings[name] for run in scored] for name in settings}
    columns[metric] = [f"{run.scores[metric]:.4f}" for run in scored]
    apart = (WIDTH - 2 * SIDE) / (len(columns) - 1)
    axes, heights = [], []
    for place, (name, values) in enumerate(columns.items()):
        ys, marks = _placed(values)
        axes.append(Axis(name, SIDE + place * apart, marks))
        heights.append(ys)
    low, high = scored[0].scores[metric], scored[-1].scores[metric]
    lines = []
    for index, run in enumerate(scored):
        path = " ".join(f"{axis.x:.1f},{ys[index]:.1f}" for axis, ys in zip(axes, heights, strict=True))
        given = ", ".join(f"{name}={run.settings[name]}" for name in settings)
        strength = (run.scores[metric] - low) / (high - low) if high > low else 1.0
        lines.append(RunLine(path, f"{run.name}: {run.scores[metric]:.1f} ({given})", strength))
    return Coordinates(axes, lines)


def _placed(values: Sequence[str]) -> tuple[list[float], list[Mark]]:
    """Heights of the values of an axis, and its marks: all values of words, the ends of numbers."""
    numbers = [number(value) for value in values]
    known = [value for value in numbers if value is not None]
    if len(known) < len(values) or not all(map(math.isfinite, known)):
        names = ordered(values)
        heights = {name: _height(place / max(len(names) - 1, 1)) for place, name in enumerate(names)}
        return [heights[value] for value in values], [Mark(heights[name], name or "-") for name in names]
    logarithmic = min(known) > 0 and max(known) > FAR_APART * min(known)
    scaled = [math.log(value) if logarithmic else value for value in known]
    low, high = min(scaled), max(scaled)
    ys = [_height((value - low) / (high - low) if high > low else 0.5) for value in scaled]
    few = len(set(known)) <= 6
    shown = {value: y for value, y in zip(known, ys, strict=True) if few or value in (min(known), max(known))}
    return ys, [Mark(y, f"{value:.4g}") for value, y in sorted(shown.items())]


def _height(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
