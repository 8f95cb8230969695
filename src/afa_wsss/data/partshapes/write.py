"""PartShapes: a small synthetic data set with the problem of weakly-supervised segmentation in it.

Each object has a class-specific silhouette, a body of random colour and texture, and a small class-specific emblem. The
emblem is what a classifier finds first, so class activation maps fire there; the body has to be reached by affinity.
Backgrounds are smooth textures in the colours of the bodies; blobs of no class, plain dots and occluders are there to
mislead. The files have the layout of PASCAL VOC, the image labels are in ``ImageSets/Main``, and equal settings write
equal files.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from afa_wsss.data.files.parallel import mapped
from afa_wsss.data.partshapes.parts import EMBLEMS, SILHOUETTES
from afa_wsss.data.partshapes.scene import DEFAULT_CLUTTER, Clutter, Kind, PartSet, draw_scene
from afa_wsss.errors import UserError

Labels = tuple[int, ...]
"""Classes of one picture, from 0."""


def _pairs(silhouettes: Sequence[str], emblems: Sequence[str]) -> PartSet:
    """Classes named after their silhouettes, each with an emblem of its own."""
    rows = enumerate(zip(silhouettes, emblems, strict=True))
    return PartSet(tuple(silhouettes), tuple(Kind(body, mark, index, index) for index, (body, mark) in rows))


def _parts(silhouettes: Sequence[str], emblems: Sequence[str]) -> PartSet:
    """A class for every silhouette and for every emblem, and objects of any two: each picture has two labels."""
    kinds = (
        Kind(body, mark, row, len(silhouettes) + column)
        for row, body in enumerate(silhouettes)
        for column, mark in enumerate(emblems)
    )
    return PartSet((*silhouettes, *emblems), tuple(kinds))


PARTSHAPES = _pairs(list(SILHOUETTES)[:5], list(EMBLEMS)[:5])
"""The five classes of the demo."""

PRETRAINING = _parts(list(SILHOUETTES)[5:], list(EMBLEMS)[5:])
"""Silhouettes and emblems that no class of the demo has."""

PRETRAINING_CLUTTER = Clutter(objects=(1.0,), distractors=0, radius=(0.34, 0.46), emblem=0.36, plates=True)
"""One object that fills the picture, its emblem easy to find: what ImageNet is to VOC."""

PRETRAINING_PAIRS = _pairs(list(SILHOUETTES)[5:18], list(EMBLEMS)[5:18])
"""Thirteen classes in the demo's manner that share no part with its own."""

CLASS_SETS = {
    "demo": (PARTSHAPES, DEFAULT_CLUTTER),
    "parts": (PRETRAINING, PRETRAINING_CLUTTER),
    "pairs": (PRETRAINING_PAIRS, DEFAULT_CLUTTER),
}
"""What ``afa-data partshapes classes=`` draws: the demo's classes, and the two sets ``mit_nano`` is pretrained on."""


def _name(split: str, index: int) -> str:
    return f"{split}_{index:06d}"


def _write_picture(
    picture: tuple[str, int], *, root: Path, size: int, seed: int, parts: PartSet, clutter: Clutter
) -> Labels:
    """Draws and writes picture ``index`` of ``split``, and tells its classes."""
    split, index = picture
    rng = np.random.default_rng([seed, sum(split.encode()), index])
    scene = draw_scene(rng, size=size, kinds=parts.kinds, clutter=clutter)
    name = _name(split, index)
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    mask = Image.fromarray(scene.mask, mode="P")
    mask.putpalette([value for colour in class_palette(len(parts.classes) + 1) for value in colour])
    mask.save(root / "SegmentationClass" / f"{name}.png")
    return scene.labels


def _write_lists(root: Path, split: str, labels: dict[str, Labels], classes: Sequence[str]) -> None:
    """``ImageSets/Segmentation/<split>.txt``, and the image labels as VOC has them, 1 or -1 a class and photo."""
    sets = root / "ImageSets"
    (sets / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in labels))
    for index, kind in enumerate(classes):
        rows = (f"{name} {1 if index in present else -1}\n" for name, present in labels.items())
        (sets / "Main" / f"{kind}_{split}.txt").write_text("".join(rows))


def write_partshapes(
    root: str | Path,
    *,
    train: int = 1000,
    val: int = 200,
    size: int = 112,
    seed: int = 0,
    parts: PartSet = PARTSHAPES,
    clutter: Clutter = DEFAULT_CLUTTER,
    workers: int = 1,
    progress: Callable[[Iterable[Labels]], Iterable[Labels]] = iter,
) -> Path:
    """Writes PartShapes in the layout of VOC: JPEGImages, SegmentationClass, ImageSets, classes.json.

    Picture ``i`` of a split depends on ``seed``, the split and ``i`` alone: a larger set begins with the smaller one.

    Args:
        root: Folder to write to; made where it is missing.
        train: Number of training pictures; their masks are written too, for scores, never for training.
        val: Number of held-out pictures.
        size: Side of the square pictures in pixels.
        seed: Equal seeds write equal files.
        parts: The classes, and what the objects are drawn from.
        clutter: How many objects and distractors, and how large.
        workers: Processes that draw.
        progress: Wraps the pictures as they are done, in order, to show how far it is.

    Returns:
        The folder.

    Raises:
        UserError: For a count below 0 or pictures too small to hold an emblem.
    """
    if min(train, val) < 0 or size < 32:
        raise UserError(f"need counts of at least 0 and size of at least 32, got train={train}, val={val}, size={size}")
    root = Path(root)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    palette = class_palette(len(parts.classes) + 1)
    draw = partial(_write_picture, root=root, size=size, seed=seed, parts=parts, clutter=clutter)
    pictures = [(split, index) for split, count in (("train", train), ("val", val)) for index in range(count)]
    labels: dict[str, dict[str, Labels]] = {"train": {}, "val": {}}
    drawn = mapped(draw, pictures, workers=workers)
    for (split, index), present in zip(pictures, progress(drawn), strict=True):
        labels[split][_name(split, index)] = present
    for split, rows in labels.items():
        _write_lists(root, split, rows, parts.classes)
    description = {"classes": list(parts.classes), "palette": palette}
    (root / "classes.json").write_text(json.dumps(description, indent=2) + "\n")
    return root


def class_palette(count: int) -> list[list[int]]:
    """Background near black, then hues a golden ratio apart: (count, 3) in 0-255."""
    hues = [(0.03 + i * 0.618034) % 1 for i in range(count - 1)]
    colours = [colorsys.hsv_to_rgb(hue, 0.72, 0.96) for hue in hues]
    return [[24, 26, 32], *([round(255 * value) for value in colour] for colour in colours)]
