"""Draws an image of PartShapes: a background, and objects partly in front of one another."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from afa_wsss.data.partshapes.parts import DOT, EMBLEMS, SILHOUETTES, Part, blob

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Pattern = Callable[[Floats, Floats], Floats]
"""Maps coordinates over a body, to the right and down in units of its radius, to brightness or color."""


class Kind(NamedTuple):
    """What an object is drawn from: the names of its parts, and the classes, from 0, of its body and its emblem."""

    silhouette: str
    emblem: str
    body_class: int
    emblem_class: int


@dataclass(frozen=True)
class PartSet:
    """Names of the classes, and the kinds of objects that show them."""

    classes: tuple[str, ...]
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Clutter:
    """How full the images are.

    Attributes:
        objects: Probabilities of 1, 2, 3, ... objects.
        distractors: Largest number of blobs that belong to no class.
        plates: Whether emblems are drawn on a plain disc instead of on the body, which makes them easy to find.
        radius: Smallest and largest radius of a body, as a fraction of the image's side; the default is 4 to 6 tokens
            of the demo's 14 x 14 grid.
        emblem: Radius of an emblem, as a fraction of its body's: 0.3 is about a tenth of the area, half of it ink.
    """

    objects: tuple[float, ...] = (0.5, 0.38, 0.12)
    distractors: int = 1
    plates: bool = False
    radius: tuple[float, float] = (0.27, 0.42)
    emblem: float = 0.3


DEFAULT_CLUTTER = Clutter()

SUPERSAMPLING = 2
MIN_VISIBLE = 0.65
PLACEMENT_TRIES = 30


class Scene(NamedTuple):
    """One image.

    Attributes:
        image: (H, W, 3) RGB, 0-255.
        mask: (H, W) class ids, background 0.
        labels: Classes in it, sorted, the first class being 0.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    labels: tuple[int, ...]


class _Thing(NamedTuple):
    """An object or distractor: its window of the canvas, what it covers in it, and a function that gives its colors.

    Colors are computed only for a thing that is kept: most places that are tried are occupied.
    """

    window: tuple[slice, slice]
    body: Mask
    emblem: Mask
    paint: Callable[[], Floats]

    def spread(self, part: Mask, size: int) -> Mask:
        """A mask of the window as a mask of the whole canvas."""
        canvas = np.zeros((size, size), dtype=bool)
        canvas[self.window] = part
        return canvas


def _color(rng: np.random.Generator) -> Floats:
    return np.asarray(
        colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.25, 0.9), rng.uniform(0.3, 0.95)), dtype=np.float32
    )


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Random values in [0, 1] on ``cells`` x ``cells`` points, interpolated to the canvas."""
    coarse = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def _background(rng: np.random.Generator, size: int) -> Floats:
    """Three colors blended smoothly, with finer noise on top."""
    colors = [_color(rng) for _ in range(3)]
    broad, middle = _smooth_noise(rng, size, 4), _smooth_noise(rng, size, 6)
    ripple = _smooth_noise(rng, size, 24) - 0.5
    mixed = colors[0] + (colors[1] - colors[0]) * broad[..., None] + (colors[2] - colors[0]) * middle[..., None] * 0.5
    return np.asarray(np.clip(mixed + 0.18 * ripple[..., None], 0, 1))


def _coat(rng: np.random.Generator) -> Pattern:
    """Two random colors that meet in a line across the body: similarity of color does not lead across it."""
    turn, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35)
    near, far = _color(rng), _color(rng)
    return lambda u, v: np.where((u * math.cos(turn) + v * math.sin(turn) > place)[..., None], near, far)


def _texture(rng: np.random.Generator) -> Pattern:
    """Brightness of a body over its own coordinates: a gradient, with stripes, spots or nothing on top."""
    steepness, turn = rng.uniform(0.05, 0.25), rng.uniform(0, 2 * np.pi)
    frequency, strength = rng.uniform(5, 9), rng.uniform(0.12, 0.3)
    kind = rng.integers(3)
    phase = rng.uniform(0, 6) if kind == 1 else 0.0
    patterns: list[Pattern] = [
        lambda u, v: np.ones_like(u),
        lambda u, v: 1 - strength * (np.sin(frequency * u + phase) > 0),
        lambda u, v: 1 - strength * ((np.sin(frequency * u) * np.sin(frequency * v)) > 0.25),
    ]
    return lambda u, v: (1 + steepness * (u * math.cos(turn) + v * math.sin(turn))) * patterns[kind](u, v)


def _thing(
    rng: np.random.Generator, size: int, radius: float, silhouette: Part, emblem: Part | None, clutter: Clutter
) -> _Thing:
    """A body with random place, rotation and colors, and an emblem on it in dark or light ink."""
    center_x, center_y = rng.uniform(0.8 * radius, 1 - 0.8 * radius, 2)
    x, y = _window_side(center_x, 1.3 * radius, size), _window_side(center_y, 1.3 * radius, size)
    dx = (((np.arange(size)[x] + 0.5) / size - center_x)[None, :] / radius).astype(np.float32)
    dy = (((np.arange(size)[y] + 0.5) / size - center_y)[:, None] / radius).astype(np.float32)
    turn = rng.uniform(-0.6, 0.6)
    u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    body, coat, texture = silhouette(u, v), _coat(rng), _texture(rng)
    if emblem is None:
        return _Thing((y, x), body, np.zeros_like(body), lambda: coat(u, v) * texture(u, v)[..., None])
    emblem_u, emblem_v = _emblem_center(rng, silhouette, clutter.emblem)
    a, b = (u - emblem_u) / clutter.emblem, (v - emblem_v) / clutter.emblem
    glyph = emblem(a, b)
    disc = np.hypot(a, b) < 1.15 if clutter.plates else glyph
    dark, light = rng.uniform(0.0, 0.15, 3), rng.uniform(0.85, 1.0, 3)

    def paint() -> Floats:
        paint = coat(u, v) * texture(u, v)[..., None]
        ink, plate = (dark, light) if paint[glyph & body].mean() > 0.45 else (light, dark)
        if clutter.plates:
            paint = np.where(disc[..., None], plate, paint)
        return np.where(glyph[..., None], ink, paint)

    return _Thing((y, x), body | disc, disc, paint)


def _window_side(center: float, reach: float, size: int) -> slice:
    """Pixels within ``reach`` of ``center``, both as fractions of the image's side."""
    return slice(max(0, int((center - reach) * size)), min(size, int((center + reach) * size) + 1))


def _emblem_center(rng: np.random.Generator, silhouette: Part, reach: float) -> tuple[float, float]:
    """A random point of the body around which the emblem fits, as far as the silhouette allows."""
    u, v = rng.uniform(-0.8, 0.8, (2, 64)).astype(np.float32)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False, dtype=np.float32)
    rim = silhouette(u[:, None] + reach * np.cos(angles), v[:, None] + reach * np.sin(angles))
    best = int(np.argmax(rim.sum(axis=1) + 8 * silhouette(u, v)))
    return float(u[best]), float(v[best])


def _draw(rng: np.random.Generator, size: int, kind: Kind | None, clutter: Clutter) -> _Thing:
    """An object; or a blob, half of them with a plain dot: a body or ink alone does not mean that there is a class."""
    radius = rng.uniform(*clutter.radius)
    if kind is None:
        return _thing(rng, size, radius, blob(rng), DOT if rng.uniform() < 0.5 else None, clutter)
    return _thing(rng, size, radius, SILHOUETTES[kind.silhouette], EMBLEMS[kind.emblem], clutter)


def _fits(thing: _Thing, placed: Sequence[_Thing], size: int) -> bool:
    """Whether everything placed before stays visible: bodies for the most part, emblems entirely."""
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
    kinds: Sequence[Kind],
    clutter: Clutter = DEFAULT_CLUTTER,
) -> Scene:
    """Draws one image with objects and distractors, some partly in front of others.

    Args:
        rng: The only source of randomness.
        size: Side of the square image in pixels.
        kinds: What the objects are drawn from, each with equal probability.
        clutter: How many objects and distractors, and how large.
    """
    fine = size * SUPERSAMPLING
    canvas, owner = _background(rng, fine), np.zeros((fine, fine), dtype=np.uint8)
    chosen = [
        kinds[int(rng.integers(len(kinds)))] for _ in range(1 + rng.choice(len(clutter.objects), p=clutter.objects))
    ]
    things: list[Kind | None] = [*chosen, *[None] * int(rng.integers(clutter.distractors + 1))]
    placed: list[_Thing] = []
    labels: set[int] = set()
    for index in rng.permutation(len(things)):
        kind = things[index]
        for _ in range(PLACEMENT_TRIES):
            thing = _draw(rng, fine, kind, clutter)
            if _fits(thing, placed, fine):
                placed.append(thing)
                canvas[thing.window][thing.body] = np.clip(thing.paint()[thing.body], 0, 1)
                body, emblem = (0, 0) if kind is None else (kind.body_class + 1, kind.emblem_class + 1)
                owner[thing.window][thing.body] = body
                owner[thing.window][thing.emblem & thing.body] = emblem
                labels |= {body, emblem}
                break
    labels -= {0}
    if not labels:  # distractors left no room
        return draw_scene(rng, size=size, kinds=kinds, clutter=clutter)
    grain = rng.normal(0, 0.015, (size, size, 1)).astype(np.float32)
    image = np.clip(_shrink(canvas, SUPERSAMPLING) + grain, 0, 1)
    mask = owner[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING]
    return Scene((image * 255).round().astype(np.uint8), mask, tuple(label - 1 for label in sorted(labels)))
