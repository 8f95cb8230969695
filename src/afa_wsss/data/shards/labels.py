"""What the labels of shards name: all their tags, or a look at some of them before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.reading import in_order
from afa_wsss.data.shards.samples import has_photo, read_tags
from afa_wsss.data.shards.tar_index import read_index
from afa_wsss.errors import UserError
from afa_wsss.types import IGNORE_INDEX

SHARDS, SAMPLES = 8, 125
"""Shards that are looked at, evenly spread, and samples of each."""


class Looked(NamedTuple):
    """What the labels of some samples are.

    Attributes:
        samples: How many were looked at.
        named: Those with a class.
        negative: Those without one.
        unknown: Those with tags that are no classes.
        unusable: The others, by what is wrong with them.
        reasons: The first reason of each of these, where there is more to say.
    """

    samples: int
    named: int
    negative: int
    unknown: int
    unusable: Counter[str]
    reasons: Mapping[str, str]


def look(shards: Sequence[str], class_names: Sequence[str], by_number: Sequence[str | None]) -> Looked:
    """Reads the labels of a thousand samples, without their photos.

    Args:
        shards: Paths of the shards.
        class_names: Foreground classes.
        by_number: As for ``tags_of``.

    Raises:
        UserError: For a shard that cannot be read.
    """
    samples = named = negative = unknown = 0
    unusable: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for path, place in _places(shards):
        index = read_index(path)
        samples += 1
        try:
            tags = read_tags(path, index, place, by_number)
        except UserError as error:
            what, _, reason = str(error).partition(" (")
            unusable[what] += 1
            reasons.setdefault(what, reason.removesuffix(")"))
            continue
        if not has_photo(index, place):
            unusable["no photo"] += 1
            continue
        known = len(set(class_names).intersection(tags))
        named, negative, unknown = named + (known > 0), negative + (known == 0), unknown + (known < len(tags))
    return Looked(samples, named, negative, unknown, unusable, reasons)


def problems_of(found: Looked, root: str, class_names: Sequence[str]) -> list[Problem]:
    """What is doubtful in the labels that were looked at.

    Raises:
        UserError: Where none names a class.
    """
    if not found.named:
        why = "".join(f", {count} have {_with_reason(what, found)}" for what, count in found.unusable.most_common(1))
        raise UserError(
            f"need labels that name classes such as {class_names[0]!r} in the .cls, .json or .txt entries of {root}, "
            f"none of {found.samples} does{why}; fix them or classes.txt",
            arguments=("root",),
        )
    lines = [
        ("no class", found.negative, "they are negatives, all background"),
        ("tags that classes.txt lacks", found.unknown, "these tags are left out"),
        *((what, count, "the next sample takes their place") for what, count in found.unusable.items()),
    ]
    return [
        Problem(kind, root, f"{count} of {found.samples} samples looked at have {what}: {means}", "warning")
        for kind, count, means in lines
        for what in [_with_reason(kind, found)]
        if count
    ]


def _with_reason(what: str, found: Looked) -> str:
    reason = found.reasons.get(what)
    return f"{what} ({reason})" if reason else what


def all_tags(shards: Sequence[str], root: str) -> tuple[str, ...]:
    """All tags of all shards, in alphabetical order; at most as many as pixel labels have room for.

    Raises:
        UserError: For none, and for more.
    """
    found: set[str] = set()
    for path in shards:
        index = read_index(path)
        for place in range(len(index.keys)):
            try:
                found.update(read_tags(path, index, place))
            except UserError:
                continue  # said where the sample is looked at or trained on
        if len(found) >= IGNORE_INDEX:
            raise UserError(
                f"need 1 to {IGNORE_INDEX - 1} different classes, the labels of {root} name {len(found)} up to {path}; "
                "list those to train in classes.txt beside the shards",
                arguments=("root",),
            )
    if not found:
        raise UserError(
            f"need labels in .cls, .json or .txt entries of {root}, or a classes.txt where they are numbers, found "
            "none; write them",
            arguments=("root",),
        )
    return in_order(found)


def spread(shards: Sequence[str]) -> list[str]:
    """Shards to look at, evenly spread."""
    return [shards[place] for place in np.unique(np.linspace(0, len(shards) - 1, SHARDS).astype(int)).tolist()]


def _places(shards: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Shards and places of the samples to look at."""
    for path in spread(shards):
        count = len(read_index(path).keys)
        places = np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int)).tolist() if count else []
        yield from ((path, place) for place in places)
