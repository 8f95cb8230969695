from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import BROKEN, ERRORS, Noise, write_broken_folder, write_photo

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.photos import check_photos
from afa_wsss.data.files import photos
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError


@pytest.mark.parametrize("workers", [1, 2])
def test_each_problem_is_found_in_one_pass(tmp_path: Path, workers: int) -> None:
    write_broken_folder(tmp_path)
    seen = []
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    found = list(
        check_photos(dataset, workers=workers, progress=lambda steps: (seen.append(1) or step for step in steps))
    )
    assert {(problem.kind, problem.name) for problem in found} == {(kind, kind) for kind in BROKEN}
    assert {problem.kind for problem in found if problem.level == "error"} == ERRORS
    assert len(seen) == len(BROKEN) + 1
    assert all("\n" not in problem.message for problem in found)


def test_a_photo_above_the_pixel_limit_is_a_problem_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (2001, 1000)).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("a.png,dog\n")
    monkeypatch.setattr(photos, "MAX_PIXELS", 2_000_000)
    (only,) = check_photos(FolderDataset(tmp_path, "all"), workers=1)
    assert (only.kind, only.level) == ("photo too large", "error")


def test_a_data_set_without_files_can_be_checked() -> None:
    class Broken(Noise):
        def sample(self, index: int):
            if index == 2:
                raise UserError("need a photo, got none")
            return super().sample(index)

    dataset: SegmentationDataset = Broken()
    assert [(problem.kind, problem.name) for problem in check_photos(dataset, workers=1)] == [("photo unusable", "c")]


def test_masks_of_training_photos_are_checked_although_not_needed(tmp_path: Path) -> None:
    for name in "ab":
        write_photo(tmp_path / f"{name}.jpg", ord(name))
    (tmp_path / "labels.csv").write_text("a.jpg,dog\nb.jpg,cat\n")
    write_mask(tmp_path / "masks" / "a.png", np.full((8, 12), 9, dtype=np.uint8), voc_palette(3))
    dataset = FolderDataset(tmp_path, "all")
    dataset.check_files()
    (only,) = check_photos(dataset, workers=1)
    assert (only.kind, only.name, only.level) == ("mask unusable", "a", "warning")
    write_mask(tmp_path / "masks" / "a.png", np.full((8, 12), 1, dtype=np.uint8), voc_palette(3))
    (only,) = check_photos(dataset, workers=1)
    assert (only.kind, only.level) == ("mask without classes", "warning")
