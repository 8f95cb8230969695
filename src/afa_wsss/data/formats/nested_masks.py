"""Folders ``masks`` further inside: ``train/masks`` beside ``train/images``, ``annotations/masks``, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.formats.folder_masks import NONE_FITS, FoundMasks, find_masks, masks_in


def find_all_masks(root: Path, names: Sequence[str], files: Sequence[str], inside: Sequence[str]) -> FoundMasks:
    """The masks in ``masks`` and in folders of that name further inside, which belong to the photos around them.

    Args:
        root: The data set's folder.
        names: Names of its photos.
        files: Their files, relative to ``root``.
        inside: Folders of masks that are not directly in ``root``, relative to it.

    Returns:
        As ``find_masks``; with folders further inside, ``folder`` is ``root`` and patterns begin with the folder.
    """
    outer = find_masks(root, names, files)
    if not inside:
        return outer
    further = [_around(root, folder, names, files) for folder in inside]
    if outer.by_name or any(masks.by_name for masks in further):
        further = [_mild(masks) for masks in further]
    found = [outer, *further] if outer.folder is not None else further
    by_name: dict[str, str] = {}
    problems: list[Problem] = []
    unmatched: list[str] = []
    patterns: Counter[str] = Counter()
    message = "need one mask for each photo, {} has {} and {}; remove one"
    for masks in found:
        place = (masks.folder or root).relative_to(root).as_posix()
        problems += masks.problems
        problems += [
            Problem("several masks", name, message.format(name, by_name[name], path))
            for name, path in masks.by_name.items()
            if name in by_name and Path(path).read_bytes() != Path(by_name[name]).read_bytes()
        ]
        by_name = {**masks.by_name, **by_name}
        unmatched += [f"{place}/{file}" for file in masks.unmatched]
        patterns.update({f"{place}/{pattern}": count for pattern, count in masks.patterns.items()})
    return FoundMasks(root, by_name, unmatched, patterns, problems)


def _mild(masks: FoundMasks) -> FoundMasks:
    """With a warning where none fits a photo: labels may leave out the photos of a split, such as ``test``."""
    problems = [one._replace(level="warning") if one.kind == NONE_FITS else one for one in masks.problems]
    return masks._replace(problems=problems)


def _around(root: Path, folder: str, names: Sequence[str], files: Sequence[str]) -> FoundMasks:
    """The masks of the photos in the folder that a folder of masks is in; of all photos where it holds none."""
    above = f"{folder.rpartition('/')[0]}/"
    there = {
        (file if without_suffix(name) != name else without_suffix(file))[len(above) :]: name
        for name, file in zip(names, files, strict=True)
        if file.startswith(above)
    }
    if not there:
        return masks_in(root / folder, names, files)
    masks = masks_in(root / folder, list(there), [file[len(above) :] for file in files if file.startswith(above)])
    return masks._replace(by_name={there[name]: path for name, path in masks.by_name.items()})
