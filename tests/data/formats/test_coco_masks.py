from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from afa_wsss.data.files.masks import read_mask, write_mask
from afa_wsss.data.formats.classes import COCO_CLASSES, voc_palette
from afa_wsss.data.formats.coco import COCODataset
from afa_wsss.data.formats.coco_instances import ObjectRule, read_instances
from afa_wsss.data.formats.coco_labels import collect_coco_labels
from afa_wsss.data.formats.coco_masks import RULE, apply_rule, draw_coco_masks, missing_masks, read_rule
from afa_wsss.errors import UserError

EVERYTHING = ObjectRule(crowd=True, min_area=0)


def _draw(coco: Path, rule: ObjectRule = EVERYTHING, *, workers: int = 1) -> int:
    folder, instances = coco / "masks" / "val2014", read_instances(coco / "annotations" / "instances_val2014.json")
    missing = missing_masks(folder, collect_coco_labels(coco, "val2014", instances, rule))
    return draw_coco_masks(folder, instances, rule, missing, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_small_objects_are_drawn_over_large_ones(coco: Path, workers: int) -> None:
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


def test_a_killed_run_continues_where_it_stopped(coco: Path) -> None:
    _draw(coco)
    folder = coco / "masks" / "val2014"
    (folder / "000000000002.png").unlink()
    (folder / ".000000000002.png.77.partial").write_bytes(b"half a ma")
    before = (folder / "000000000001.png").stat().st_mtime_ns
    assert _draw(coco) == 1
    assert (folder / "000000000001.png").stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == [f"{n:012d}.png" for n in (1, 2, 3)]
    assert read_mask(folder / "000000000002.png", 81).any()


def test_masks_of_another_rule_are_drawn_again_and_the_users_own_are_kept(coco: Path) -> None:
    folder, strict = coco / "masks" / "val2014", ObjectRule(crowd=False, min_area=3)
    source = coco / "annotations" / "instances_val2014.json"
    write_mask(folder / "000000000001.png", np.ones((12, 20), dtype=np.uint8), voc_palette(81))
    assert apply_rule(folder, EVERYTHING, source) == 0
    assert read_rule(folder) is None, "masks of the user's own"
    (folder / "000000000001.png").unlink()
    assert apply_rule(folder, EVERYTHING, source) == 0
    assert _draw(coco) == 3
    assert apply_rule(folder, EVERYTHING, source) == 0
    COCODataset(coco, "val2014", with_masks=True).check_files()
    with pytest.raises(UserError, match=r"need masks drawn with crowd=false min_area=3, .* with crowd=true min_area=0"):
        COCODataset(coco, "val2014", with_masks=True, crowd=False, min_area=3).check_files()
    assert apply_rule(folder, strict, source) == 3
    assert _draw(coco, strict) == 2
    as_drawn = COCODataset(coco, "val2014", with_masks=True)
    assert as_drawn.rule == strict
    as_drawn.check_files()


def test_masks_of_other_instances_are_drawn_again(coco: Path) -> None:
    folder, source = coco / "masks" / "val2014", coco / "annotations" / "instances_val2014.json"
    assert apply_rule(folder, EVERYTHING, source) == 0
    assert _draw(coco) == 3
    content, written = source.read_text(), source.stat()
    os.utime(source, (2e9, 2e9))
    assert COCODataset(coco, "val2014", with_masks=True).check_files() is None, "only copied"
    assert apply_rule(folder, EVERYTHING, source) == 0
    moved = content.replace("[2, 2, 6, 2, 6, 6, 2, 6]", "[2, 2, 9, 2, 9, 9, 2, 9]")
    assert moved != content
    source.write_text(moved)
    os.utime(source, ns=(written.st_atime_ns, written.st_mtime_ns))  # as an older file that is unpacked again
    with pytest.raises(UserError, match=r"instances_val2014\.json, which has changed since .*; draw them again: "):
        COCODataset(coco, "val2014", with_masks=True).check_files()
    COCODataset(coco, "val2014").check_files()
    assert apply_rule(folder, EVERYTHING, source) == 3
    assert _draw(coco) == 3
    dataset = COCODataset(coco, "val2014", with_masks=True)
    dataset.check_files()
    mask = dataset.sample(0).mask
    assert mask is not None
    assert mask[8, 8] == COCO_CLASSES.index("person") + 1
    source.unlink()
    COCODataset(coco, "val2014", with_masks=True).check_files()


def test_masks_drawn_before_their_instances_were_noted_are_judged_by_time(coco: Path) -> None:
    folder, source = coco / "masks" / "val2014", coco / "annotations" / "instances_val2014.json"
    _draw(coco)
    (folder / RULE).write_text('{"crowd": true, "min_area": 0}')
    COCODataset(coco, "val2014", with_masks=True).check_files()
    assert apply_rule(folder, EVERYTHING, source) == 0
    (folder / RULE).write_text('{"crowd": true, "min_area": 0}')
    os.utime(folder / RULE, (1e9, 1e9))
    assert apply_rule(folder, EVERYTHING, source) == 3


def test_collected_labels_are_those_of_the_instances(coco: Path) -> None:
    read = COCODataset(coco, "val2014").image_labels
    _draw(coco)
    dataset = COCODataset(coco, "val2014")
    assert dataset.label_cache.by_name
    np.testing.assert_array_equal(dataset.image_labels, read)
    assert not COCODataset(coco, "val2014", min_area=50).label_cache.by_name, "made with another rule"


def test_labels_of_instances_that_were_replaced_by_an_older_file_are_read_again(coco: Path) -> None:
    _draw(coco)
    source = coco / "annotations" / "instances_val2014.json"
    content, written = source.read_text(), source.stat()
    os.utime(source, (2e9, 2e9))
    assert COCODataset(coco, "val2014").label_cache.by_name, "only copied"
    other = content.replace('"category_id": 1,', '"category_id": 2,')
    assert other != content
    source.write_text(other)
    os.utime(source, (written.st_atime - 60, written.st_mtime - 60))  # as a corrected file that is moved there
    dataset = COCODataset(coco, "val2014")
    assert COCO_CLASSES.index("bicycle") in np.flatnonzero(dataset.image_labels.any(axis=0))
    assert COCO_CLASSES.index("person") not in np.flatnonzero(dataset.image_labels.any(axis=0))


def test_labels_collected_before_their_instances_were_noted_are_judged_by_time(coco: Path) -> None:
    _draw(coco)
    source, path = coco / "annotations" / "instances_val2014.json", COCODataset(coco, "val2014").label_cache.path
    content = json.loads(path.read_text())
    del content["source"]
    path.write_text(json.dumps(content))
    assert COCODataset(coco, "val2014").label_cache.by_name
    os.utime(source, (2e9, 2e9))
    assert not COCODataset(coco, "val2014").label_cache.by_name


def test_masks_are_never_written_outside_their_folder(coco: Path) -> None:
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
