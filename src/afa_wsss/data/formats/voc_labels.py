"""Image labels in VOC's layout: from its annotations, its class lists, or masks; and collected into one file."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from afa_wsss.data.base import FilePath, Labels
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.data.files.label_cache import LabelCache
from afa_wsss.data.files.lists import read_lines
from afa_wsss.data.files.masks import read_mask
from afa_wsss.data.files.parallel import Progress, process_map
from afa_wsss.data.formats.voc_layout import find_voc_root, read_classes
from afa_wsss.errors import UserError

DECLARED_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
"""The encoding that an XML file declares in its first line."""


def labels_from_annotations(
    paths: Sequence[FilePath], class_names: Sequence[str], *, difficult: bool, report: Report
) -> Labels:
    """(N, k) multi-hot labels of the objects in each annotation; one that cannot be read is reported, with no label."""
    column = {name: index for index, name in enumerate(class_names)}
    labels = np.zeros((len(paths), len(class_names)), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            objects = read_annotation(path, difficult=difficult)
        except UserError as error:
            report([Problem("annotation broken", Path(path).stem, str(error))])
            continue
        unknown = sorted(objects - column.keys())
        if unknown:
            report([Problem("class unknown", Path(path).stem, _unknown_classes(path, unknown, len(class_names)))])
        labels[row, [column[name] for name in objects & column.keys()]] = 1
    return labels


def _unknown_classes(path: FilePath, unknown: list[str], known: int) -> str:
    return (
        f"need objects of {known} known classes, {path} names {unknown}; list the classes in classes.json or fix the "
        "annotation"
    )


def read_annotation(path: FilePath, *, difficult: bool) -> set[str]:
    """Classes of the objects in a VOC annotation, with or without those that it marks difficult.

    Raises:
        UserError: Where it cannot be parsed.
    """
    try:
        nodes = _parsed(path).iter("object")
        return {
            node.findtext("name", "").strip() for node in nodes if difficult or node.findtext("difficult", "0") != "1"
        }
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise UserError(f"need an annotation in VOC's XML, {path} cannot be parsed ({error}); replace it") from error


def _parsed(path: FilePath) -> ElementTree.Element:
    """The XML of a file in any encoding that Python knows; the parser itself lacks those of several bytes.

    Raises:
        ParseError, OSError, ValueError, LookupError: Where it cannot be parsed, also for an unknown encoding.
    """
    content = Path(path).read_bytes()
    declared = DECLARED_ENCODING.match(content)
    try:
        return ElementTree.fromstring(content)
    except (ValueError, LookupError):
        if declared is None:
            raise
        return ElementTree.fromstring(content.decode(declared[1].decode("ascii")))


def labels_from_lists(paths: Sequence[Path], names: Sequence[str], *, difficult: bool, report: Report) -> Labels:
    """(N, k) multi-hot labels from one list per class; each line is a name and 1 (present), 0 (difficult) or -1."""
    present = ("1", "0") if difficult else ("1",)
    labels = np.zeros((len(names), len(paths)), dtype=np.uint8)
    for column, path in enumerate(paths):
        rows = (line.split() for line in read_lines(path))
        flags = {" ".join(row[:-1]): row[-1] for row in rows}
        wrong = [name for name in names if flags.get(name) not in ("1", "0", "-1")]
        if wrong:
            message = "need a line with 1, 0 or -1 for every photo in {}, {} has {}; fix the list"
            found = [f"{flags[name]!r}" if name in flags else "none" for name in wrong]
            pairs = zip(wrong, found, strict=True)
            report([Problem("class list incomplete", name, message.format(path, name, value)) for name, value in pairs])
        labels[:, column] = [flags.get(name) in present for name in names]
    return labels


def labels_from_masks(paths: Sequence[FilePath], classes: int, *, report: Report) -> Labels:
    """(N, k) multi-hot labels of the classes in each mask; a mask that cannot be read is reported, with no label."""

    def read_classes_of(path: FilePath) -> np.ndarray | UserError:
        try:
            pixels = np.bincount(read_mask(path, classes + 1).ravel(), minlength=256)
        except UserError as error:
            return error
        return pixels[1 : classes + 1] > 0

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(read_classes_of, paths))
    failed = [(path, row) for path, row in zip(paths, found, strict=True) if isinstance(row, UserError)]
    if failed:
        report([_mask_problem(path, error) for path, error in failed])
    none = np.zeros(classes, dtype=np.uint8)
    return np.stack([none if isinstance(row, UserError) else row.astype(np.uint8) for row in found])


def _mask_problem(path: FilePath, error: UserError) -> Problem:
    kind = "mask missing" if error.kind == "missing" else "mask unusable"
    return Problem(kind, Path(path).stem, str(error))


def voc_cache(root: Path, class_names: Sequence[str], *, difficult: bool | None) -> LabelCache:
    """The file of collected labels.

    Args:
        root: The folder with JPEGImages.
        class_names: Foreground classes.
        difficult: Whether objects that VOC marks difficult count; None for any.
    """
    made_with = {"classes": list(class_names), "difficult": difficult}
    return LabelCache(root / "image_labels.json", made_with, newer_than=root / "Annotations")


def collect_voc_labels(root: Path, *, difficult: bool, workers: int, progress: Progress = iter) -> int:
    """Reads all annotations into ``image_labels.json``, which every split then takes its labels from.

    Args:
        root: As for ``find_voc_root``.
        difficult: Whether objects that VOC marks difficult count.
        workers: Number of processes that read.
        progress: Wraps the annotations as they are read.

    Returns:
        Number of photos with labels; 0 where there are no annotations, and nothing is written.

    Raises:
        UserError: For an annotation that cannot be parsed or names an unknown class.
    """
    root = find_voc_root(root)
    paths = sorted((root / "Annotations").glob("[!.]*.xml"))
    if not paths:
        return 0
    class_names, _ = read_classes(root)
    column = {name: index for index, name in enumerate(class_names)}
    found = process_map(partial(read_annotation, difficult=difficult), paths, workers=workers)
    labels = {}
    for path, objects in zip(paths, progress(found), strict=True):
        unknown = sorted(objects - column.keys())
        if unknown:
            raise UserError(_unknown_classes(path, unknown, len(class_names)))
        labels[path.stem] = sorted(column[name] for name in objects)
    voc_cache(root, class_names, difficult=difficult).write(labels)
    return len(labels)
