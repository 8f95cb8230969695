"""Image labels of VOC's layout: from its annotations, its class lists, or masks."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from afa_wsss.data.base import FilePath, Labels
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.data.files.lists import is_file, read_lines
from afa_wsss.data.files.photos import read_mask
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX


def labels_of_annotations(
    paths: Sequence[FilePath], class_names: Sequence[str], *, difficult: bool, report: Report
) -> Labels:
    """Multi-hot labels of the objects that each annotation names; what cannot be read is reported and has none."""
    place = {name: column for column, name in enumerate(class_names)}
    labels = np.zeros((len(paths), len(class_names)), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            objects = objects_of_annotation(path, difficult=difficult)
        except UserError as error:
            report([Problem("annotation broken", Path(path).stem, str(error))])
            continue
        unknown = sorted(objects - place.keys())
        if unknown:
            told = (
                f"need objects of {len(class_names)} known classes, {path} names {unknown}; name the classes in "
                "classes.json or mend the annotation"
            )
            report([Problem("class unknown", Path(path).stem, told)])
        labels[row, [place[name] for name in objects & place.keys()]] = 1
    return labels


def objects_of_annotation(path: FilePath, *, difficult: bool) -> set[str]:
    """Classes of the objects in a VOC annotation, with or without those that it calls difficult.

    Raises:
        UserError: Where it cannot be parsed.
    """
    try:
        nodes = ElementTree.parse(path).iter("object")
        return {
            node.findtext("name", "").strip() for node in nodes if difficult or node.findtext("difficult", "0") != "1"
        }
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"need an annotation in VOC's XML, {path} cannot be parsed ({error}); replace it") from error


def labels_of_lists(paths: Sequence[Path], names: Sequence[str], *, difficult: bool, report: Report) -> Labels:
    """Multi-hot labels from one list a class, each line a name and 1 (present), 0 (difficult) or -1."""
    present = ("1", "0") if difficult else ("1",)
    labels = np.zeros((len(names), len(paths)), dtype=np.uint8)
    for column, path in enumerate(paths):
        rows = (line.split() for line in read_lines(path))
        flags = {" ".join(row[:-1]): row[-1] for row in rows}
        wrong = [name for name in names if flags.get(name) not in ("1", "0", "-1")]
        if wrong:
            told = "need a line with 1, 0 or -1 for every photo in {}, {} {}; mend the list"
            states = [f"says {flags[name]!r}" if name in flags else "has none" for name in wrong]
            pairs = zip(wrong, states, strict=True)
            report([Problem("class list short", name, told.format(path, name, state)) for name, state in pairs])
        labels[:, column] = [flags.get(name) in present for name in names]
    return labels


def labels_of_masks(paths: Sequence[FilePath], classes: int, *, report: Report) -> Labels:
    """Multi-hot labels of the classes that each mask shows; what cannot be read is reported and has none."""

    def classes_of(path: FilePath) -> np.ndarray | UserError:
        try:
            shown = np.bincount(read_mask(path, classes + 1).ravel(), minlength=256)
        except UserError as error:
            return error
        shown[IGNORE_INDEX] = 0
        return shown[1 : classes + 1] > 0

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(classes_of, paths))
    wrong = [(path, row) for path, row in zip(paths, found, strict=True) if isinstance(row, UserError)]
    if wrong:
        kinds = ["mask unfit" if is_file(path) else "mask missing" for path, _ in wrong]
        report([Problem(kind, Path(path).stem, str(error)) for kind, (path, error) in zip(kinds, wrong, strict=True)])
    bare = np.zeros(classes, dtype=np.uint8)
    return np.stack([bare if isinstance(row, UserError) else row.astype(np.uint8) for row in found])
