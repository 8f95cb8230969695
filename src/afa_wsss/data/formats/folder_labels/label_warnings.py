"""What labels of one's own photos leave in doubt although they can be read: classes that nothing tells apart, ..."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from afa_wsss.data.base import Labels
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.reading import listed

NOT_HELD_OUT = "class not held out"
"""Kind of the warning that no photo for validation scores a class."""


def name_warnings(classes: Sequence[str], source: Path) -> list[Problem]:
    """Warnings about classes whose names differ only in case, or look like several joined."""
    by_spelling = {name.casefold(): name for name in classes}
    pairs = [(name, other) for name in classes if (other := by_spelling[name.casefold()]) != name]
    message = "need classes that differ in more than case, {} names {!r} and {!r}; spell a class one way"
    found = [Problem("classes alike", name, message.format(source, name, other), "warning") for name, other in pairs]
    message = "need ; between classes, {} names {!r}, in which {} is a class too; separate them if they are several"
    numbers = [name for name in classes if name.replace(".", "").isdecimal()]
    if numbers:
        advice = "they are taken as names; leave the cell empty where a number stands for no class"
        text = f"need names of classes, {source} has {listed(numbers)}: {advice}"
        found.append(Problem("classes are numbers", numbers[0], text, "warning"))
    for name in classes:
        parts = [part for part in re.split(r"\s*[,;|/&+]\s*", name) if part != name and part in classes]
        if parts:
            found.append(
                Problem("classes joined", name, message.format(source, name, " and ".join(map(repr, parts))), "warning")
            )
    return found


def class_warnings(classes: Sequence[str], labels: Labels, held_out: Sequence[bool]) -> list[Problem]:
    """Warnings about classes that image labels cannot teach, or that no held-out photo scores.

    Args:
        classes: Their names.
        labels: (N, k) multi-hot, of all photos.
        held_out: Which photos are for validation.
    """
    out = np.asarray(held_out, dtype=bool)
    train = labels[~out]
    found = _everywhere(classes, train) if len(train) else []
    found += _always_together(classes, train)
    absent = [name for name, count in zip(classes, labels[out].sum(axis=0).tolist(), strict=True) if not count]
    if absent and out.any():
        message = (
            f"need held-out photos of every class to score it, {listed(absent)} {'have' if len(absent) > 1 else 'has'} "
            "none; mark some val"
        )
        found.append(Problem(NOT_HELD_OUT, absent[0], message, "warning"))
    return found


def _everywhere(classes: Sequence[str], labels: Labels) -> list[Problem]:
    """Classes that are in every photo that is trained on: nothing tells them from the background."""
    every = [name for name, least in zip(classes, labels.min(axis=0).tolist(), strict=True) if least]
    if not every:
        return []
    what = "the only class is" if len(classes) == 1 else f"{listed(every)} {'is' if len(every) == 1 else 'are'}"
    message = (
        f"need photos without a class to learn where it is, {what} in every photo to train on; add photos without it "
        "(negatives: an empty cell, or a folder background)"
    )
    return [Problem("class in every photo", every[0], message, "warning")]


def _always_together(classes: Sequence[str], labels: Labels) -> list[Problem]:
    """Classes that are in the same photos: nothing tells one from the other."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for column, name in enumerate(classes):
        if labels[:, column].any():
            groups[labels[:, column].tobytes()].append(name)
    message = "need photos that tell classes apart, {} are always together; add photos of one of them, or make them one"
    return [
        Problem("classes always together", names[0], message.format(listed(names)), "warning")
        for names in groups.values()
        if len(names) > 1
    ]
