"""Folds of held-out photos: a study with true masks trains where only held-out photos have any.

    python -m benchmarks.real folds --root photos --out folds --folds 3
    afa-train data=folder data.root=folds/fold0 supervision=oracle ...

Each fold is a folder for ``data=folder``: links to the photos that have a mask, and labels that put one part of them in
the split val and all others in train. Over the folds each photo is held out once. The same photos give the same folds.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from afa_wsss.data import FolderDataset
from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.errors import UserError
from benchmarks.real.tables import console_of

MARK = ".folds"
"""A file that says which data a fold was made from, and so that its folder may be written again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Photos, and where to."""
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos as data=folder reads it")
    parser.add_argument("--split", default="val", help="whose photos are dealt; those without a mask are left out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)


def run(settings: argparse.Namespace) -> None:
    """Writes the folds and says how large they are."""
    console = console_of()
    for folder, train, val in write_folds(settings.root, settings.out, folds=settings.folds, split=settings.split):
        console.print(f"{folder}: {train} photos to train on, {val} to validate with")


def write_folds(root: Path, out: Path, *, folds: int, split: str = "val") -> list[tuple[Path, int, int]]:
    """Writes ``out/fold0``, ``out/fold1``, ...; those that are already there, of the same data, are left alone.

    Returns:
        Each folder, and how many photos it has to train on and to validate with.

    Raises:
        UserError: For fewer than two folds or fewer photos with masks than folds, and a folder with anything else.
    """
    photos = FolderDataset(root, split, with_masks=True)
    masked = [index for index in range(len(photos)) if Path(photos.mask_path(index)).is_file()]
    if not 2 <= folds <= len(masked):
        raise UserError(f"need between 2 folds and one for each of the {len(masked)} photos with a mask, got {folds}")
    fold_of = deal(photos.image_labels[masked], folds)
    written = []
    data = f"{fingerprint(photos, masks=True)}, {len(masked)} masks,"
    for fold in range(folds):
        folder, held_out = out / f"fold{fold}", fold_of == fold
        made_from = f"{photos.root.resolve()} {split} {data} {fold} of {folds}\n"
        if not _is_made(folder, made_from):
            _clear(folder)
            _write(folder, photos, masked, held_out)
            (folder / MARK).write_text(made_from, encoding="utf-8")
        written.append((folder, int((~held_out).sum()), int(held_out.sum())))
    return written


def deal(image_labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each photo: photos of one combination of classes are dealt in turn, in a shuffled but fixed order.

    Args:
        image_labels: (N, k) multi-hot.
        folds: How many.
    """
    shuffled = np.random.default_rng(0).permutation(len(image_labels))
    by_classes = shuffled[np.lexsort(image_labels[shuffled].T)]
    fold_of = np.empty(len(image_labels), dtype=int)
    fold_of[by_classes] = np.arange(len(image_labels)) % folds
    return fold_of


def _clear(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).is_file():
        raise UserError(f"need a folder to write a fold to, {folder} has something else in it; give another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _is_made(folder: Path, made_from: str) -> bool:
    mark = folder / MARK
    return mark.is_file() and mark.read_text(encoding="utf-8") == made_from


def _write(folder: Path, photos: FolderDataset, masked: Sequence[int], held_out: np.ndarray) -> None:
    """Links, labels and class names of one fold; the order of classes stays that of the whole data."""
    rows = []
    for index, out in zip(masked, held_out.tolist(), strict=True):
        photo, mask = Path(photos.photo_path(index)), Path(photos.mask_path(index))
        for file in (photo, mask):
            link = folder / file.relative_to(photos.root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        classes = [photos.class_names[place] for place in np.flatnonzero(photos.image_labels[index])]
        rows.append((photo.relative_to(photos.root).as_posix(), ";".join(classes), "val" if out else "train"))
    listed = photos.root / "classes.txt"
    names = listed.read_text(encoding="utf-8") if listed.is_file() else "\n".join(photos.class_names) + "\n"
    (folder / "classes.txt").write_text(names, encoding="utf-8")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "labels", "split"), *rows])
