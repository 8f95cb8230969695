from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.data.test_folder import write_photo
from tests.data.test_sets import Noise

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.check import check_split, compare_splits, count_labels
from afa_wsss.data.checks.problems import Problem, refuse
from afa_wsss.data.files.photos import ORIENTATION, write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.errors import UserError


def _turn(path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (12, 8)).save(path, exif=exif)


def _cut_off(path: Path) -> None:
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:700])


SPOILT = {
    "photo empty": lambda path: path.write_bytes(b""),
    "photo unreadable": _cut_off,
    "photo missing": Path.unlink,
    "greyscale": lambda path: Image.new("L", (12, 8)).save(path),
    "CMYK": lambda path: Image.new("CMYK", (12, 8)).save(path),
    "turned by EXIF": _turn,
    "palette": lambda path: Image.new("P", (12, 8)).save(path, format="PNG"),
    "16 bits or more": lambda path: Image.new("I;16", (12, 8)).save(path, format="PNG"),
    "mask missing": None,
    "mask unfit": None,
    "mask of another size": None,
}
ERRORS = {kind for kind in SPOILT if kind.startswith(("photo", "mask"))}


def _spoilt_folder(root: Path) -> None:
    """A photo for each thing that can be wrong with one, named after it, and a good one."""
    rows = ["good.jpg,dog"]
    for kind, spoil in SPOILT.items():
        write_photo(root / f"{kind}.jpg")
        label = np.ones((8, 12), dtype=np.uint8)
        if kind == "turned by EXIF" or kind == "mask of another size":
            label = label.T.copy()
        if kind != "mask missing":
            write_mask(root / "masks" / f"{kind}.png", label * (9 if kind == "mask unfit" else 1), voc_palette(3))
        if spoil is not None:
            spoil(root / f"{kind}.jpg")
        rows.append(f"{kind}.jpg,dog")
    write_photo(root / "good.jpg")
    write_mask(root / "masks" / "good.png", np.ones((8, 12), dtype=np.uint8), voc_palette(3))
    (root / "labels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_problem_is_found_in_one_pass(tmp_path: Path, workers: int) -> None:
    _spoilt_folder(tmp_path)
    seen = []
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    found = list(
        check_split(dataset, workers=workers, progress=lambda steps: (seen.append(1) or step for step in steps))
    )
    assert {(problem.kind, problem.name) for problem in found} == {(kind, kind) for kind in SPOILT}
    assert {problem.kind for problem in found if problem.level == "error"} == ERRORS
    assert len(seen) == len(SPOILT) + 1
    assert all("\n" not in problem.told for problem in found)


def test_training_refuses_a_spoilt_folder(tmp_path: Path) -> None:
    _spoilt_folder(tmp_path)
    with pytest.raises(UserError, match=r"need every photo that .* 1 of 12 missing"):
        FolderDataset(tmp_path, "all").check_files()
    write_photo(tmp_path / "photo missing.jpg")
    with pytest.raises(UserError, match=r"photo empty\.jpg cannot \(the file is empty\).* \(1 more like it"):
        FolderDataset(tmp_path, "all").check_files()


def test_splits_are_compared(tmp_path: Path) -> None:
    for name in "abcd":
        write_photo(tmp_path / f"{name}.jpg", 9 if name in "ad" else ord(name))
    rows = "a.jpg,dog,train\nb.jpg,cat,val\nc.jpg,dog,val\nd.jpg,cat,val\n"
    (tmp_path / "labels.csv").write_text(f"file,labels,split\n{rows}")
    train, both = FolderDataset(tmp_path, "train"), FolderDataset(tmp_path, "all")
    found = compare_splits({"train": train, "val": both})
    assert [(problem.kind, problem.name, problem.level) for problem in found] == [
        ("class without photos", "cat", "warning"),
        ("in train and val", "a", "warning"),
        ("in train and val", "d", "warning"),
    ]
    assert [problem.told.split(" to train with, ")[1] for problem in found[1:]] == [
        "a is there too; take it off one list",
        f"d is there too, as {tmp_path / 'a.jpg'}; take it off one list",
    ]
    assert compare_splits({"train": both}) == []
    assert count_labels(both) == {"cat": 2, "dog": 2}


def test_any_data_set_of_the_contract_can_be_checked() -> None:
    class Broken(Noise):
        def sample(self, index: int):
            if index == 2:
                raise UserError("need a photo, got none")
            return super().sample(index)

    dataset: SegmentationDataset = Broken()
    assert [problem.name for problem in check_split(dataset, workers=1)] == ["c"]
    assert [problem.name for problem in compare_splits({"train": dataset, "val": dataset})] == ["dog", *"abcdef"]


def test_warnings_stop_nothing() -> None:
    refuse([Problem("odd", "a", "told", "warning"), Problem("odd", "a", "told", "note")])
    with pytest.raises(UserError, match=r"^told$"):
        refuse([Problem("odd", "a", "told")])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [True, False])
def test_masks_agree_with_photos_that_exif_turns(tmp_path: Path, orientation: int, upright: bool) -> None:
    """A mask is drawn on the upright photo; where only the photo as stored has its size, it is turned with it."""
    stored = Image.new("RGB", (12, 8))
    stored.paste((255, 255, 255), (1, 2, 4, 4))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    seen = ImageOps.exif_transpose(Image.open(tmp_path / "a.png")) if upright or orientation < 5 else stored
    write_mask(tmp_path / "masks" / "a.png", (np.asarray(seen)[..., 0] > 9).astype(np.uint8), voc_palette(2))
    (tmp_path / "labels.csv").write_text("a.png,dog\n")
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    dataset.check_files()
    sample = dataset.sample(0)
    assert sample.mask is not None
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 9)
    found = list(check_split(dataset, workers=1))
    assert [problem.level for problem in found] == ["note"] * (orientation != 1)


def test_masks_of_photos_to_train_with_are_looked_at_without_being_needed(tmp_path: Path) -> None:
    for name in "ab":
        write_photo(tmp_path / f"{name}.jpg", ord(name))
    (tmp_path / "labels.csv").write_text("a.jpg,dog\nb.jpg,cat\n")
    write_mask(tmp_path / "masks" / "a.png", np.full((8, 12), 9, dtype=np.uint8), voc_palette(3))
    dataset = FolderDataset(tmp_path, "all")
    dataset.check_files()
    (only,) = check_split(dataset, workers=1)
    assert (only.kind, only.name, only.level) == ("mask unfit", "a", "warning")
    write_mask(tmp_path / "masks" / "a.png", np.full((8, 12), 1, dtype=np.uint8), voc_palette(3))
    (only,) = check_split(dataset, workers=1)
    assert (only.kind, only.level) == ("mask without classes", "warning")


def test_a_photo_to_validate_with_that_has_no_class_is_told_of(tmp_path: Path) -> None:
    for name in "ab":
        write_photo(tmp_path / f"{name}.jpg", ord(name))
    (tmp_path / "labels.csv").write_text("file,labels,split\na.jpg,dog,train\nb.jpg,,val\n")
    splits = {"train": FolderDataset(tmp_path, "train"), "val": FolderDataset(tmp_path, "val", with_masks=True)}
    (only,) = compare_splits(splits)
    assert (only.kind, only.name, only.level) == ("no class", "b", "warning")
