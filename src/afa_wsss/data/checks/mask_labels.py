"""Compares masks with the labels of their photos: classes that labels lack, ids that look exchanged, no background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.types import IGNORE_INDEX

CLEAR = 0.6
"""Ids look exchanged where this share of the masks that show a class lacks it among the labels, which have another."""

SEVERAL = 3
"""Masks without background that are a warning even where none has ignored pixels."""


class Shown(NamedTuple):
    """What a mask shows and what its photo is labeled with.

    Attributes:
        name: The photo's name.
        values: Class ids in the mask: background 0, classes from 1, 255 ignored.
        labels: Class ids of the photo's labels.
    """

    name: str
    values: frozenset[int]
    labels: frozenset[int]

    @property
    def classes(self) -> frozenset[int]:
        """Foreground classes in the mask."""
        return self.values - {0, IGNORE_INDEX}


def compare_with_labels(shown: Shown, path: object, class_names: Sequence[str]) -> list[Problem]:
    """Warnings about a mask that shows none of its photo's classes, or others too.

    Args:
        shown: The mask's classes.
        path: The mask's file.
        class_names: Foreground classes.
    """
    if not shown.labels:
        return []
    others = ", ".join(class_names[value - 1] for value in sorted(shown.classes - shown.labels))
    if not shown.classes & shown.labels:
        seen = f"none but {others}" if others else "none"
        seen += ", and 255, which is read as unknown" if IGNORE_INDEX in shown.values else ""
        message = f"need a mask that shows a class of its photo, {path} shows {seen}; fix the mask or the labels"
        return [Problem("mask without classes", shown.name, message, "warning")]
    if others:
        message = (
            f"need a mask's classes among its photo's labels, {path} shows {others} too; fix the labels or the mask"
        )
        return [Problem("class not labeled", shown.name, message, "warning")]
    return []


def compare_all(masks: Sequence[Shown], class_names: Sequence[str]) -> list[Problem]:
    """Warnings about all masks of a split together: ids that look exchanged, and no background.

    Args:
        masks: What each mask shows.
        class_names: Foreground classes.
    """
    return [*_exchanged(masks, class_names), *_without_background(masks)]


def _exchanged(masks: Sequence[Shown], class_names: Sequence[str]) -> list[Problem]:
    """One warning that names all classes that masks show where labels have another."""
    showing = Counter(value for mask in masks if mask.labels for value in mask.classes)
    instead = Counter(
        (value, label) for mask in masks for value in mask.classes - mask.labels for label in mask.labels - mask.classes
    )
    best: dict[int, tuple[int, int]] = {}
    for (value, label), count in instead.items():
        if count > 1 and count >= CLEAR * showing[value] and count > best.get(value, (0, 0))[1]:
            best[value] = label, count
    if not best:
        return []
    pairs = ", ".join(
        f"{class_names[value - 1]} where labels say {class_names[label - 1]} ({count} of {showing[value]})"
        for value, (label, count) in sorted(best.items())
    )
    message = (
        f"need masks and labels that agree, masks show {pairs}; check the order of classes.txt or the ids in the masks"
    )
    return [Problem("ids look exchanged", class_names[min(best) - 1], message, "warning")]


def _without_background(masks: Sequence[Shown]) -> list[Problem]:
    """A warning where no mask has the id 0: another value may stand for the background."""
    values: Collection[int] = frozenset().union(*(mask.values for mask in masks))
    if not masks or 0 in values:
        return []
    ignored = IGNORE_INDEX in values
    if not ignored and (len(masks) < SEVERAL or len(values) < 2):
        return []
    meant = "255 is read as unknown" if ignored else "every pixel has a class"
    message = (
        f"need 0 for the background in masks, none of {len(masks)} has it ({meant}): the background is not scored; "
        "write it as 0"
    )
    return [Problem("no background", masks[0].name, message, "warning")]
