"""Masks of photos that EXIF turns: drawn on the upright photo or on the photo as stored."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.data.samples import exif_with

from afa_wsss.data.checks.photos import check_photos
from afa_wsss.data.checks.splits import early_warnings
from afa_wsss.data.files.orientation import TURNS
from afa_wsss.data.formats.folder import FolderDataset

LONG, SQUARE = (48, 40), (40, 40)


def write_turned(root: Path, photos: dict[str, tuple[int, tuple[int, int]]], *, stored: bool) -> FolderDataset:
    """Photos with an orientation whose red corner is the class of their masks."""
    (root / "masks").mkdir(exist_ok=True)
    for name, (orientation, (width, height)) in photos.items():
        corner = np.zeros((height, width), dtype=np.uint8)
        corner[:10, : width // 2] = 1
        photo = np.stack([corner * 255, corner, corner], axis=-1)
        Image.fromarray(photo).save(root / f"{name}.png", exif=exif_with(orientation))
        mask = Image.fromarray(corner)
        turn = None if stored else TURNS.get(orientation)
        (mask if turn is None else mask.transpose(turn)).save(root / "masks" / f"{name}.png")
    (root / "labels.csv").write_text("".join(f"{name}.png,cat\n" for name in photos))
    return FolderDataset(root, "all", with_masks=True)


def fits(photos: FolderDataset) -> list[bool]:
    samples = [photos.sample(index) for index in range(len(photos))]
    return [bool(((one.image[..., 0] > 99) == (one.mask == 1)).all()) for one in samples]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "upright"])
def test_masks_that_fit_in_both_ways_are_read_like_those_whose_sizes_tell(tmp_path: Path, stored: bool) -> None:
    turned = {f"o{orientation}": (orientation, LONG) for orientation in range(1, 9)}
    turned |= {f"square{orientation}": (orientation, SQUARE) for orientation in range(1, 9)}
    photos = write_turned(tmp_path, turned, stored=stored)
    photos.check_files()
    assert all(fits(photos))
    assert all(fits(pickle.loads(pickle.dumps(photos))))  # noqa: S301
    assert not photos.file_warnings
    noted = [problem for problem in check_photos(photos, workers=1) if problem.kind == "mask fits in both ways"]
    assert {problem.level for problem in noted} == {"note"}
    assert len(noted) == 3 + 7
    assert all(("as stored" in problem.message) == stored for problem in noted)


def test_masks_that_fit_in_both_ways_are_a_warning_where_no_other_tells(tmp_path: Path) -> None:
    photos = write_turned(tmp_path, {"a": (3, LONG), "b": (6, SQUARE), "c": (1, LONG)}, stored=False)
    photos.check_files()
    assert all(fits(photos)), "as drawn on the upright photo"
    kind = "mask perhaps not upright"
    assert [problem.name for problem in photos.file_warnings if problem.kind == kind] == ["a", "b"]
    assert set(photos.file_warnings) <= set(early_warnings({"val": photos}))
    assert set(photos.file_warnings) <= set(check_photos(photos, workers=1))


def test_masks_that_differ_tell_nothing(tmp_path: Path) -> None:
    write_turned(tmp_path, {"b": (6, LONG)}, stored=True)
    write_turned(tmp_path, {"c": (8, LONG)}, stored=False)
    write_turned(tmp_path, {"a": (3, LONG)}, stored=False)
    (tmp_path / "labels.csv").write_text("a.png,cat\nb.png,cat\nc.png,cat\n")
    photos = FolderDataset(tmp_path, "all", with_masks=True)
    photos.check_files()
    assert all(fits(photos))
    assert [problem.name for problem in photos.file_warnings] == ["a"]


def test_a_mask_with_an_orientation_of_its_own_is_upright(tmp_path: Path) -> None:
    photos = write_turned(tmp_path, {"a": (6, LONG), "b": (3, LONG)}, stored=True)
    path = tmp_path / "masks" / "b.png"
    Image.open(path).copy().save(path, exif=exif_with(3))
    assert np.asarray(ImageOps.exif_transpose(Image.open(path)))[-1, -1] == 1
    photos.check_files()
    assert all(fits(photos))
