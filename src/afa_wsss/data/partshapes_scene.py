"""How a picture of PartShapes is drawn: a background, and things in front of one another."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_wsss.data.partshapes_parts import DOT, EMBLEMS, SILHOUETTES, Part, blob

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PartClass:
    """A class: a silhouette, an emblem, or both (None: a blob of no class; no emblem)."""

    name: str
    silhouette: str | None
    emblem: str | None


@dataclass(frozen=True)
class Clutter:
    """How full the pictures are.

    Attributes:
        objects: Chance of 1, 2, 3, ... objects.
        distractors: Largest number of blobs of no class.
        plates: Whether emblems stand on a plain disc instead of on the body itself; that makes them easy to find.
        radius: Smallest and largest radius of a body in sides of the picture; 2 to 4 tokens of the demo's 14 x 14 grid.
    """

    objects: tuple[float, ...] = (0.5, 0.35, 0.15)
    distractors: int = 2
    plates: bool = False
    radius: tuple[float, float] = (0.19, 0.31)


DEFAULT_CLUTTER = Clutter()

SUPERSAMPLING = 2
EMBLEM_RADIUS = 0.36
"""In radii of its body: about an eighth of the area, half of it ink."""
MIN_VISIBLE = 0.65
PLACEMENT_TRIES = 30


class Scene(NamedTuple):
    """One picture: ``image`` (H, W, 3), ``mask`` (H, W) with 0 the background, ``labels`` the classes from 0."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    labels: tuple[int, ...]


class _Thing(NamedTuple):
    """Something to paint: the window of the canvas that it lies in, and within it what it covers, in what colours."""

    window: tuple[slice, slice]
    body: Mask
    emblem: Mask
    paint: Floats

    def spread(self, part: Mask, size: int) -> Mask:
        """``part`` of the window on the whole canvas."""
        canvas = np.zeros((size, size), dtype=bool)
        canvas[self.window] = part
        return canvas


def _colour(rng: np.random.Generator) -> Floats:
    return np.asarray(
        colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.25, 0.9), rng.uniform(0.3, 0.95)), dtype=np.float32
    )


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Random values in [0, 1] on ``cells`` x ``cells`` points, interpolated to the canvas."""
    coarse = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def _background(rng: np.random.Generator, size: int) -> Floats:
    """Three colours melting into one another, with a finer ripple."""
    colours = [_colour(rng) for _ in range(3)]
    broad, middle = _smooth_noise(rng, size, 4), _smooth_noise(rng, size, 6)
    ripple = _smooth_noise(rng, size, 24) - 0.5
    mixed = (
        colours[0] + (colours[1] - colours[0]) * broad[..., None] + (colours[2] - colours[0]) * middle[..., None] * 0.5
    )
    return np.asarray(np.clip(mixed + 0.18 * ripple[..., None], 0, 1))


def _texture(rng: np.random.Generator, u: Floats, v: Floats) -> Floats:
    """Brightness of a body over its own coordinates: a slope, and stripes, spots or nothing on top."""
    slope = 1 + rng.uniform(0.05, 0.25) * (u * np.cos(turn := rng.uniform(0, 2 * np.pi)) + v * np.sin(turn))
    frequency, strength = rng.uniform(5, 9), rng.uniform(0.12, 0.3)
    patterns: list[Callable[[], Floats]] = [
        lambda: np.ones_like(u),
        lambda: 1 - strength * (np.sin(frequency * u + rng.uniform(0, 6)) > 0),
        lambda: 1 - strength * ((np.sin(frequency * u) * np.sin(frequency * v)) > 0.25),
    ]
    return np.asarray(slope * patterns[rng.integers(len(patterns))](), dtype=np.float32)


def _thing(
    rng: np.random.Generator, size: int, radius: float, silhouette: Part, emblem: Part | None, plates: bool
) -> _Thing:
    """A body at a random place, turn and colour; with an emblem in dark or light ink on it."""
    centre_x, centre_y = rng.uniform(0.8 * radius, 1 - 0.8 * radius, 2)
    x, y = _window_side(centre_x, 1.3 * radius, size), _window_side(centre_y, 1.3 * radius, size)
    dx = ((np.arange(size)[x] + 0.5) / size - centre_x)[None, :] / radius
    dy = ((np.arange(size)[y] + 0.5) / size - centre_y)[:, None] / radius
    turn = rng.uniform(-0.6, 0.6)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    body = silhouette(u, v)
    paint = _colour(rng) * _texture(rng, u, v)[..., None]
    if emblem is None:
        return _Thing((y, x), body, np.zeros_like(body), np.clip(paint, 0, 1))
    emblem_u, emblem_v = _emblem_centre(rng, silhouette)
    a, b = (u - emblem_u) / EMBLEM_RADIUS, (v - emblem_v) / EMBLEM_RADIUS
    glyph = emblem(a, b)
    disc = np.hypot(a, b) < 1.15 if plates else glyph
    dark, light = rng.uniform(0.0, 0.15, 3), rng.uniform(0.85, 1.0, 3)
    ink = dark if paint[body].mean() > 0.45 else light
    if plates:
        paint = np.where(disc[..., None], light if ink is dark else dark, paint)
    paint = np.clip(np.where(glyph[..., None], ink, paint), 0, 1)
    return _Thing((y, x), body | disc, disc, paint)


def _window_side(centre: float, reach: float, size: int) -> slice:
    """Pixels within ``reach`` of ``centre``, both in sides of the picture."""
    return slice(max(0, int((centre - reach) * size)), min(size, int((centre + reach) * size) + 1))


def _emblem_centre(rng: np.random.Generator, silhouette: Part) -> tuple[float, float]:
    """A random point of the body around which the emblem fits, as far as the silhouette allows."""
    u, v = rng.uniform(-0.8, 0.8, (2, 64)).astype(np.float32)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False, dtype=np.float32)
    rim = silhouette(u[:, None] + EMBLEM_RADIUS * np.cos(angles), v[:, None] + EMBLEM_RADIUS * np.sin(angles))
    best = int(np.argmax(rim.sum(axis=1) + 8 * silhouette(u, v)))
    return float(u[best]), float(v[best])


def _part(table: dict[str, Part], name: str | None) -> Part | None:
    return None if name is None else table[name]


def _draw(rng: np.random.Generator, size: int, kind: PartClass | None, clutter: Clutter) -> _Thing:
    """An object of a class; or a blob of none, every other one with a plain dot: neither body nor ink tells a class."""
    radius = rng.uniform(*clutter.radius)
    if kind is None:
        return _thing(rng, size, radius, blob(rng), DOT if rng.uniform() < 0.5 else None, plates=clutter.plates)
    silhouette = _part(SILHOUETTES, kind.silhouette) or blob(rng)
    return _thing(rng, size, radius, silhouette, _part(EMBLEMS, kind.emblem), plates=clutter.plates)


def _fits(thing: _Thing, placed: Sequence[_Thing], size: int) -> bool:
    """Whether everything placed before stays visible, bodies for the most part and emblems whole."""
    hidden = thing.spread(thing.body, size)
    for other in reversed(placed):
        visible = other.body & ~hidden[other.window]
        if visible.sum() < MIN_VISIBLE * other.body.sum() or (other.emblem & hidden[other.window]).any():
            return False
        hidden[other.window] |= other.body
    return True


def _shrink(values: Floats, factor: int) -> Floats:
    """Mean over blocks of ``factor`` x ``factor`` points."""
    height, width = values.shape[0] // factor, values.shape[1] // factor
    return np.asarray(values.reshape(height, factor, width, factor, -1).mean(axis=(1, 3)), dtype=np.float32)


def draw_scene(
    rng: np.random.Generator,
    *,
    size: int,
    classes: Sequence[PartClass],
    clutter: Clutter = DEFAULT_CLUTTER,
) -> Scene:
    """Draws one picture with objects and distractors, some in front of one another.

    Args:
        rng: The only source of randomness.
        size: Side of the square picture in pixels.
        classes: What the objects are drawn from.
        clutter: How many objects and distractors, and how large.
    """
    fine = size * SUPERSAMPLING
    canvas, owner = _background(rng, fine), np.zeros((fine, fine), dtype=np.uint8)
    objects = [int(rng.integers(len(classes))) for _ in range(1 + rng.choice(len(clutter.objects), p=clutter.objects))]
    order = rng.permutation([*objects, *[-1] * int(rng.integers(clutter.distractors + 1))])
    placed: list[_Thing] = []
    labels: list[int] = []
    for label in order.tolist():
        for _ in range(PLACEMENT_TRIES):
            thing = _draw(rng, fine, classes[label] if label >= 0 else None, clutter)
            if _fits(thing, placed, fine):
                placed.append(thing)
                labels.append(label)
                canvas[thing.window][thing.body] = thing.paint[thing.body]
                owner[thing.window][thing.body] = label + 1
                break
    if max(labels, default=-1) < 0:  # distractors took all the room
        return draw_scene(rng, size=size, classes=classes, clutter=clutter)
    grain = rng.normal(0, 0.015, (size, size, 1)).astype(np.float32)
    image = np.clip(_shrink(canvas, SUPERSAMPLING) + grain, 0, 1)
    mask = owner[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING]
    return Scene((image * 255).round().astype(np.uint8), mask, tuple(sorted({x for x in labels if x >= 0})))
