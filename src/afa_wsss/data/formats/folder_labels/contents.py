"""What lies in a folder: photos, other files, and folders that are none of a user's data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.files.photos import RUN_FOLDERS, is_photo_file
from afa_wsss.data.formats.folder_masks import MASK_FOLDERS

SYSTEM_FOLDERS = frozenset(
    {"__macosx", "$recycle.bin", "#recycle", "system volume information", "lost+found", "@eadir", "wandb", "thumbs"}
)
"""What operating systems, storage devices and loggers leave behind, in lower case."""

TEXT_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".md")
"""Suffixes of files whose first bytes are not looked at."""

RESULT_FILES = frozenset({"predictions.json", "metrics.json", "report.html", "problems.json"})
"""Files that commands write: a folder with one of them holds their results."""

QUIET_FILES = frozenset({"thumbs.db", "desktop.ini", ".ds_store", "license", "license.txt", "readme.md", "readme.txt"})
"""Files that no one misses, in lower case."""


MASKS = "masks"
"""Why a folder of masks holds no photos."""


class Contents(NamedTuple):
    """What lies in a folder; paths are relative to it, with ``/``, sorted.

    Attributes:
        root: The folder.
        photos: Files that hold a picture, masks left out.
        others: All other files that are not hidden.
        left_out: Folders that were not read, with the reason.
    """

    root: Path
    photos: list[str]
    others: list[str]
    left_out: dict[str, str]


def read_contents(root: Path) -> Contents:
    """Walks a folder; links to folders are followed, each folder once."""
    contents = Contents(root, [], [], {})
    stat = root.stat()
    for relative in _files(root, "", contents.left_out, {(stat.st_dev, stat.st_ino): "the folder itself"}):
        name = relative.lower()
        is_text = name.endswith(TEXT_SUFFIXES)
        (contents.photos if not is_text and is_photo_file(f"{root}/{relative}") else contents.others).append(relative)
    contents.photos.sort()
    contents.others.sort()
    return contents


def _files(root: Path, inside: str, left_out: dict[str, str], seen: dict[tuple[int, int], str]) -> Iterator[str]:
    """Files below a folder, relative to ``root``; a folder that is met twice, through a link, is read once."""
    folders = []
    with os.scandir(root / inside) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    if inside and not RESULT_FILES.isdisjoint(entry.name for entry in ordered):
        left_out[inside] = "results of commands"
    else:
        for entry in ordered:
            relative = f"{inside}/{entry.name}" if inside else entry.name
            if _is_folder(entry):
                reason = why_left_out(entry.name, top=not inside)
                if reason:
                    left_out[relative] = reason
                else:
                    folders.append((entry.is_symlink(), relative))
            elif not entry.name.startswith("."):
                yield relative
    for _, relative in sorted(folders):  # links last: what they point to keeps its own name
        stat = (root / relative).stat()
        first = seen.setdefault((stat.st_dev, stat.st_ino), relative)
        if first != relative:
            left_out[relative] = f"a link to {first}"
        else:
            yield from _files(root, relative, left_out, seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def why_left_out(name: str, *, top: bool) -> str:
    """Why a folder of this name holds no data; empty where it may."""
    if name.startswith("."):
        return "hidden"
    if name.lower() in SYSTEM_FOLDERS or name.startswith(("@", "$")):
        return "made by a system or a tool"
    if name.lower() in MASK_FOLDERS:
        return MASKS
    return "results of commands" if top and name in RUN_FOLDERS else ""
