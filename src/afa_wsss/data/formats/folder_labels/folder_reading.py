"""All that is understood of a folder of photos: photos, classes, what is held out, what was left aside."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from afa_wsss.data.base import Labels
from afa_wsss.data.checks.problems import Problem, Report, raise_first
from afa_wsss.data.files.lists import read_lines, stays_inside
from afa_wsss.data.files.mask_colors import ClassList, is_background, parse_class_list
from afa_wsss.data.files.photos import without_suffix
from afa_wsss.data.files.picture_types import report_skipped
from afa_wsss.data.formats.folder_labels.beside import PHOTO_FOLDERS
from afa_wsss.data.formats.folder_labels.contents import MASKS, QUIET_FILES, Contents
from afa_wsss.data.formats.folder_labels.forms import CANDIDATES, read_labels
from afa_wsss.data.formats.folder_labels.label_warnings import class_warnings, name_warnings
from afa_wsss.data.formats.folder_labels.places import Placed, place_photos
from afa_wsss.data.formats.folder_labels.reading import Reading, class_name, counted, in_order, listed
from afa_wsss.data.formats.folder_labels.split_lists import read_split_lists
from afa_wsss.data.formats.folder_labels.splits import hold_out, unmarked
from afa_wsss.data.formats.folder_labels.unread import FOREIGN
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

Fact = tuple[str, str]


class FolderReading(NamedTuple):
    """A folder of photos as it was understood.

    Attributes:
        source: The file or folder that lists the photos, for messages.
        class_list: Foreground classes in their order, and colors where ``classes.txt`` gives some.
        names: Of all photos: paths without suffix, unique.
        paths: Their files, relative to the folder.
        labels: (N, k) multi-hot.
        held_out: Which photos are for validation.
        facts: What was understood and how, in the order to show it.
        problems: What is wrong or doubtful.
    """

    source: Path
    class_list: ClassList
    names: list[str]
    paths: list[str]
    labels: Labels
    held_out: list[bool]
    facts: list[Fact]
    problems: list[Problem]


def read_folder(
    contents: Contents,
    has_mask: Callable[[Sequence[str], Sequence[str]], Sequence[bool]],
    *,
    labels: str | None = None,
    report: Report = raise_first,
) -> FolderReading:
    """Reads the labels and finds the photos.

    Args:
        contents: What lies in the folder.
        has_mask: Whether photos have a mask, by their names and files.
        labels: The file of labels; None to look for it.
        report: Called with what is wrong where no class is left, before this raises; raises by default.

    Raises:
        UserError: Where the labels are not understood, or name no class.
    """
    class_file = min((name for name in contents.others if name.lower() == "classes.txt"), key=str.swapcase, default="")
    listed_path = contents.root / (class_file or "classes.txt")
    lines = read_lines(listed_path) if class_file else []
    readings = read_labels(contents, labels=labels, known=_parse(lines, listed_path).names)
    source = readings[0].source if len(readings) == 1 else contents.root
    places = place_photos(readings, contents.photos)
    problems = [problem for reading in readings for problem in reading.problems] + places.problems
    outside = [entry for entry in places.placed if not entry.found and not stays_inside(entry.photo.file)]
    message = (
        "need names of photos inside their folder, {} holds {!r}, and no photo there is called like that; add the "
        "photo or take it off the list"
    )
    problems += [
        Problem(
            "name leaves folder",
            without_suffix(entry.photo.file),
            message.format(source, without_suffix(entry.photo.file)),
        )
        for entry in outside
    ]
    lists = read_split_lists(contents)
    problems += lists.problems
    placed = _once([entry for entry in places.placed if entry.found or stays_inside(entry.photo.file)])
    placed = [_of_list(entry, lists.splits) for entry in placed]
    names, paths = _names(placed), [entry.path for entry in placed]
    used = {label for entry in placed for label in entry.photo.labels}
    class_list = _class_list(readings, used, _parse(lines, listed_path, used), source, problems, report)
    classes = class_list.names
    matrix = _matrix(placed, classes)
    photos = [entry.photo for entry in placed]
    out = hold_out(photos, paths, has_mask(names, paths))
    problems += unmarked(photos, paths, out.flags)
    problems += name_warnings(classes, source)
    problems += class_warnings(classes, matrix, out.flags) if len(matrix) else []
    problems += _left_aside(contents, readings, placed, read={*lists.files, class_file})
    facts = [
        *_labels_facts(contents.root, readings),
        *places.facts,
        *([("classes.txt", "; ".join(class_list.notes))] if class_list.notes else []),
        *([("lists of splits", listed(lists.files))] if lists.files else []),
        ("held out", f"{sum(out.flags)} of {counted(len(placed), 'photo')}: {out.why}"),
        *_negatives(placed, matrix),
    ]
    return FolderReading(source, class_list, names, paths, matrix, out.flags, facts, problems)


def _of_list(entry: Placed, splits: Mapping[str, str]) -> Placed:
    """An entry with the split of a list such as ``val.txt``, where the labels give it none."""
    split = entry.photo.split or splits.get(entry.path, "")
    return entry._replace(photo=entry.photo._replace(split=split))


def _once(placed: Sequence[Placed]) -> list[Placed]:
    """Entries of the same photo joined, with the classes of all."""
    by_path: dict[str, Placed] = {}
    for entry in placed:
        first = by_path.get(entry.path)
        if first is None:
            by_path[entry.path] = entry
        else:
            labels = tuple(dict.fromkeys((*first.photo.labels, *entry.photo.labels)))
            by_path[entry.path] = first._replace(photo=first.photo._replace(labels=labels))
    return list(by_path.values())


def _names(placed: Sequence[Placed]) -> list[str]:
    """Paths without suffix, and without ``images`` where all photos are in it; photos alike but for it keep theirs."""
    paths = [os.path.normpath(entry.path) for entry in placed]
    tops = {path.partition("/")[0] for path in paths}
    top = next(iter(tops)) if len(tops) == 1 else ""
    if top.lower() in PHOTO_FOLDERS and all("/" in path for path in paths):
        paths = [path.partition("/")[2] for path in paths]
    alike = Counter(map(without_suffix, paths))
    return [path if alike[bare := without_suffix(path)] > 1 else bare for path in paths]


def _parse(lines: Sequence[str], path: Path, used: Collection[str] = ()) -> ClassList:
    return parse_class_list(
        [class_name(line) for line in lines], path, used={name for name in used if not is_background(name)}
    )


def _class_list(
    readings: Sequence[Reading],
    used: Collection[str],
    declared: ClassList,
    source: Path,
    problems: list[Problem],
    report: Report,
) -> ClassList:
    """From ``classes.txt``, from the labels' own order, else all that the labels name; 1 to 254 different ones."""
    used = {name for name in used if not is_background(name)}
    order = next((reading.class_order for reading in readings if reading.class_order), ())
    classes = declared.names or order or in_order(used)
    message = "need classes that {} lists, {} names {!r}{}; add it to the list or fix the label"
    spelled = {name.casefold(): name for name in classes}
    for name in in_order(used - set(classes)):
        other = spelled.get(name.casefold())
        nearest = f" ({other!r} is listed)" if other else ""
        problems.append(
            Problem("class unknown", name, message.format(source.parent / "classes.txt", source, name, nearest))
        )
    if not classes:
        report(problems)  # a class may be missing for what is wrong with its rows
    listing = "classes.txt" if declared.names else source
    if not 1 <= len(classes) < IGNORE_INDEX:
        raise UserError(f"need 1 to {IGNORE_INDEX - 1} classes, {listing} names {len(classes)}; fix the labels")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise UserError(f"need each class once, {listing} names {listed(twice)} more than once; fix it")
    return declared if declared.names else ClassList(classes, {}, None, ())


def _matrix(placed: Sequence[Placed], classes: Sequence[str]) -> Labels:
    column = {name: index for index, name in enumerate(classes)}
    matrix = np.zeros((len(placed), len(classes)), dtype=np.uint8)
    for row, entry in enumerate(placed):
        matrix[row, [column[label] for label in entry.photo.labels if label in column]] = 1
    return matrix


def _labels_facts(root: Path, readings: Sequence[Reading]) -> list[Fact]:
    """Form and files of the labels, and what each reader says of its own, once where files agree."""
    files = [reading.source.relative_to(root).as_posix() for reading in readings]
    facts = [("labels", ", ".join(dict.fromkeys(reading.form for reading in readings)))]
    facts += [("file" if len(files) == 1 else "files", listed(files))] if files != ["."] else []
    said: dict[str, list[str]] = defaultdict(list)
    for what, value in (fact for reading in readings for fact in reading.facts):
        said[what] += [value] if value not in said[what] else []
    return facts + [(what, "; ".join(values)) for what, values in said.items()]


def _negatives(placed: Sequence[Placed], labels: Labels) -> list[Fact]:
    count = int((~labels.any(axis=1)).sum()) if len(labels) else 0
    name = next((label for entry in placed for label in entry.photo.labels if is_background(label)), "")
    facts = [("negatives", f"{counted(count, 'photo')} without any class: all background")] if count else []
    return facts + ([("background", f"{name!r} is taken as the name for negatives, not as a class")] if name else [])


def _left_aside(
    contents: Contents, readings: Sequence[Reading], placed: Sequence[Placed], *, read: Collection[str]
) -> list[Problem]:
    """Photos that the labels do not list, files that are no photos, and folders that were not read."""
    listed_paths = {entry.path for entry in placed}
    missing = [photo for photo in contents.photos if photo not in listed_paths]
    problems = []
    if missing and readings[0].form != "class folders":
        message = (
            f"{len(missing)} of {len(contents.photos)} photos are not in the labels: {listed(missing, 3)}; list them "
            "(an empty cell for no class) or move them away"
        )
        problems.append(Problem("photo not in labels", missing[0], message, "warning"))
    others = [
        contents.root / file
        for file in contents.others
        if file not in read and not file.lower().endswith((*CANDIDATES, *FOREIGN))  # the search for labels names these
    ]
    problems += report_skipped((path for path in others if path.name.lower() not in QUIET_FILES), contents.root)
    left_out = [f"{folder} ({why})" for folder, why in contents.left_out.items() if why not in ("hidden", MASKS)]
    if left_out:
        message = f"{counted(len(left_out), 'folder')} not read: {listed(left_out, 3)}"
        problems.append(Problem("folder not read", next(iter(contents.left_out)), message, "note"))
    return problems
