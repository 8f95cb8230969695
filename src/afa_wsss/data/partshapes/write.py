"""PartShapes: a small synthetic data set that poses the problem of weakly supervised segmentation.

Each object has a class-specific silhouette, a body of random color and texture, and a small class-specific emblem. The
emblem is what a classifier finds first, so class activation maps fire there; the body has to be reached by affinity.
Backgrounds are smooth textures in the colors of the bodies; blobs without a class, plain dots and occlusion make it
harder. The files have the layout of PASCAL VOC, the image labels are in ``ImageSets/Main``, and equal settings write
equal files.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from afa_wsss.data.files.parallel import Progress, process_map
from afa_wsss.data.partshapes.parts import EMBLEMS, SILHOUETTES
from afa_wsss.data.partshapes.scene import DEFAULT_CLUTTER, Clutter, Kind, PartSet, draw_scene
from afa_wsss.errors import UserError

Labels = tuple[int, ...]
"""Classes of one image, from 0."""

MIN_SIZE = 32
"""Smallest side of an image in pixels that shows an emblem."""


def _pairs(silhouettes: Sequence[str], emblems: Sequence[str]) -> PartSet:
    """Classes named after their silhouettes, each with its own emblem."""
    rows = enumerate(zip(silhouettes, emblems, strict=True))
    return PartSet(tuple(silhouettes), tuple(Kind(body, mark, index, index) for index, (body, mark) in rows))


def _parts(silhouettes: Sequence[str], emblems: Sequence[str]) -> PartSet:
    """A class for every silhouette and every emblem, and objects of any two: an object has two labels."""
    kinds = (
        Kind(body, mark, row, len(silhouettes) + column)
        for row, body in enumerate(silhouettes)
        for column, mark in enumerate(emblems)
    )
    return PartSet((*silhouettes, *emblems), tuple(kinds))


PARTSHAPES = _pairs(list(SILHOUETTES)[:5], list(EMBLEMS)[:5])
"""The five classes of the demo."""

PRETRAINING = _parts(list(SILHOUETTES)[5:], list(EMBLEMS)[5:])
"""Silhouettes and emblems that no class of the demo uses."""

PRETRAINING_CLUTTER = Clutter(objects=(1.0,), distractors=0, radius=(0.34, 0.46), emblem=0.36, plates=True)
"""One object that fills the image, its emblem easy to find: as ImageNet relates to VOC."""

PRETRAINING_PAIRS = _pairs(list(SILHOUETTES)[5:18], list(EMBLEMS)[5:18])
"""Thirteen classes built like the demo's, without sharing a part with them."""

CLASS_SETS = {
    "demo": (PARTSHAPES, DEFAULT_CLUTTER),
    "parts": (PRETRAINING, PRETRAINING_CLUTTER),
    "pairs": (PRETRAINING_PAIRS, DEFAULT_CLUTTER),
}
"""Classes and clutter by name: the demo's, and the two sets that ``mit_nano`` is pretrained on."""


def _name(split: str, index: int) -> str:
    return f"{split}_{index:06d}"


def _write_image(key: tuple[str, int], *, root: Path, size: int, seed: int, parts: PartSet, clutter: Clutter) -> Labels:
    """Draws and writes the image of a split and index; returns its classes."""
    split, index = key
    rng = np.random.default_rng([seed, sum(split.encode()), index])
    scene = draw_scene(rng, size=size, kinds=parts.kinds, clutter=clutter)
    name = _name(split, index)
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    mask = Image.fromarray(scene.mask, mode="P")
    mask.putpalette([value for color in class_palette(len(parts.classes) + 1) for value in color])
    mask.save(root / "SegmentationClass" / f"{name}.png")
    return scene.labels


def _write_lists(root: Path, split: str, labels: dict[str, Labels], classes: Sequence[str]) -> None:
    """Writes the list of the split, and its image labels in VOC's form: 1 or -1 per class and photo."""
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
    progress: Progress = iter,
) -> Path:
    """Writes PartShapes in the layout of VOC: JPEGImages, SegmentationClass, ImageSets, classes.json.

    Image ``i`` of a split depends only on ``seed``, the split and ``i``: a larger set begins with the smaller one.

    Args:
        root: Folder to write to; created where it is missing.
        train: Number of training images; their masks are written too, to score with, never to train on.
        val: Number of validation images.
        size: Side of the square images in pixels, at least 32.
        seed: Equal seeds write equal files.
        parts: The classes, and what the objects are drawn from.
        clutter: How many objects and distractors, and how large.
        workers: Number of processes that draw.
        progress: Wraps the images as they are done.

    Returns:
        The folder.

    Raises:
        UserError: For a count below 0, or images too small to show an emblem.
    """
    counts = {"train": train, "val": val, "size": size}
    wrong = [name for name, least in (("train", 0), ("val", 0), ("size", MIN_SIZE)) if counts[name] < least]
    if wrong:
        got = ", ".join(f"{name}={counts[name]}" for name in wrong)
        raise UserError(f"need train and val of at least 0 and size of at least {MIN_SIZE}, got {got}", arguments=wrong)
    root = Path(root)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    palette = class_palette(len(parts.classes) + 1)
    draw = partial(_write_image, root=root, size=size, seed=seed, parts=parts, clutter=clutter)
    images = [(split, index) for split, count in (("train", train), ("val", val)) for index in range(count)]
    labels: dict[str, dict[str, Labels]] = {"train": {}, "val": {}}
    drawn = process_map(draw, images, workers=workers)
    for (split, index), present in zip(images, progress(drawn), strict=True):
        labels[split][_name(split, index)] = present
    for split, rows in labels.items():
        _write_lists(root, split, rows, parts.classes)
    description = {"classes": list(parts.classes), "palette": palette}
    (root / "classes.json").write_text(json.dumps(description, indent=2) + "\n")
    return root


def class_palette(count: int) -> list[list[int]]:
    """A background near black, then hues a golden ratio apart.

    Returns:
        ``count`` RGB colors, 0-255.
    """
    hues = [(0.03 + i * 0.618034) % 1 for i in range(count - 1)]
    colors = [colorsys.hsv_to_rgb(hue, 0.72, 0.96) for hue in hues]
    return [[24, 26, 32], *([round(255 * value) for value in color] for color in colors)]
