from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from tests.data.test_voc import write_annotation, write_list, write_voc

from afa_wsss.data.files.parallel import mapped
from afa_wsss.data.files.photos import read_mask, write_mask
from afa_wsss.data.formats.classes import COCO_CLASSES, VOC_CLASSES, voc_palette
from afa_wsss.data.formats.coco import COCODataset, read_rule
from afa_wsss.data.formats.coco_instances import ObjectRule, read_instances
from afa_wsss.data.formats.prepare import (
    draw_coco_masks,
    gather_coco_labels,
    gather_voc_labels,
    keep_rule,
    missing_masks,
    write_augmented_list,
)
from afa_wsss.data.formats.voc import VOCDataset
from afa_wsss.errors import UserError

EVERYTHING = ObjectRule(crowd=True, min_area=0)


def _double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_from_any_number_of_processes(workers: int) -> None:
    assert list(mapped(_double, iter(range(200)), workers=workers)) == [2 * number for number in range(200)]


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    results = mapped(_double, (taken.append(n) or n for n in range(10_000)), workers=2)
    assert next(results) == 0
    assert len(taken) < 500
    results.close()


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = (
        "from afa_wsss.data.files.parallel import mapped\nfrom tests.data.test_prepare import name_itself\n"
        f"if __name__ == '__main__':\n    list(mapped(name_itself, [r'{tmp_path}'] * 40, workers=2))\n"
    )
    (tmp_path / "start.py").write_text(code)
    folder = Path(__file__).parents[2]
    paths = os.pathsep.join([str(folder), str(folder / "src"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen([sys.executable, tmp_path / "start.py"], env=os.environ | {"PYTHONPATH": paths}) as first:
        _wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        others = [int(path.stem) for path in tmp_path.glob("*.pid")]
        assert all(_runs(other) for other in others)
        first.kill()
    _wait_until(lambda: not any(_runs(other) for other in others))


def name_itself(folder: str) -> None:
    """Leaves the number of its process and stays busy."""
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("never came about")


# --- VOC ---


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC2012")


@pytest.mark.parametrize("difficult", [True, False])
def test_gathered_labels_are_those_of_the_annotations(voc: Path, difficult: bool) -> None:
    for name in "abc":
        write_annotation(voc, name, "dog", "cat")  # all of them difficult
    (voc / "Annotations" / "a.xml").write_text("<annotation><object><name>cow</name></object></annotation>")
    parsed = VOCDataset(voc, "train", difficult=difficult, with_masks=True)
    assert parsed.label_source == "annotations"
    assert gather_voc_labels(voc.parent, difficult=difficult, workers=1) == 3
    gathered = VOCDataset(voc, "train", difficult=difficult, with_masks=True)
    assert gathered.label_source == "cache"
    np.testing.assert_array_equal(gathered.image_labels, parsed.image_labels)
    assert gathered.image_labels.sum() == (5 if difficult else 1)
    unsaid = VOCDataset(voc, "train", with_masks=True)
    assert unsaid.label_source == "cache", "as afa-data voc was told"
    np.testing.assert_array_equal(unsaid.image_labels, gathered.image_labels)
    assert VOCDataset(voc, "train", difficult=not difficult).label_source == "annotations"


def test_gathered_labels_are_left_where_annotations_came_later(voc: Path) -> None:
    for name in "abc":
        write_annotation(voc, name, "dog")
    gather_voc_labels(voc, difficult=True, workers=1)
    write_annotation(voc, "d", "cat")
    os.utime(voc / "Annotations", (2e9, 2e9))
    assert VOCDataset(voc, "train").label_source == "annotations"
    gather_voc_labels(voc, difficult=True, workers=1)
    os.utime(voc / "Annotations", (1e9, 1e9))
    assert VOCDataset(voc, "train").label_source == "cache"
    os.utime(voc / "Annotations" / "b.xml", (2e9, 2e9))
    assert VOCDataset(voc, "train").label_source == "annotations", "one was edited"
    os.utime(voc / "Annotations" / "b.xml", (1e9, 1e9))
    (voc / "image_labels.json").write_text("{")
    assert VOCDataset(voc, "train").label_source == "annotations"


def test_annotations_of_other_classes_are_named(voc: Path) -> None:
    assert gather_voc_labels(voc, difficult=True, workers=1) == 0
    write_annotation(voc, "a", "unicorn")
    with pytest.raises(UserError, match=r"need objects of 20 known classes, .*a\.xml names \['unicorn'\]"):
        gather_voc_labels(voc, difficult=True, workers=1)


def test_augmented_list_is_every_augmented_mask_that_is_not_held_out(voc: Path) -> None:
    assert write_augmented_list(voc) is None
    for name in ("e", "b", "d"):
        write_mask(voc / "SegmentationClassAug" / f"{name}.png", np.ones((8, 12), dtype=np.uint8), voc_palette(21))
    write_list(voc, "d", "a", split="val")
    assert write_augmented_list(voc) == 2
    path = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    assert path.read_text() == "b\ne\n"
    path.write_text("b\n")
    assert write_augmented_list(voc) == 1, "a list that is there is the user's"
    assert VOCDataset(voc, "train_aug").class_names == VOC_CLASSES


# --- COCO ---

SQUARE, LARGE = [2, 2, 6, 2, 6, 6, 2, 6], [0, 0, 20, 0, 20, 12, 0, 12]


def _thing(photo: int, category: int, outline: Any, area: float, *, crowd: int = 0) -> dict[str, Any]:
    return {"image_id": photo, "category_id": category, "segmentation": outline, "area": area, "iscrowd": crowd}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Photo 1: a small person before a large bus, told in that order. 2: a crowd and a tiny dog. 3: a crowd alone."""
    crowd = rle.encode(np.asfortranarray(np.eye(12, 20, dtype=np.uint8)))
    runs = {"size": [12, 20], "counts": [0, 100, 140]}
    content = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "height": 12, "width": 20} for n in (1, 2, 3)],
        "categories": [{"id": i + 1 + (i > 10), "name": name} for i, name in enumerate(COCO_CLASSES)],
        "annotations": [
            _thing(1, 1, [SQUARE], 16),
            _thing(1, 6, [LARGE], 240),
            _thing(2, 1, runs, 100, crowd=1),
            _thing(2, 18, [[15, 8, 17, 8, 17, 10, 15, 10]], 4),
            _thing(3, 13, {"size": [12, 20], "counts": crowd["counts"].decode()}, 12, crowd=1),
        ],
    }
    for photo in content["images"]:
        (tmp_path / "val2014").mkdir(exist_ok=True)
        Image.new("RGB", (20, 12)).save(tmp_path / "val2014" / photo["file_name"])
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    return tmp_path


def _draw(coco: Path, rule: ObjectRule = EVERYTHING, *, workers: int = 1) -> int:
    source, folder = coco / "annotations" / "instances_val2014.json", coco / "masks" / "val2014"
    instances = read_instances(source)
    missing = missing_masks(folder, gather_coco_labels(source, instances, rule))
    return draw_coco_masks(folder, instances, rule, missing, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_masks_are_drawn_with_small_objects_before_large_ones(coco: Path, workers: int) -> None:
    assert _draw(coco, workers=workers) == 3
    person, bus, dog, sign = (COCO_CLASSES.index(name) + 1 for name in ("person", "bus", "dog", "stop sign"))
    dataset = COCODataset(coco, "val2014", with_masks=True)
    dataset.check_files()
    first, second, third = (dataset.sample(index).mask for index in range(3))
    expected = np.full((12, 20), bus)
    expected[2:6, 2:6] = person
    np.testing.assert_array_equal(first, expected)
    crowd = np.zeros(240, dtype=int)
    crowd[:100] = person  # runs go down the columns
    crowd = crowd.reshape(20, 12).T
    crowd[8:10, 15:17] = dog
    np.testing.assert_array_equal(second, crowd)
    np.testing.assert_array_equal(third, np.eye(12, 20) * sign)


def test_objects_that_do_not_count_give_no_label_and_are_ignored(coco: Path) -> None:
    rule = ObjectRule(crowd=False, min_area=3)
    assert _draw(coco, rule) == 2
    dataset = COCODataset(coco, "val2014", with_masks=True, crowd=False, min_area=3)
    assert dataset.names == ["000000000001", "000000000002"]
    mask = dataset.sample(1).mask
    assert mask is not None
    assert (mask.T.ravel()[:100] == 255).all()
    assert mask[8, 15] not in (0, 255)
    assert dataset.image_labels[1].sum() == 1


def test_a_killed_run_goes_on_where_it_stopped(coco: Path) -> None:
    _draw(coco)
    folder = coco / "masks" / "val2014"
    (folder / "000000000002.png").unlink()
    (folder / ".000000000002.png.77.partial").write_bytes(b"half a ma")
    before = (folder / "000000000001.png").stat().st_mtime_ns
    assert _draw(coco) == 1
    assert (folder / "000000000001.png").stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == [f"{n:012d}.png" for n in (1, 2, 3)]
    assert read_mask(folder / "000000000002.png", 81).any()


def test_masks_of_another_rule_are_drawn_anew_and_ones_own_stay(coco: Path) -> None:
    folder, strict = coco / "masks" / "val2014", ObjectRule(crowd=False, min_area=3)
    write_mask(folder / "000000000001.png", np.ones((12, 20), dtype=np.uint8), voc_palette(81))
    assert keep_rule(folder, EVERYTHING) == 0
    assert read_rule(folder) is None, "masks of the user's own"
    (folder / "000000000001.png").unlink()
    assert keep_rule(folder, EVERYTHING) == 0
    assert _draw(coco) == 3
    assert keep_rule(folder, EVERYTHING) == 0
    COCODataset(coco, "val2014", with_masks=True).check_files()
    with pytest.raises(UserError, match=r"need masks drawn with crowd=false min_area=3, .* with crowd=true min_area=0"):
        COCODataset(coco, "val2014", with_masks=True, crowd=False, min_area=3).check_files()
    assert keep_rule(folder, strict) == 3
    assert _draw(coco, strict) == 2
    as_told = COCODataset(coco, "val2014", with_masks=True)
    assert as_told.rule == strict
    as_told.check_files()


def test_gathered_labels_are_those_of_the_instances(coco: Path) -> None:
    read = COCODataset(coco, "val2014").image_labels
    _draw(coco)
    dataset = COCODataset(coco, "val2014")
    assert dataset.label_cache.by_name
    np.testing.assert_array_equal(dataset.image_labels, read)
    assert not COCODataset(coco, "val2014", min_area=50).label_cache.by_name, "made with another rule"


def test_masks_never_leave_their_folder(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2014.json"
    path.write_text(path.read_text().replace("000000000002.jpg", "../../out.jpg"))
    with pytest.raises(UserError, match=r"need names of photos inside their folder, got '../../out\.jpg'"):
        _draw(coco)
    assert not (coco / "out.png").exists()


def test_outlines_that_cannot_be_drawn_are_named(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2014.json"
    path.write_text(path.read_text().replace('"counts": [0, 100, 140]', '"counts": true'))
    with pytest.raises(UserError, match=r"need outlines as COCO has them, those of 000000000002\.jpg cannot be drawn"):
        _draw(coco)
