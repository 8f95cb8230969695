"""Where the photos of a file of labels may be: beside it, in ``images``, in the folder of its split."""

from __future__ import annotations

import re
from pathlib import Path

from afa_wsss.data.formats.folder_labels.splits import split_of

PHOTO_FOLDERS = ("images", "data", "photos", "imgs", "img", "jpegimages", "image", "pictures", "dataset")
"""Names of folders, in lower case, that hold all photos and are no class where they stand alone; usual ones first."""


def subset_of(path: Path) -> str:
    """The word for the split that a file's name ends or begins with; else its folder's name where that is a split.

    Example:
        >>> subset_of(Path("instances_val2017.json")), subset_of(Path("train_labels.csv")), subset_of(Path("a.json"))
        ('val', 'train', '')
    """
    stem = path.stem.lower().removesuffix(".coco").lstrip("_")
    words: list[str] = [word.rstrip("0123456789") for word in re.split(r"[ _-]+", stem)]
    one_split = len({split for word in words if (split := split_of(word))}) == 1
    for word in (words[-1], "_".join(words), words[0] if one_split else ""):
        if split_of(word):
            return word
    parent = path.parent.name
    if split_of(parent):
        return parent
    last = stem.rpartition("_")[2] if stem.startswith(("instances_", "person_keypoints_")) else ""
    return "" if last == "default" else last


def folders_of(path: Path, root: Path, subset: str = "") -> tuple[str, ...]:
    """Folders that a file's photos may be relative to, the likeliest first."""
    here = path.parent.relative_to(root)
    tops = list(dict.fromkeys([here, here.parent if here.parts else here, Path()]))
    inner = ["", *PHOTO_FOLDERS]
    year = "".join(char for char in path.stem if char.isdigit())
    names = [subset, f"{subset}{year}"] if subset else []
    folders = [top / a / b for top in tops for a in inner for b in names]
    folders += [top / b / a for top in tops for b in names for a in inner]
    folders = [here, *folders, *(top / a for top in tops for a in inner)]
    return tuple(dict.fromkeys(folder.as_posix() for folder in folders))
