"""Masks of your own photos: which file in ``masks`` belongs to which photo, whatever tool named it."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from afa_wsss.data.base import Palette
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.files.mask_colors import ClassList
from afa_wsss.data.files.mask_forms import MaskForm
from afa_wsss.data.files.mask_pixels import MaskContent, content_of, unpack
from afa_wsss.data.files.masks import read_stored
from afa_wsss.data.files.photos import PILLOW_ERRORS, is_photo_file, open_picture, without_suffix
from afa_wsss.data.files.picture_types import report_skipped
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder_labels.reading import plain
from afa_wsss.data.formats.mask_choice import Evidence, choose_form
from afa_wsss.errors import UserError

MASK_FOLDERS = ("masks",)
"""Names of the folder of masks, in any case; ``mask`` may be a class."""

AFFIX = "masks?|seg(?:mentation)?|labels?|gt|ground_?truth|annotation|class_?ids?|label_?ids|fuse"
"""What tools add to a photo's name to name its mask."""

AFFIXED = (re.compile(rf"(?P<name>.+?)[ _.-]+(?:{AFFIX})", re.I), re.compile(rf"(?:{AFFIX})[ _.-]+(?P<name>.+)", re.I))

SAMPLED = 64
"""Masks that decide what the values or colors of all of them mean; more are read while these are all background."""

SUGGESTED = 20
"""Files without a photo for which the nearest name is looked up; with thousands that would take minutes."""


NONE_FITS = "no mask fits"
"""Kind of the problem of a folder whose masks fit no photo."""


class FoundMasks(NamedTuple):
    """The masks of a folder.

    Attributes:
        folder: The folder; None where there is none.
        by_name: Path of the mask by the photo's name, for the photos that have one.
        unmatched: Files that fit no photo, or several, relative to ``folder``.
        patterns: How often the files are named ``<name>``, ``<file>``, ``<name>_mask``, ...
        problems: What is wrong with all that.
    """

    folder: Path | None
    by_name: Mapping[str, str]
    unmatched: Sequence[str]
    patterns: Mapping[str, int]
    problems: Sequence[Problem]

    def path(self, name: str) -> str | None:
        """Path of a photo's mask; None where it has none."""
        return self.by_name.get(name)


def find_mask_folder(root: Path) -> Path | None:
    """The folder of masks in a data set's folder, in any case.

    Raises:
        UserError: Where there are several.
    """
    found = sorted(path for path in root.iterdir() if path.name.lower() in MASK_FOLDERS and path.is_dir())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"need one folder of masks in {root}, got {names}; move the others away")
    return found[0] if found else None


def find_masks(root: Path, names: Sequence[str], files: Sequence[str]) -> FoundMasks:
    """The masks of photos: ``<name>.png``, ``<name>_mask.png``, ``<file>.png``, in any picture format.

    A mask may lie in the same folders below ``masks`` as its photo, or in fewer where that leaves one photo.

    Args:
        root: The data set's folder.
        names: Names of its photos: files without suffix, ``/`` between folders.
        files: Their files, as in the labels.

    Returns:
        The masks, and as problems: files that fit no photo, photos with two masks, and no fitting file at all.

    Raises:
        UserError: Where there are several folders of masks.
    """
    folder = find_mask_folder(root)
    return FoundMasks(None, {}, (), {}, ()) if folder is None else masks_in(folder, names, files)


def masks_in(folder: Path, names: Sequence[str], files: Sequence[str]) -> FoundMasks:
    """The masks of photos in one folder, as ``find_masks`` gives those in ``masks``."""
    matcher = _Matcher(names, files)
    masks: dict[str, list[str]] = defaultdict(list)
    patterns: Counter[str] = Counter()
    unmatched: dict[str, list[str]] = {}
    pictures, others = _files(folder)
    for file in pictures:
        fitting, pattern = matcher.fitting(file)
        if len(fitting) == 1:
            masks[fitting[0]].append(file)
            patterns[pattern] += 1
        else:
            unmatched[file] = fitting
    problems = [
        *_ambiguous(folder, masks),
        *_without_photo(folder, names, unmatched, some_fit=bool(masks)),
        *_others(others, folder, alone=not pictures),
    ]
    by_name = {name: f"{folder}/{fitting[0]}" for name, fitting in masks.items()}
    return FoundMasks(folder, by_name, list(unmatched), dict(patterns), problems)


def find_mask_form(found: FoundMasks, listed: ClassList, tags: Mapping[str, Collection[int]]) -> MaskForm:
    """What the values or colors of a folder's masks mean; the same for all splits.

    Args:
        found: The masks.
        listed: The classes, their colors, the place of the background among them.
        tags: Class ids, from 1, of the photos by name.
    """
    names = sorted(name for name in found.by_name if name in tags)
    contents: list[MaskContent] = []
    seen: list[Collection[int]] = []
    for name in _evenly(names):
        try:
            content = content_of(read_stored(found.by_name[name]))
        except UserError:
            continue  # the file check reports it
        contents.append(content)
        seen.append(tags[name])
        if len(contents) >= SAMPLED and any(set(one.values or {1: 1}) != {0} for one in contents):
            break
    return choose_form(Evidence(contents, seen), listed)


def mask_palette(found: FoundMasks, form: MaskForm, count: int) -> Palette:
    """Colors to show classes in: those that the list of classes gives, else of the masks' palette, else VOC's.

    Args:
        found: The masks.
        form: What they mean.
        count: Number of classes with background.

    Returns:
        (count, 3) RGB.
    """
    by_id = {value: unpack(color) for color, value in form.table.items()} if form.by == "colors" else {}
    if all(value in by_id for value in range(count)):
        return np.array([by_id[value] for value in range(count)], dtype=np.uint8)
    for path in () if form.by == "colors" else sorted(found.by_name.values())[:1]:
        try:
            with open_picture(path) as mask:
                values = mask.getpalette() or []
        except PILLOW_ERRORS:
            continue  # the file check reports it
        colors = np.asarray(values, dtype=np.uint8).reshape(-1, 3)[:count]
        if len(np.unique(colors, axis=0)) == count and form.is_plain:
            return colors
    return voc_palette(count)


def _evenly(names: Sequence[str]) -> list[str]:
    """All names, first ``SAMPLED`` that are spread over them."""
    step = max(1, len(names) // SAMPLED)
    first = list(names[::step])
    return first + [name for place, name in enumerate(names) if place % step]


class _Matcher:
    """Finds photos by the names that their masks may have."""

    def __init__(self, names: Sequence[str], files: Sequence[str]) -> None:
        """Indexes photos by name and by file: in Unicode NFC, in lower case, and by the ends of their paths."""
        self.exact: dict[str, set[str]] = defaultdict(set)
        self.folded: dict[str, set[str]] = defaultdict(set)
        self.ends: dict[str, set[str]] = defaultdict(set)
        for name, file in zip(names, files, strict=True):
            for key in {plain(name), plain(file)}:
                self.exact[key].add(name)
                self.folded[key.lower()].add(name)
                for end in _ends(key.lower()):
                    self.ends[end].add(name)

    def fitting(self, file: str) -> tuple[list[str], str]:
        """Names of the photos that a mask fits, and how it is named.

        A name that is equal fits before one with an affix, and one in the same folder before one in another.
        """
        for key, pattern in _meant(plain(without_suffix(file))):
            photos = self.exact.get(key) or self.folded.get(key.lower()) or self._in_other_folder(key.lower())
            if photos:
                return sorted(photos), pattern
        return [], ""

    def _in_other_folder(self, key: str) -> set[str]:
        """Photos whose path ends with the mask's path, or whose path is an end of it."""
        return self.ends.get(key) or next((self.folded[end] for end in _ends(key) if end in self.folded), set())


def _ends(path: str) -> Iterator[str]:
    """A path, then without its first folder, and so on to the file alone."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _meant(bare: str) -> Iterator[tuple[str, str]]:
    """The photos' names that a mask's name may stand for, the likeliest first, and how it is made of each."""
    folder, slash, last = bare.rpartition("/")
    matches = [match for affixed in AFFIXED if (match := affixed.fullmatch(last))]
    for name, before, after in [
        (last, "", ""),
        *((match["name"], last[: match.start("name")], last[match.end("name") :]) for match in matches),
    ]:
        yield f"{folder}{slash}{name}", f"{before}{'<name>' if without_suffix(name) == name else '<file>'}{after}"
        if without_suffix(name) != name:
            yield f"{folder}{slash}{without_suffix(name)}", f"{before}<file>{after}"


def _files(folder: Path) -> tuple[list[str], list[Path]]:
    """Pictures in a folder, relative to it, and paths of other files, sorted; hidden ones are left out."""
    pictures, others, seen = [], [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        for path in () if real in seen else (Path(place, file) for file in sorted(files) if not file.startswith(".")):
            if is_photo_file(path):
                pictures.append(path.relative_to(folder).as_posix())
            else:
                others.append(path)
        seen.add(real)
    return pictures, others


def _others(others: Sequence[Path], folder: Path, *, alone: bool) -> list[Problem]:
    """A line for each kind of file that is no picture; an error where masks may be in them and there are no others."""
    problems = report_skipped(others, folder)
    return [
        problem._replace(level="error") if alone and problem.level == "warning" else problem for problem in problems
    ]


def _ambiguous(folder: Path, masks: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    message = "need one mask for each photo, {} has {} in {}; remove all but one"
    for name, files in masks.items():
        if len(files) > 1 and len({Path(folder, file).read_bytes() for file in files}) > 1:
            yield Problem("several masks", name, message.format(name, " and ".join(files), folder))


def _without_photo(
    folder: Path, names: Sequence[str], unmatched: Mapping[str, Sequence[str]], *, some_fit: bool
) -> Iterator[Problem]:
    """An error where no mask fits, else a warning for each that does not."""
    if unmatched and not some_fit:
        first = next(iter(unmatched))
        yield Problem(
            NONE_FITS,
            first,
            f"need masks named like their photos, none of {len(unmatched)} in {folder} fits: {first}, and a photo is "
            f"{names[0] if names else 'not there'}; name masks <name>.png or <name>_mask.png, or move {folder} away",
        )
        return
    for number, (file, fitting) in enumerate(unmatched.items()):
        if fitting:
            advice = f"fits {', '.join(fitting[:3])}; put it into the folder of its photo"
        elif nearest := get_close_matches(without_suffix(file), names, 1, 0) if number < SUGGESTED else []:
            advice = f"fits none, the nearest is {nearest[0]}; rename or remove it"
        else:
            advice = "fits none; rename or remove it"
        yield Problem("mask without photo", file, f"need a photo for each mask, {folder}/{file} {advice}", "warning")
