from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.data.partshapes.parts import EMBLEMS, SILHOUETTES
from afa_wsss.data.partshapes.scene import Kind, PartSet, draw_scene
from afa_wsss.data.partshapes.write import (
    PARTSHAPES,
    PRETRAINING,
    PRETRAINING_CLUTTER,
    PRETRAINING_PAIRS,
    write_partshapes,
)
from afa_wsss.errors import UserError


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_equal_seeds_write_equal_files_and_other_seeds_do_not(tmp_path: Path) -> None:
    first, again, other = (
        _files(write_partshapes(tmp_path / name, train=3, val=2, size=48, seed=seed))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    assert first["JPEGImages/train_000000.jpg"] != other["JPEGImages/train_000000.jpg"]


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    small = write_partshapes(tmp_path / "small", train=2, val=1, size=48)
    large = write_partshapes(tmp_path / "large", train=4, val=2, size=48)
    for name in ("train_000001", "val_000000"):
        file = f"JPEGImages/{name}.jpg"
        assert (small / file).read_bytes() == (large / file).read_bytes()


def test_training_and_validation_images_differ(tmp_path: Path) -> None:
    root = write_partshapes(tmp_path, train=1, val=1, size=48)
    assert (root / "JPEGImages/train_000000.jpg").read_bytes() != (root / "JPEGImages/val_000000.jpg").read_bytes()


def test_image_labels_are_the_classes_of_the_mask(tmp_path: Path) -> None:
    root = write_partshapes(tmp_path, train=12, val=0, size=64, seed=3)
    names = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    for index, kind in enumerate(PARTSHAPES.classes):
        rows = [row.split() for row in (root / f"ImageSets/Main/{kind}_train.txt").read_text().splitlines()]
        assert [row[0] for row in rows] == names
        for name, flag in rows:
            mask = np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png"))
            assert ((mask == index + 1).any()) == (flag == "1")


def test_classes_json_has_classes_and_colors(tmp_path: Path) -> None:
    root = write_partshapes(tmp_path, train=0, val=1, size=48)
    description = json.loads((root / "classes.json").read_text())
    assert description["classes"] == list(PARTSHAPES.classes)
    assert np.asarray(description["palette"]).shape == (len(PARTSHAPES.classes) + 1, 3)


@pytest.mark.parametrize("size", [32, 75, 112])
def test_a_scene_of_any_size_has_at_least_one_object(size: int) -> None:
    scene = draw_scene(np.random.default_rng(0), size=size, kinds=PARTSHAPES.kinds)
    assert scene.image.shape == (size, size, 3)
    assert scene.mask.shape == (size, size)
    assert set(np.unique(scene.mask)) - {0} == {label + 1 for label in scene.labels}
    assert scene.labels


def test_objects_cover_a_fair_part_of_the_image() -> None:
    scenes = [draw_scene(np.random.default_rng(seed), size=64, kinds=PARTSHAPES.kinds) for seed in range(40)]
    covered = np.mean([(scene.mask > 0).mean() for scene in scenes])
    assert 0.15 < covered < 0.35


def test_color_does_not_predict_the_class() -> None:
    """A nearest-color classifier of object pixels stays near chance (one class in five)."""
    scenes = [draw_scene(np.random.default_rng([9, i]), size=48, kinds=PARTSHAPES.kinds) for i in range(100)]
    pixels, labels = (
        np.concatenate([field[s.mask > 0] for s in scenes for field in [getattr(s, name)]])
        for name in ("image", "mask")
    )
    half = len(labels) // 2
    centers = np.stack([pixels[:half][labels[:half] == k].mean(axis=0) for k in range(1, 6)])
    nearest = np.abs(pixels[half:, None].astype(float) - centers).sum(axis=-1).argmin(axis=1) + 1
    assert (nearest == labels[half:]).mean() < 0.35


def test_pretraining_shares_no_part_with_the_demo() -> None:
    parts, others = ({part for kind in chosen.kinds for part in kind[:2]} for chosen in (PARTSHAPES, PRETRAINING))
    assert not parts & others
    assert {part for kind in PRETRAINING_PAIRS.kinds for part in kind[:2]} <= others
    assert parts | others == set(SILHOUETTES) | set(EMBLEMS)


def test_body_and_emblem_can_be_classes_of_their_own() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng, size=64, kinds=PRETRAINING.kinds, clutter=PRETRAINING_CLUTTER)
        body, emblem = scene.labels
        assert body < 15 <= emblem
        assert 0 < (scene.mask == emblem + 1).sum() < (scene.mask == body + 1).sum()


def test_parts_can_be_chosen(tmp_path: Path) -> None:
    parts = PartSet(("a heart",), (Kind("heart", "ring", 0, 0),))
    root = write_partshapes(tmp_path, train=2, val=0, size=48, parts=parts)
    assert (root / "ImageSets/Main/a heart_train.txt").is_file()


def test_several_processes_write_what_one_does(tmp_path: Path) -> None:
    one, two = (write_partshapes(tmp_path / str(n), train=9, val=3, size=48, workers=n) for n in (1, 2))
    assert _files(one) == _files(two)


@pytest.mark.parametrize("arguments", [{"train": -1}, {"size": 8}, {"val": -2, "size": 31}])
def test_impossible_arguments_are_refused(tmp_path: Path, arguments: dict[str, int]) -> None:
    got = ", ".join(f"{name}={value}" for name, value in arguments.items())
    with pytest.raises(
        UserError, match=f"need train and val of at least 0 and size of at least 32, got {got}"
    ) as refusal:
        write_partshapes(tmp_path, **arguments)
    assert refusal.value.arguments == tuple(arguments)
