"""Masks of COCO: objects drawn into PNGs of class ids. An interrupted run continues where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from afa_wsss.data.base import Mask, Palette
from afa_wsss.data.files.label_cache import has_mark, mark_of, write_atomically
from afa_wsss.data.files.lists import stays_inside
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.files.parallel import Progress, process_map
from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.formats.classes import COCO_CLASSES, voc_palette
from afa_wsss.data.formats.coco_instances import Instances, ObjectRule, Outlines
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

RULE = "drawn_with.json"
"""File beside the masks that says which objects counted, and which instances file they were drawn from."""

PARTIAL = ".partial"
"""Suffix of a mask that is being written."""


def masks_folder(root: Path, split: str) -> Path:
    """Folder of a split's masks."""
    return root / "masks" / split


def read_rule(folder: Path) -> ObjectRule | None:
    """The rule that the masks in a folder were drawn with; None where no file says so, as for a user's own masks."""
    known = _drawn_with(folder)
    try:
        return ObjectRule(known["crowd"], known["min_area"])
    except KeyError:
        return None


def drawn_from(folder: Path, source: Path) -> bool:
    """Whether masks with a written rule were drawn from an instances file as it is now.

    Args:
        folder: Folder of the masks.
        source: The instances file; where it is not there, nothing tells that it has changed.
    """
    known = _drawn_with(folder)
    if not source.is_file():
        return True
    if "sha256" not in known:  # written before it was noted
        return source.stat().st_mtime <= (folder / RULE).stat().st_mtime
    return has_mark(source, known)


def apply_rule(folder: Path, rule: ObjectRule, source: Path) -> int:
    """Writes down what masks are drawn with, and deletes those drawn with something else, to be drawn again.

    Args:
        folder: Folder of the masks. Masks without a written rule are the user's own and are kept.
        rule: Which objects count.
        source: The instances file.

    Returns:
        Number of masks deleted.
    """
    deleted, known = 0, read_rule(folder)
    if known is None and any(folder.rglob("*.png")):
        return 0
    if known is not None and (known != rule or not drawn_from(folder, source)):
        for mask in folder.rglob("*.png"):
            mask.unlink()
            deleted += 1
    drawn_with = rule._asdict() | mark_of(source)
    if _drawn_with(folder) != drawn_with:
        write_atomically(folder / RULE, json.dumps(drawn_with))
    return deleted


def _drawn_with(folder: Path) -> dict[str, Any]:
    """What ``RULE`` says; empty where there is no such file."""
    try:
        return dict(json.loads((folder / RULE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def missing_masks(folder: Path, files: Iterable[str]) -> set[str]:
    """Photos that have no mask yet. A mask gets its name only once it is complete, so an existing one is done.

    Args:
        folder: Folder of the masks.
        files: Files of the photos.

    Raises:
        UserError: For a photo's name that points outside the folder.
    """
    drawn = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    outside = next((file for file in files if not stays_inside(file)), None)
    if outside is not None:
        raise UserError(f"need names of photos inside their folder, got {outside!r}; unpack COCO again")
    return {file for file in files if _mask_name(file) not in drawn}


def draw_coco_masks(
    folder: Path,
    instances: Instances,
    rule: ObjectRule,
    missing: Collection[str],
    *,
    workers: int,
    progress: Progress = iter,
) -> int:
    """Draws masks of class ids; what an interrupted run has drawn is kept.

    Args:
        folder: Folder for the masks, PNGs named like the photos.
        instances: Objects of the split.
        rule: Which objects count; the pixels of others become 255.
        missing: Files of the photos to draw masks of, see ``missing_masks``.
        workers: Number of processes that draw.
        progress: Wraps the masks as they are done.

    Returns:
        Number of masks drawn.

    Raises:
        UserError: For an outline that cannot be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.rglob(f".*{PARTIAL}"):
        leftover.unlink(missing_ok=True)
    draw = partial(_write_drawn, folder=folder, palette=voc_palette(len(COCO_CLASSES) + 1))
    photos = (photo for photo in instances.outlines(rule) if photo.file in missing)
    return sum(1 for _ in progress(process_map(draw, photos, workers=workers)))


def _mask_name(file: str) -> str:
    return f"{without_suffix(file)}.png"


def _write_drawn(photo: Outlines, *, folder: Path, palette: Palette) -> None:
    path = folder / _mask_name(photo.file)
    try:
        label = draw_mask(photo)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"need outlines as COCO has them, those of {photo.file} cannot be drawn ({error!r})") from error
    partial_path = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    write_mask(partial_path, label, palette)
    partial_path.replace(path)


def draw_mask(photo: Outlines) -> Mask:
    """Draws large objects first and small ones over them; objects that do not count, as 255, lie below all others.

    Returns:
        (height, width) class ids.
    """
    from pycocotools import mask as rle  # a compiled module, loaded only where masks are drawn

    # In the column order of pycocotools: copying from columns to rows would take twice as long.
    label = np.zeros((photo.height, photo.width), dtype=np.uint8, order="F")
    for value, _, text in sorted(photo.objects, key=lambda item: (item[0] != IGNORE_INDEX, -item[1])):
        outline: Any = msgspec.json.decode(text)
        if isinstance(outline, list):  # polygons
            polygons = [polygon for polygon in outline if len(polygon) >= 6]
            if not polygons:
                continue
            code = rle.merge(rle.frPyObjects(polygons, photo.height, photo.width))
        elif isinstance(outline["counts"], list):  # run lengths as numbers, the form of crowds
            code = rle.frPyObjects(outline, photo.height, photo.width)
        else:
            code = {"size": outline["size"], "counts": outline["counts"].encode()}
        np.copyto(label, np.uint8(value), where=rle.decode(code).view(bool))
    return np.ascontiguousarray(label)
