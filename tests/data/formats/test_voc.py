from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import write_list, write_voc

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.formats.classes import VOC_CLASSES
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.errors import UserError


def test_it_satisfies_the_contract_of_data_sets(voc: Path) -> None:
    dataset: SegmentationDataset = VOCDataset(voc, "train", with_masks=True)
    assert len(dataset) == 3
    assert list(dataset.names) == ["a", "b", "c"]
    assert dataset.class_names == VOC_CLASSES
    assert dataset.palette.shape == (21, 3)
    assert dataset.image_labels.shape == (3, 20)
    sample = dataset.sample(1)
    assert sample.name == "b"
    assert sample.image.shape == (8, 12, 3)
    assert sample.mask is not None
    assert set(np.unique(sample.mask)) == {0, 2, 15, 255}
    np.testing.assert_array_equal(sample.image_labels, dataset.image_labels[1])


def test_augmented_masks_are_used_for_photos_without_a_mask_of_voc(voc: Path) -> None:
    write_voc(voc, masks="SegmentationClassAug")
    (voc / "SegmentationClass" / "b.png").unlink()

    def folders(**arguments: str) -> list[str]:
        dataset = VOCDataset(voc, "train", with_masks=True, **arguments)
        assert dataset.count_masks() == 3
        return [Path(dataset.mask_path(index)).parent.name for index in range(3)]

    assert folders() == ["SegmentationClass", "SegmentationClassAug", "SegmentationClass"]
    assert folders(mask_folder="SegmentationClassAug") == ["SegmentationClassAug"] * 3


def test_the_test_split_of_voc_has_neither_labels_nor_masks(voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (12, 8)).save(voc / "JPEGImages" / "t.jpg")
    write_list(voc, "t", split="test")
    with caplog.at_level("INFO"):
        dataset = VOCDataset(voc, "test", with_masks=True)
        dataset.check_files()
        assert not dataset.image_labels.any()
    assert dataset.sample(0).mask is None
    assert "test.txt has image labels: classes are not scored" in caplog.text
    with pytest.raises(UserError, match=r"need image labels for .*test\.txt"):
        _ = VOCDataset(voc, "test").image_labels


@pytest.mark.data
@pytest.mark.parametrize(("split", "count"), [("train", 47), ("val", 18)])
def test_real_photos_have_all_classes_in_both_lists(voc_mini: Path, split: str, count: int) -> None:
    dataset = VOCDataset(voc_mini, split, with_masks=True)
    dataset.check_files()
    assert dataset.image_labels.shape == (count, 20)
    assert dataset.image_labels.any(axis=0).all()
    assert dataset.image_labels.any(axis=1).all()


@pytest.mark.data
def test_real_masks_and_labels_agree(voc_mini: Path) -> None:
    dataset = VOCDataset(voc_mini, "val", with_masks=True)
    for index in range(3):
        sample = dataset.sample(index)
        assert sample.mask is not None
        present = {int(value) for value in np.unique(sample.mask)} - {0, 255}
        assert present == {int(value) + 1 for value in np.flatnonzero(sample.image_labels)}


def test_an_index_takes_half_a_kilobyte_per_photo(voc: Path) -> None:
    """Names and labels, while they are read and afterwards, and no paths."""
    names = [f"{number:07d}" for number in range(8000)]
    (voc / "Annotations").mkdir()
    write_list(voc, *names)
    VOCDataset(voc, "train").label_cache.write({name: [number % 20] for number, name in enumerate(names)})
    VOCDataset(voc, "train")  # imports what it needs
    tracemalloc.start()
    try:
        dataset = VOCDataset(voc, "train")
        assert dataset.label_source == "cache"
        assert dataset.image_labels.sum() == len(names)
        assert tracemalloc.get_traced_memory()[1] < 512 * len(names)
    finally:
        tracemalloc.stop()
