from __future__ import annotations

import tracemalloc
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.data.samples import VOC_CONTENT, exif_with, write_annotation, write_broken_folder, write_list, write_photo

from afa_wsss.data.checks.photos import check_photos
from afa_wsss.data.files import headers
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.errors import UserError


def test_training_reads_no_mask_where_there_are_labels(voc: Path) -> None:
    for name in VOC_CONTENT:
        write_annotation(voc, name, "dog")
        (voc / "SegmentationClass" / f"{name}.png").unlink()
    dataset = VOCDataset(voc, "train")
    dataset.check_files()
    assert dataset.sample(2).mask is None


def test_missing_photos_are_found_without_decoding_any(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "read_photo", None)
    VOCDataset(voc, "train", with_masks=True).check_files()
    (voc / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"need every photo that .*train\.txt lists, 1 of 3 missing: .*b\.jpg"):
        VOCDataset(voc, "train").check_files()


@pytest.mark.parametrize("with_masks", [True, False], ids=["masks-wanted", "labels-from-masks"])
def test_missing_masks_are_found_where_they_are_needed(voc: Path, with_masks: bool) -> None:
    (voc / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(UserError, match=r"need every mask that .* lists, 1 of 3 missing: .*c\.png"):
        VOCDataset(voc, "train", with_masks=with_masks).check_files()


@pytest.mark.parametrize("content", [b"", b"not a photo"], ids=["empty", "text"])
def test_files_that_are_not_photos_are_found_before_training(voc: Path, content: bytes) -> None:
    for name in "ab":
        (voc / "JPEGImages" / f"{name}.jpg").write_bytes(content)
    with pytest.raises(
        UserError, match=r"need a photo that can be decoded, got .*a\.jpg .* \(1 more of this kind; afa-data check"
    ):
        VOCDataset(voc, "train", with_masks=True).check_files()


def test_masks_of_another_size_are_found_before_training(voc: Path) -> None:
    write_mask(voc / "SegmentationClass" / "a.png", np.zeros((12, 8), dtype=np.uint8), voc_palette(21))
    with pytest.raises(UserError, match="need a mask of its photo's size, a has a photo of 12x8 and a mask of 8x12"):
        VOCDataset(voc, "train", with_masks=True).check_files()


def test_a_mask_of_another_size_than_its_photo_is_refused(voc: Path) -> None:
    write_mask(voc / "SegmentationClass" / "a.png", np.ones((12, 8), dtype=np.uint8), voc_palette(21))
    dataset = VOCDataset(voc, "train", with_masks=True)
    with pytest.raises(UserError, match="need a mask of its photo's size, a has a photo of 12x8 and a mask of 8x12"):
        dataset.sample(0)


def test_a_split_without_masks_gives_samples_without_masks(voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_annotation(voc, "a", "dog")
    for path in (voc / "SegmentationClass").iterdir():
        path.unlink()
    write_list(voc, "a", split="test")
    with caplog.at_level("INFO"):
        dataset = VOCDataset(voc, "test", with_masks=True)
        dataset.check_files()
    assert dataset.sample(0).mask is None
    assert "no photo of" in caplog.text


def test_missing_photos_come_before_missing_masks_and_those_before_damaged_photos(voc: Path) -> None:
    (voc / "JPEGImages" / "a.jpg").write_bytes(b"")
    (voc / "SegmentationClass" / "b.png").unlink()
    dataset = VOCDataset(voc, "train", with_masks=True)
    with pytest.raises(UserError, match=r"^need every mask that .*train\.txt lists, 1 of 3 missing: .*b\.png; "):
        dataset.check_files()
    (voc / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(UserError, match=r"^need every photo that .*train\.txt lists, 1 of 3 missing: .*c\.jpg; "):
        dataset.check_files()


def test_the_file_check_refuses_a_broken_folder(tmp_path: Path) -> None:
    write_broken_folder(tmp_path)
    with pytest.raises(UserError, match=r"need every photo that .* 1 of 12 missing"):
        FolderDataset(tmp_path, "all").check_files()
    write_photo(tmp_path / "photo missing.jpg")
    with pytest.raises(UserError, match=r"photo empty\.jpg \(the file is empty\).* \(1 more of this kind"):
        FolderDataset(tmp_path, "all").check_files()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [True, False])
def test_masks_fit_photos_that_exif_rotates(tmp_path: Path, orientation: int, upright: bool) -> None:
    """A mask may be drawn on the upright photo, or on the photo as stored; then it is rotated with the photo."""
    stored = Image.new("RGB", (12, 8))
    stored.paste((255, 255, 255), (1, 2, 4, 4))
    stored.save(tmp_path / "a.png", exif=exif_with(orientation))
    seen = ImageOps.exif_transpose(Image.open(tmp_path / "a.png")) if upright or orientation < 5 else stored
    write_mask(tmp_path / "masks" / "a.png", (np.asarray(seen)[..., 0] > 9).astype(np.uint8), voc_palette(2))
    (tmp_path / "labels.csv").write_text("a.png,dog\n")
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    dataset.check_files()
    sample = dataset.sample(0)
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 9)
    found = list(check_photos(dataset, workers=1))
    unclear = orientation in (2, 3, 4)  # the mask fits in both ways, and there is no other
    assert [problem.level for problem in found] == ["note"] * (orientation != 1) + ["warning"] * unclear


def test_the_file_check_keeps_nothing_in_memory_for_complete_files(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Threads, to which the check turns where the disk is slow, hold more at a time; here the CPU always seems busier.
    monkeypatch.setattr("time.thread_time", count(step=1000).__next__)
    names = [f"{number:07d}" for number in range(5000)]
    for name in names:
        (voc / "JPEGImages" / f"{name}.jpg").symlink_to(voc / "JPEGImages" / "a.jpg")
        (voc / "SegmentationClass" / f"{name}.png").symlink_to(voc / "SegmentationClass" / "a.png")
    write_list(voc, *names)
    dataset = VOCDataset(voc, "train", with_masks=True)
    dataset.check_files()  # imports what it needs
    tracemalloc.start()
    try:
        dataset.check_files()
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()
