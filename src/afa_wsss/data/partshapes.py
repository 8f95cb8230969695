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
from pathlib import Path

import numpy as np
from PIL import Image

from afa_wsss.data.partshapes_parts import EMBLEMS, SILHOUETTES
from afa_wsss.data.partshapes_scene import DEFAULT_CLUTTER, Clutter, PartClass, Scene, draw_scene
from afa_wsss.types import UserError

PARTSHAPES_CLASSES = tuple(
    PartClass(silhouette, silhouette, emblem)
    for silhouette, emblem in zip(list(SILHOUETTES)[:5], list(EMBLEMS)[:5], strict=True)
)
"""The five classes of the demo."""

PRETRAINING_CLASSES = (
    *(PartClass(name, name, None) for name in list(SILHOUETTES)[5:]),
    *(PartClass(name, None, name) for name in list(EMBLEMS)[5:]),
)
"""Silhouettes and emblems that no class of the demo has, each a class of its own."""


PRETRAINING_CLUTTER = Clutter(objects=(1.0,), distractors=1, radius=(0.2, 0.42), plates=True)
"""One object a picture, mostly alone, its emblem easy to find: what ImageNet is to VOC."""


def _write_scene(root: Path, name: str, scene: Scene, palette: list[int]) -> None:
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    mask = Image.fromarray(scene.mask, mode="P")
    mask.putpalette(palette)
    mask.save(root / "SegmentationClass" / f"{name}.png")


def _write_lists(root: Path, split: str, labels: dict[str, tuple[int, ...]], classes: Sequence[PartClass]) -> None:
    """``ImageSets/Segmentation/<split>.txt``, and the image labels as VOC has them, 1 or -1 a class and photo."""
    sets = root / "ImageSets"
    (sets / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in labels))
    for index, kind in enumerate(classes):
        rows = (f"{name} {1 if index in present else -1}\n" for name, present in labels.items())
        (sets / "Main" / f"{kind.name}_{split}.txt").write_text("".join(rows))


def write_partshapes(
    root: str | Path,
    *,
    train: int = 600,
    val: int = 200,
    size: int = 112,
    seed: int = 0,
    classes: Sequence[PartClass] = PARTSHAPES_CLASSES,
    clutter: Clutter = DEFAULT_CLUTTER,
    progress: Callable[[Iterable[tuple[str, int]]], Iterable[tuple[str, int]]] = iter,
) -> Path:
    """Writes PartShapes in the layout of VOC: JPEGImages, SegmentationClass, ImageSets, classes.json.

    Picture ``i`` of a split depends on ``seed``, the split and ``i`` alone: a larger set begins with the smaller one.

    Args:
        root: Folder to write to; made where it is missing.
        train: Number of training pictures; their masks are written too, for scores, never for training.
        val: Number of held-out pictures.
        size: Side of the square pictures in pixels.
        seed: Equal seeds write equal files.
        classes: What the objects are drawn from.
        clutter: How many objects and distractors, and how large.
        progress: Wraps the loop over (split, index), to show how far it is.

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
    palette = class_palette(len(classes) + 1)
    labels: dict[str, dict[str, tuple[int, ...]]] = {"train": {}, "val": {}}
    for split, index in progress([*(("train", i) for i in range(train)), *(("val", i) for i in range(val))]):
        rng = np.random.default_rng([seed, sum(split.encode()), index])
        scene = draw_scene(rng, size=size, classes=classes, clutter=clutter)
        name = f"{split}_{index:06d}"
        _write_scene(root, name, scene, [value for colour in palette for value in colour])
        labels[split][name] = scene.labels
    for split, rows in labels.items():
        _write_lists(root, split, rows, classes)
    description = {"classes": [kind.name for kind in classes], "palette": palette}
    (root / "classes.json").write_text(json.dumps(description, indent=2) + "\n")
    return root


def class_palette(count: int) -> list[list[int]]:
    """Background near black, then hues a golden ratio apart: (count, 3) in 0-255."""
    hues = [(0.03 + i * 0.618034) % 1 for i in range(count - 1)]
    colours = [colorsys.hsv_to_rgb(hue, 0.72, 0.96) for hue in hues]
    return [[24, 26, 32], *([round(255 * value) for value in colour] for colour in colours)]
