from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import BROKEN, ERRORS, Noise, write_broken_folder, write_photo
from tests.data.shards.shards import PHOTO, write_shard

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.crops import data_warnings
from afa_wsss.data.checks.photos import check_photos, check_some_masks
from afa_wsss.data.files import photos
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder import FolderDataset
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.data.shards.dataset import ShardedDataset
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


def test_values_far_from_all_others_are_a_warning_and_no_data_is_a_note(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 96, dtype=np.float32).reshape(8, 12)
    values[0] = -9999
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray(values).save(tmp_path / "b.tif", tiffinfo={42113: "-9999"})
    (tmp_path / "labels.csv").write_text("a.tif,dog\nb.tif,cat\n")
    dataset = FolderDataset(tmp_path, "all")
    found = {(problem.kind, problem.name, problem.level) for problem in check_photos(dataset, workers=1)}
    assert found == {
        ("16 bits or more", "a", "note"),
        ("16 bits or more", "b", "note"),
        ("value far from the others", "a", "warning"),
        ("no data", "b", "note"),
    }
    dataset.check_files()
    assert [problem.kind for problem in dataset.file_warnings] == ["value far from the others"]


def test_shards_are_checked_as_training_reads_them(tmp_path: Path) -> None:
    broken = {"png": PHOTO[:40], "txt": b"cat"}
    samples = [{"png": PHOTO, "txt": b"cat"}, broken, {"png": PHOTO, "txt": b"cat;tree"}, {"png": PHOTO}]
    write_shard(tmp_path / "train-0.tar", samples)
    (tmp_path / "classes.txt").write_text("cat")
    found = list(check_photos(ShardedDataset(str(tmp_path), "train"), workers=1))
    assert [(problem.kind, problem.name, problem.level) for problem in found] == [
        ("tags that classes.txt lacks", str(tmp_path), "warning"),
        ("no labels", str(tmp_path), "warning"),
        ("photo unusable", "1", "warning"),
        ("photo unusable", "3", "warning"),
    ]
    write_shard(tmp_path / "train-1.tar", [broken] * 3)
    found = list(check_photos(ShardedDataset(str(tmp_path), "train"), workers=1))
    (only,) = [problem for problem in found if problem.level == "error"]
    assert "3 in a row cannot" in only.message
    write_shard(tmp_path / "train-1.tar", [{"png": PHOTO, "txt": b"tree"}])
    (tmp_path / "classes.txt").write_text("dog")
    found = list(check_photos(ShardedDataset(str(tmp_path), "train"), workers=1))
    assert found[0].level == "error"
    assert "need labels that name classes" in found[0].message


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


def _levels(dataset: FolderDataset) -> dict[str, str]:
    return {problem.kind: problem.level for problem in check_photos(dataset, workers=1)}


def test_frames_transparency_and_modes_are_noted(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), (red, 5, 9)) for red in (10, 200)]
    for name in ("a.tif", "b.gif", "c.webp", "d.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    Image.new("RGB", (6, 4), (10, 5, 9)).save(tmp_path / "e.png", transparency=(10, 5, 9))
    Image.new("LAB", (6, 4), (128, 120, 120)).save(tmp_path / "f.tif")
    (tmp_path / "labels.csv").write_text("".join(f"{path.name},dog\n" for path in sorted(tmp_path.iterdir())))
    found = [
        (problem.kind, problem.name, problem.level)
        for problem in check_photos(FolderDataset(tmp_path, "all"), workers=1)
    ]
    assert {name for kind, name, level in found if (kind, level) == ("several frames", "note")} == {"a", "b", "c", "d"}
    assert ("transparency", "e", "note") in found
    assert ("Lab", "f", "note") in found
    assert FolderDataset(tmp_path, "all").sample(0).image[0, 0].tolist() == [10, 5, 9]


def test_photos_that_come_out_flat_are_errors_and_black_files_are_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, top in (("a.png", 4096), ("b.png", 8)):
        Image.fromarray(rng.integers(0, top, (8, 12)).astype(np.uint16)).save(tmp_path / name)
    Image.new("RGB", (12, 8)).save(tmp_path / "c.jpg")
    (tmp_path / "labels.csv").write_text("a.png,dog\nb.png,dog\nc.jpg,dog\n")
    dataset = FolderDataset(tmp_path, "all")
    found = {problem.name: (problem.kind, problem.level) for problem in check_photos(dataset, workers=1)}
    assert found == {
        "a": ("16 bits or more", "note"),
        "b": ("photo black or white", "error"),
        "c": ("photo black", "warning"),
    }
    with pytest.raises(UserError, match=r"b\.png comes out black all over: its values are 0 to 7, the range 0 to 40"):
        FolderDataset(tmp_path, "all").check_files()
    dataset.value_range = (0, 100)
    del dataset.shared_range
    dataset.check_files()


def write_exchanged(root: Path) -> Path:
    """Six photos of cats and dogs whose masks have the ids of both exchanged."""
    rows = []
    for number in range(6):
        write_photo(root / f"{number}.jpg", 50 + number)
        label = np.zeros((8, 12), dtype=np.uint8)
        label[:4] = 2 - number % 2
        write_mask(root / "masks" / f"{number}_mask.png", label, voc_palette(3))
        rows.append(f"{number}.jpg,{('cat', 'dog')[number % 2]}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


def test_masks_and_labels_that_disagree_are_warned_of(tmp_path: Path) -> None:
    write_exchanged(tmp_path)
    found = _levels(FolderDataset(tmp_path, "all", with_masks=True))
    assert found == {"mask without classes": "warning", "ids look exchanged": "warning"}


def test_some_masks_are_compared_with_labels_before_training(tmp_path: Path) -> None:
    write_exchanged(tmp_path)
    dataset = FolderDataset(tmp_path, "all", with_masks=True)
    assert {problem.kind for problem in check_some_masks(dataset)} == {"mask without classes", "ids look exchanged"}
    assert [problem.name for problem in check_some_masks(dataset, 2)][:2] == ["0", "5"]
    assert check_some_masks(FolderDataset(tmp_path, "all")) == []
    told = data_warnings({"val": dataset}, DataSettings(root=str(tmp_path)))
    assert any(line.startswith("need a mask that shows a class of its photo, ") for line in told)
    (tmp_path / "masks" / "3_mask.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"3_mask\.png"):
        check_some_masks(FolderDataset(tmp_path, "all", with_masks=True))
