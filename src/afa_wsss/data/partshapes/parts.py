"""The parts that PartShapes is drawn from: silhouettes and emblems as functions of coordinates.

A part is a predicate on a grid of points: ``True`` where the point belongs to it. Each part about fills the unit disc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
Inside = NDArray[np.bool_]
Part = Callable[[Points, Points], Inside]


def _polygon(vertices: Sequence[tuple[float, float]]) -> Part:
    """Even-odd rule: a point is inside if a ray from it crosses the outline an odd number of times."""
    starts = np.asarray(vertices, dtype=np.float32)
    edges = [edge for edge in zip(starts, np.roll(starts, -1, axis=0), strict=True) if edge[0][1] != edge[1][1]]

    def part(x: Points, y: Points) -> Inside:
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.bool_)
        for (x1, y1), (x2, y2) in edges:
            spans = (y1 > y) != (y2 > y)
            inside ^= spans & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
        return inside

    return part


def _regular(corners: int, *, inner: float = 1.0) -> Part:
    """Regular polygon; with ``inner`` below 1 a star whose every other corner is at that radius."""
    count = corners if inner == 1.0 else 2 * corners
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radii = np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return _polygon([(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)])


def _lobed(lobes: int, depth: float) -> Part:
    """Circle whose radius varies by ``depth``, as a flower."""

    def inside(x: Points, y: Points) -> Inside:
        return np.asarray(np.hypot(x, y) < (1 - depth) + depth * np.cos(lobes * np.arctan2(y, x)))

    return inside


def _ellipse(width: float, height: float, center_x: float = 0.0, center_y: float = 0.0) -> Part:
    return lambda x, y: ((x - center_x) / width) ** 2 + ((y - center_y) / height) ** 2 < 1


def _box(width: float, height: float, center_x: float = 0.0, center_y: float = 0.0) -> Part:
    return lambda x, y: (np.abs(x - center_x) < width) & (np.abs(y - center_y) < height)


def _any(*parts: Part) -> Part:
    return lambda x, y: np.logical_or.reduce([part(x, y) for part in parts])


def _without(part: Part, hole: Part) -> Part:
    return lambda x, y: part(x, y) & ~hole(x, y)


def _repeat(part: Part, count: int, *, distance: float) -> Part:
    """``count`` copies of a part, evenly around the center."""
    angles = 2 * np.pi * np.arange(count) / count

    def inside(x: Points, y: Points) -> Inside:
        copies = [part(x - distance * np.cos(a), y - distance * np.sin(a)) for a in angles]
        return np.asarray(np.logical_or.reduce(copies))

    return inside


SILHOUETTES: dict[str, Part] = {
    # the five classes of the demo
    "fish": _any(_ellipse(0.72, 0.5, -0.2), _polygon([(0.25, 0.0), (0.98, -0.55), (0.8, 0.0), (0.98, 0.55)])),
    "house": _polygon(
        [(-0.95, -0.1), (0.0, -0.95), (0.95, -0.1), (0.68, -0.1), (0.68, 0.85), (-0.68, 0.85), (-0.68, -0.1)]
    ),
    "star": _regular(5, inner=0.5),
    "bone": _any(_box(0.6, 0.3), *(_ellipse(0.38, 0.38, sx * 0.6, sy * 0.36) for sx in (-1, 1) for sy in (-1, 1))),
    "moon": _without(_ellipse(1.0, 1.0), _ellipse(0.78, 0.78, 0.62, -0.2)),
    # the classes that the nano backbone is pretrained on
    "disc": _ellipse(0.85, 0.85),
    "plank": _box(0.98, 0.42),
    "triangle": _regular(3),
    "hexagon": _regular(6),
    "flower": _lobed(5, 0.22),
    "clover": _lobed(3, 0.3),
    "gear": _any(_ellipse(0.72, 0.72), _repeat(_box(0.2, 0.2), 8, distance=0.75)),
    "cross": _any(_box(0.95, 0.36), _box(0.36, 0.95)),
    "arrow": _polygon([(-0.95, -0.32), (0.1, -0.32), (0.1, -0.8), (0.98, 0.0), (0.1, 0.8), (0.1, 0.32), (-0.95, 0.32)]),
    "heart": _any(
        _ellipse(0.5, 0.5, -0.42, -0.3),
        _ellipse(0.5, 0.5, 0.42, -0.3),
        _polygon([(-0.9, -0.12), (0.9, -0.12), (0.0, 0.95)]),
    ),
    "bolt": _polygon(
        [(-0.2, -0.98), (0.65, -0.98), (0.2, -0.25), (0.75, -0.25), (-0.4, 0.98), (-0.08, 0.12), (-0.65, 0.12)]
    ),
    "cup": _any(_box(0.6, 0.75), _without(_ellipse(0.5, 0.45, 0.6), _ellipse(0.26, 0.22, 0.6))),
    "bottle": _any(_box(0.46, 0.6, 0.0, 0.38), _box(0.2, 0.5, 0.0, -0.48), _ellipse(0.46, 0.3, 0.0, -0.2)),
    "boat": _any(
        _polygon([(-0.98, 0.2), (0.98, 0.2), (0.6, 0.85), (-0.6, 0.85)]),
        _polygon([(0.0, -0.95), (0.75, 0.2), (-0.45, 0.2)]),
    ),
    "mushroom": _any(_without(_ellipse(0.95, 0.85, 0.0, 0.0), _box(1.0, 1.0, 0.0, 1.05)), _box(0.34, 0.45, 0.0, 0.45)),
}
"""Body shapes by name; a body also gets a random rotation, size and color."""

EMBLEMS: dict[str, Part] = {
    "ring": _without(_ellipse(0.72, 0.72), _ellipse(0.4, 0.4)),
    "plus": _any(_box(0.75, 0.22), _box(0.22, 0.75)),
    "dots": _repeat(_ellipse(0.3, 0.3), 3, distance=0.45),
    "chevron": _polygon([(-0.75, 0.1), (0.0, -0.65), (0.75, 0.1), (0.75, 0.6), (0.0, -0.1), (-0.75, 0.6)]),
    "bars": _any(_box(0.17, 0.7, -0.45), _box(0.17, 0.7), _box(0.17, 0.7, 0.45)),
    "spark": _regular(4, inner=0.3),
    "diamond": _regular(4),
    "wedge": _regular(3),
    "dash": _box(0.75, 0.25),
    "half": _without(_ellipse(0.75, 0.75), _box(1.0, 1.0, 1.0)),
    "pair": _any(_ellipse(0.3, 0.3, -0.42), _ellipse(0.3, 0.3, 0.42)),
    "tee": _any(_box(0.7, 0.2, 0.0, -0.5), _box(0.2, 0.65, 0.0, 0.05)),
    "ell": _any(_box(0.2, 0.7, -0.4), _box(0.6, 0.2, 0.0, 0.5)),
    "square": _without(_box(0.62, 0.62), _box(0.3, 0.3)),
    "crescent": _without(_ellipse(0.75, 0.75), _ellipse(0.6, 0.6, 0.35)),
    "quad": _any(*(_box(0.25, 0.25, sx * 0.4, sy * 0.4) for sx in (-1, 1) for sy in (-1, 1))),
    "petals": _lobed(6, 0.35),
    "hourglass": _polygon([(-0.65, -0.65), (0.65, -0.65), (-0.65, 0.65), (0.65, 0.65)]),
}
"""Marks by name, drawn in ink somewhere on the body."""

DOT = _ellipse(0.6, 0.6)
"""A mark that belongs to no class."""


def blob(rng: np.random.Generator) -> Part:
    """A silhouette that belongs to no class: three waves of random phase on a circle."""
    waves = [(lobes, rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.14)) for lobes in (2, 3, 5)]

    def inside(x: Points, y: Points) -> Inside:
        angle = np.arctan2(y, x)
        radius = 0.8 + sum(depth * np.cos(lobes * angle + phase) for lobes, phase, depth in waves)
        return np.asarray(np.hypot(x, y) < radius)

    return inside
