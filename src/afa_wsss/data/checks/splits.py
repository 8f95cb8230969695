"""Compares splits: classes that no training photo has, and photos that are in both."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Problem
from afa_wsss.data.formats.photo_files import PhotoFiles


def count_labels(dataset: SegmentationDataset) -> dict[str, int]:
    """Number of photos of each class; empty where labels are read with the photos."""
    labels = dataset.image_labels
    return {} if labels is None else dict(zip(dataset.class_names, labels.sum(axis=0, dtype=int).tolist(), strict=True))


def early_warnings(splits: Mapping[str, SegmentationDataset]) -> list[Problem]:
    """Warnings about lists, labels, splits and checked files, without reading more: what ``afa-train`` prints first.

    Args:
        splits: The opened splits by their use: ``train``, ``val``.
    """
    kinds = ("warnings", "file_warnings")
    found = [problem for data in splits.values() for kind in kinds for problem in getattr(data, kind, ())]
    return list(dict.fromkeys([*found, *compare_splits(splits, contents=False)]))


def compare_splits(splits: Mapping[str, SegmentationDataset], *, contents: bool = True) -> list[Problem]:
    """Warnings about classes without training photos, validation photos without a class, and shared photos.

    Args:
        splits: The splits by their use: ``train``, ``val``, or both; others are ignored.
        contents: Whether photos of equal size are read to find those that are there under two names.
    """
    problems = []
    train, val = splits.get("train"), splits.get("val")
    if train is not None:
        absent = [name for name, photos in count_labels(train).items() if not photos]
        held_out = count_labels(val) if val is not None else {}
        message = "need photos of every class to train with, {!r} has none{}; add some or leave the class out"
        problems += [
            Problem("class without photos", name, message.format(name, _all_held_out(held_out.get(name, 0))), "warning")
            for name in absent
        ]
    if val is not None and len(val) and val.image_labels is not None and not val.image_labels.any():
        message = "need the classes of photos to score them, none of {} to validate with has any; label them"
        problems.append(Problem("no class", val.names[0], message.format(len(val)), "warning"))
    if train is not None and val is not None:
        message = "need other photos to validate with than to train with, {} is in both{}; take it off one list"
        problems += [
            Problem("in train and val", name, message.format(name, place), "warning")
            for name, place in _shared_photos(train, val, contents=contents)
        ]
    return problems


def _all_held_out(photos: int) -> str:
    """Where the photos of a class are that has none to train with."""
    return f": all {photos} are held out" if photos else ""


def _shared_photos(
    train: SegmentationDataset, val: SegmentationDataset, *, contents: bool
) -> Iterator[tuple[str, str]]:
    """Photos of ``val`` that are in ``train`` too: the same file, or the same content under another name."""
    if not (isinstance(train, PhotoFiles) and isinstance(val, PhotoFiles)):
        trained_names = set(train.names)
        yield from ((name, "") for name in val.names if name in trained_names)
        return
    trained = {Path(train.photo_path(index)) for index in range(len(train))}
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(trained) if contents else ():
        by_size[_size(path)].append(path)
    digests: dict[Path, bytes] = {}
    for index, name in enumerate(val.names):
        path = Path(val.photo_path(index))
        if path in trained:
            yield name, ""
            continue
        for other in by_size.get(_size(path), []) if _size(path) else []:
            if _digest(path, digests) == _digest(other, digests):
                yield name, f", as {other}"
                break


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, known: dict[Path, bytes]) -> bytes:
    if path not in known:
        known[path] = hashlib.sha256(path.read_bytes()).digest()
    return known[path]
