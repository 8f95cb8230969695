"""What ``afa-data`` makes of data sets as they are shipped: gathered labels, the augmented list, COCO's masks."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from afa_wsss.data.base import Palette
from afa_wsss.data.checks.check import Progress
from afa_wsss.data.files.label_cache import LabelCache, write_atomically
from afa_wsss.data.files.lists import read_lines, stays_inside
from afa_wsss.data.files.parallel import mapped
from afa_wsss.data.files.photos import without_ending, write_mask
from afa_wsss.data.formats.classes import COCO_CLASSES, voc_palette
from afa_wsss.data.formats.coco import RULE, label_columns, read_rule
from afa_wsss.data.formats.coco_instances import Instances, ObjectRule, Outlined, draw_mask
from afa_wsss.data.formats.voc import augmented_names, find_voc_root, read_classes
from afa_wsss.data.formats.voc_labels import objects_of_annotation
from afa_wsss.errors import UserError

PARTIAL = ".partial"
"""Ends the name of a mask that is being written."""


def gather_voc_labels(root: Path, *, difficult: bool, workers: int, progress: Progress = iter) -> int:
    """Reads all annotations into ``image_labels.json``, from where every split takes its labels.

    Args:
        root: The folder with JPEGImages.
        difficult: Whether objects that VOC calls difficult count.
        workers: Processes that read.
        progress: Wraps the annotations as they are read.

    Returns:
        Photos with labels; 0 where there are no annotations, and nothing is written.

    Raises:
        UserError: For an annotation that cannot be parsed or names an unknown class.
    """
    root = find_voc_root(root)
    paths = sorted((root / "Annotations").glob("[!.]*.xml"))
    if not paths:
        return 0
    class_names, _ = read_classes(root)
    place = {name: column for column, name in enumerate(class_names)}
    found = mapped(partial(objects_of_annotation, difficult=difficult), paths, workers=workers)
    labels = {}
    for path, objects in zip(paths, progress(found), strict=True):
        unknown = sorted(objects - place.keys())
        if unknown:
            raise UserError(
                f"need objects of {len(class_names)} known classes, {path} names {unknown}; name the classes in "
                "classes.json or mend the annotation"
            )
        labels[path.stem] = sorted(place[name] for name in objects)
    made_with = {"classes": list(class_names), "difficult": difficult}
    LabelCache(root / "image_labels.json", made_with, newer_than=root / "Annotations").write(labels)
    return len(labels)


def write_augmented_list(root: Path) -> int | None:
    """Lists every augmented mask's photo that is not of ``val`` as ``train_aug``; a list that is there is kept.

    Returns:
        Photos on the list; None where there are no augmented masks.
    """
    root = find_voc_root(root)
    path = root / "ImageSets" / "Segmentation" / "train_aug.txt"
    if path.is_file():
        return len(read_lines(path))
    names = augmented_names(root)
    if not names:
        return None
    write_atomically(path, "".join(f"{name}\n" for name in names))
    return len(names)


def gather_coco_labels(source: Path, instances: Instances, rule: ObjectRule) -> list[str]:
    """Writes the labels of an instances file beside it, from where its split takes them; tells the photos' files."""
    columns = label_columns(instances, rule)
    split = source.stem.removeprefix("instances_")
    cache = LabelCache(source.with_name(f"image_labels_{split}.json"), rule._asdict(), newer_than=source)
    cache.write(columns)
    return list(columns)


def keep_rule(folder: Path, rule: ObjectRule) -> int:
    """Notes what masks are drawn with; those that were drawn with another rule are taken away, to be drawn anew.

    Args:
        folder: Of the masks. Where it says nothing of a rule, its masks are the user's own and stay.
        rule: Which objects count.

    Returns:
        Masks taken away.
    """
    gone, known = 0, read_rule(folder)
    if known == rule:
        return 0
    if known is not None:
        for mask in folder.rglob("*.png"):
            mask.unlink()
            gone += 1
    if known is not None or not any(folder.rglob("*.png")):
        write_atomically(folder / RULE, json.dumps(rule._asdict()))
    return gone


def missing_masks(folder: Path, files: Iterable[str]) -> set[str]:
    """Photos without a mask yet; a mask appears under its name as a whole, so those that are there are done.

    Raises:
        UserError: For a photo's name that would leave the folder.
    """
    drawn = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    wrong = next((file for file in files if not stays_inside(file)), None)
    if wrong is not None:
        raise UserError(f"need names of photos inside their folder, got {wrong!r}; unpack COCO anew")
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
    """Draws masks of class ids; what a killed run has drawn is kept, so that the next one goes on.

    Args:
        folder: For the masks, PNGs named as the photos.
        instances: Of the split.
        rule: Which objects count; the pixels of others are 255.
        missing: Files of the photos to draw, see ``missing_masks``.
        workers: Processes that draw.
        progress: Wraps the masks as they are done.

    Returns:
        Masks drawn.

    Raises:
        UserError: For an outline that cannot be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.rglob(f".*{PARTIAL}"):
        leftover.unlink(missing_ok=True)
    draw = partial(_draw, folder=folder, palette=voc_palette(len(COCO_CLASSES) + 1))
    photos = (photo for photo in instances.outlined(rule) if photo.file in missing)
    return sum(1 for _ in progress(mapped(draw, photos, workers=workers)))


def _mask_name(file: str) -> str:
    return f"{without_ending(file)}.png"


def _draw(photo: Outlined, *, folder: Path, palette: Palette) -> None:
    path = folder / _mask_name(photo.file)
    try:
        label = draw_mask(photo)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"need outlines as COCO has them, those of {photo.file} cannot be drawn ({error!r})") from error
    partial_path = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    write_mask(partial_path, label, palette)
    partial_path.replace(path)
