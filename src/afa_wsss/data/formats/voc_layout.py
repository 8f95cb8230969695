"""The files of VOC's layout: its root, its lists of photos, its class names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from afa_wsss.data.base import Palette
from afa_wsss.data.checks.problems import Report, raise_first
from afa_wsss.data.files.label_cache import write_atomically
from afa_wsss.data.files.lists import keep_unique, read_lines
from afa_wsss.data.formats.classes import VOC_CLASSES, voc_palette
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

AUGMENTED = "SegmentationClassAug"
"""Folder of SBD's masks."""


def find_voc_root(root: Path) -> Path:
    """The folder with JPEGImages: ``root``, or VOC2012 in it or in its VOCdevkit.

    Raises:
        UserError: Where there is none.
    """
    for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (candidate / "JPEGImages").is_dir():
            return candidate
    state = "which has none" if root.is_dir() else "which does not exist"
    is_demo = root.name == "partshapes" and not root.exists()
    advice = f"draw PartShapes there: afa-data partshapes root={root}" if is_demo else "fix root"
    raise UserError(
        f"need root to be a folder with JPEGImages in it, got {root}, {state}; {advice}",
        kind="missing",
        arguments=("root",),
    )


def list_path(root: Path, split: str) -> Path:
    """Path of the list of a split's photos."""
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_list(path: Path, photos: Path, report: Report = raise_first) -> list[str]:
    """Names of a list, one per line. Where a line as a whole is not a photo's name, its first word is.

    Args:
        path: The list.
        photos: The folder of the photos.
        report: Called with names that are duplicates or point outside the folder.

    Raises:
        UserError: Where the list is missing or empty, and what ``report`` raises.
    """
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.txt"))
        raise UserError(
            f"need a list of photos at {path}, found none; lists there: {', '.join(known) or 'none'}", kind="missing"
        )
    names = keep_unique([_name_in(line, photos) for line in read_lines(path)], path, report)
    if not names:
        raise UserError(f"need at least one photo in {path}, got an empty list; add names of photos")
    return names


def _name_in(line: str, photos: Path) -> str:
    words = line.split()
    return words[0] if len(words) > 1 and not (photos / f"{line}.jpg").is_file() else line


def augmented_names(root: Path) -> list[str]:
    """Photos of ``train_aug``, sorted: all with a mask in ``SegmentationClassAug`` that are not in ``val``.

    Args:
        root: The folder with JPEGImages.
    """
    held_out = list_path(root, "val")
    masks = {mask.stem for mask in (root / AUGMENTED).glob("[!.]*.png")}
    return sorted(masks - set(read_list(held_out, root / "JPEGImages") if held_out.is_file() else []))


def write_augmented_list(root: Path) -> int | None:
    """Writes the list ``train_aug``, see ``augmented_names``; an existing list is kept.

    Args:
        root: As for ``find_voc_root``.

    Returns:
        Number of photos on the list; None where there are no augmented masks.
    """
    root = find_voc_root(root)
    path = list_path(root, "train_aug")
    if path.is_file():
        return len(read_lines(path))
    names = augmented_names(root)
    if not names:
        return None
    write_atomically(path, "".join(f"{name}\n" for name in names))
    return len(names)


def read_classes(root: Path) -> tuple[tuple[str, ...], Palette]:
    """Class names and palette: from ``classes.json`` where there is one, else VOC's.

    Raises:
        UserError: Where that file is malformed.
    """
    path = root / "classes.json"
    if not path.is_file():
        return VOC_CLASSES, voc_palette(len(VOC_CLASSES) + 1)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["classes"])
        palette = np.asarray(content.get("palette", voc_palette(len(names) + 1)), dtype=np.uint8)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f'need {{"classes": [names], "palette": [[r, g, b], ...]}} in {path}, got {error!r}') from error
    if not 1 <= len(names) < IGNORE_INDEX or len(set(names)) != len(names):
        raise UserError(f"need 1 to {IGNORE_INDEX - 1} different classes in {path}, got {len(names)}; fix the file")
    if palette.shape != (len(names) + 1, 3):
        raise UserError(
            f"need a color for background and each of {len(names)} classes in {path}, got shape {palette.shape}; "
            "fix the file or leave the palette out"
        )
    return names, palette
