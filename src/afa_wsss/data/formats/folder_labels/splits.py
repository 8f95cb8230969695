"""Which photos are held out for validation: by the words of a table, by folders, by masks, or one in ten."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import and_
from typing import NamedTuple

from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.folder_labels.reading import TaggedPhoto
from afa_wsss.data.formats.folder_labels.words import NO, YES

VALIDATION_WORDS = frozenset(
    {"val", "valid", "validation", "validate", "test", "testing", "tests", "dev", "eval", "holdout", "held_out"}
)
TRAINING_WORDS = frozenset({"train", "training", "trn", "trainset", "fit"})
"""Words in a table's split column and names of folders, in lower case."""

HELD_OUT = 10
"""Where nothing says which photos are for validation, one in this many is."""


class HeldOut(NamedTuple):
    """Which photos are for validation, and why.

    Attributes:
        flags: One for each photo.
        why: In words, for people.
    """

    flags: list[bool]
    why: str


def split_of(word: str) -> str | None:
    """``train`` or ``val`` for a word; empty for an empty word, None for any other."""
    word = word.strip().lower()
    if word in ("", "nan", "none", "null"):
        return ""
    if word in VALIDATION_WORDS:
        return "val"
    return "train" if word in TRAINING_WORDS else None


def held_out_split(word: str) -> str | None:
    """The split of a photo by a column such as ``is_valid``; None for a word that says nothing of it."""
    if word.strip().lower() in YES:
        return "val"
    return "train" if word.strip().lower() in NO else split_of(word)


def folder_split(path: str) -> str:
    """``train`` or ``val`` where a folder of a photo's path is named so, the innermost first; else empty."""
    parts = path.split("/")[:-1]
    return next((split for part in reversed(parts) if (split := split_of(part))), "")


def hold_out(photos: Sequence[TaggedPhoto], paths: Sequence[str], has_mask: Sequence[bool]) -> HeldOut:
    """Which photos are for validation; the same files always give the same answer.

    What the labels say stands first, then folders named ``val`` or ``test``, then masks, then one photo in ten, at
    least one of them with a mask where there are any. Masks do not decide where every photo with a class has one: only
    negatives would be left to train on. Where labels name photos to train on and none for validation, those that they
    do not name are held out.

    Args:
        photos: Each photo once.
        paths: Their places relative to the data set's folder.
        has_mask: Whether each has a mask.
    """
    said = [photo.split for photo in photos]
    found = [split or folder_split(path) for split, path in zip(said, paths, strict=True)]
    if "" in found and "val" not in found and _marks_train(photos, paths):
        return HeldOut([split == "" for split in found], "those that are not marked train")
    if any(said) or "val" in found:
        flags = [split == "val" for split in found]
        by_folder = [photo.place.startswith("folder ") for photo in photos]
        by_labels = sum(split == "val" and not folder for split, folder in zip(said, by_folder, strict=True))
        ways = [f"{by_labels} by the labels' split"] if by_labels else []
        ways += [f"{sum(flags) - by_labels} by their folder"] if sum(flags) > by_labels else []
        return HeldOut(flags, ", ".join(ways))
    if any(has_mask) and any(photo.labels and not mask for photo, mask in zip(photos, has_mask, strict=True)):
        return HeldOut(list(has_mask), "those with a mask")
    hashes = [zlib.crc32(path.encode("utf-8", "surrogateescape")) for path in paths]
    flags = [value % HELD_OUT == 0 for value in hashes]
    if len(photos) > 1 and all(flags):
        flags = [False] * len(photos)
    scored = has_mask if any(has_mask) else [True] * len(photos)
    if len(photos) > 1 and not any(map(and_, flags, scored)):
        last = max(compress(hashes, scored))
        flags = [flag or value == last for flag, value in zip(flags, hashes, strict=True)]
    return HeldOut(flags, f"one in {HELD_OUT}, always the same ones: labels and folders name no val")


def unmarked(photos: Sequence[TaggedPhoto], paths: Sequence[str], flags: Sequence[bool]) -> Iterator[Problem]:
    """A warning for each photo that labels or lists leave out though they mark others ``train``, and ``val`` is known.

    Args:
        photos: Each photo once.
        paths: Their places relative to the data set's folder.
        flags: Which are held out, of ``hold_out``.
    """
    if not (any(flags) and _marks_train(photos, paths)):
        return
    message = "need train or val for each photo where others are marked, {} has neither: it is trained on; mark it"
    for photo, path, held_out in zip(photos, paths, flags, strict=True):
        if not (held_out or photo.split or folder_split(path)):
            yield Problem("split not named", path, message.format(path), "warning")


def _marks_train(photos: Sequence[TaggedPhoto], paths: Sequence[str]) -> bool:
    """Whether a table or a list, not a folder's name alone, puts a photo into the training split."""
    return any(photo.split == "train" != folder_split(path) for photo, path in zip(photos, paths, strict=True))
