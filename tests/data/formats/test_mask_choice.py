"""Masks of two columns of classes, written in the forms of annotation tools, become the same class ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.data.files.mask_colors import parse_class_list
from afa_wsss.data.files.mask_forms import MaskForm
from afa_wsss.data.files.masks import read_mask, write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder_masks import find_mask_form, find_masks, mask_palette
from afa_wsss.data.formats.mask_choice import form_warnings
from afa_wsss.errors import UserError

LABELS = [np.array([[0, 0, 1], [0, 1, 1]]), np.array([[0, 0, 2], [0, 2, 2]]), np.array([[0, 1, 2], [0, 1, 2]])]
TAGS = [{1}, {2}, {1, 2}]
RGB = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], dtype=np.uint8)


def save(pixels: np.ndarray, path: Path, mode: str | None = None, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode=mode).save(path, **options) if mode is None else Image.fromarray(pixels).convert(
        mode
    ).save(path, **options)


def save_palette(indices: np.ndarray, colors: Sequence[Sequence[int]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8))
    image = image.convert("P")
    image.putdata(indices.astype(np.uint8).ravel().tolist())
    image.putpalette([value for color in colors for value in color])
    image.save(path)


def form_of(
    root: Path,
    write: Callable[[np.ndarray, Path], None],
    *,
    labels: Sequence[np.ndarray] = LABELS,
    tags: Sequence[set[int]] = TAGS,
    classes: Sequence[str] = ("cat", "dog"),
    suffix: str = "png",
) -> tuple[MaskForm, list[Path]]:
    names = [f"p{number}" for number in range(len(labels))]
    paths = [root / "masks" / f"{name}.{suffix}" for name in names]
    (root / "masks").mkdir(exist_ok=True)
    for label, path in zip(labels, paths, strict=True):
        write(label, path)
    found = find_masks(root, names, [f"{name}.jpg" for name in names])
    assert len(found.by_name) == len(names)
    listed = parse_class_list(list(classes), "classes.txt")
    return find_mask_form(found, listed, dict(zip(names, tags, strict=True))), paths


def assert_read(form: MaskForm, paths: Sequence[Path], labels: Sequence[np.ndarray] = LABELS) -> None:
    for path, label in zip(paths, labels, strict=True):
        mask = read_mask(path, form.classes, form=form)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, label)


def as_ids(label: np.ndarray, path: Path) -> None:
    save(label.astype(np.uint8), path)


def as_voc_palette(label: np.ndarray, path: Path) -> None:
    write_mask(path, label.astype(np.uint8), voc_palette(3))


def as_sixteen_bits(label: np.ndarray, path: Path) -> None:
    save(label.astype(np.uint16), path)


def as_gray_rgb(label: np.ndarray, path: Path) -> None:
    save(np.repeat(label.astype(np.uint8)[..., None], 3, axis=-1), path)


def as_rgb(label: np.ndarray, path: Path) -> None:
    save(RGB[label], path)


def as_rgba(label: np.ndarray, path: Path) -> None:
    white_outside = np.where(label[..., None] == 0, np.uint8(255), RGB[label])
    save(np.concatenate([white_outside, np.uint8(255) * (label[..., None] > 0)], axis=-1).astype(np.uint8), path)


def as_voc_rgb(label: np.ndarray, path: Path) -> None:
    save(voc_palette(3)[label], path)


def as_own_palette(label: np.ndarray, path: Path) -> None:
    """Each file has a palette of its own, with the colors in the order in which they appear from the right."""
    used = np.unique(label)[::-1]
    save_palette(np.searchsorted(-used, -label), RGB[used].tolist(), path)


COLORED = ("cat 255 0 0", "dog 0 255 0")


@pytest.mark.parametrize(
    ("write", "suffix", "classes", "says"),
    [
        (as_ids, "png", ("cat", "dog"), ""),
        (as_ids, "tif", ("cat", "dog"), ""),
        (as_ids, "bmp", ("cat", "dog"), ""),
        (as_ids, "PNG", ("cat", "dog"), ""),
        (as_voc_palette, "png", ("cat", "dog"), ""),
        (as_sixteen_bits, "png", ("cat", "dog"), ""),
        (as_sixteen_bits, "tif", ("cat", "dog"), ""),
        (as_gray_rgb, "png", ("cat", "dog"), ""),
        (as_voc_rgb, "png", ("cat", "dog"), "VOC's palette"),
        (as_rgb, "png", COLORED, "classes.txt"),
        (as_rgb, "tif", COLORED, "classes.txt"),
        (as_rgba, "png", COLORED, "classes.txt"),
        (as_own_palette, "png", COLORED, "classes.txt"),
        (as_ids, "png", ("background", "cat", "dog"), ""),
        (as_ids, "png", ("__ignore__", "_background_", "cat", "dog"), ""),
    ],
)
def test_masks_of_every_form_become_class_ids(
    tmp_path: Path, write: Callable[[np.ndarray, Path], None], suffix: str, classes: Sequence[str], says: str
) -> None:
    form, paths = form_of(tmp_path, write, suffix=suffix, classes=classes)
    assert says in form.says
    assert bool(says) == bool(form.says)
    assert_read(form, paths)
    assert form_warnings(form) == []


ONE = [np.array([[0, 0, 1], [0, 1, 1]]), np.array([[0, 0, 0], [0, 0, 0]]), np.array([[1, 1, 1], [1, 0, 1]])]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda label, path: save(label.astype(np.uint8) * 255, path), "255 is the class"),
        (lambda label, path: save(label.astype(np.uint8) * 128, path), "128 is the only value beside 0"),
        (lambda label, path: save((label > 0).astype(np.uint8) * 255, path, "1"), ""),
        (lambda label, path: save(label.astype(np.uint16) * 65535, path), "255 is the class"),
        (lambda label, path: save(np.repeat(label.astype(np.uint8)[..., None] * 255, 3, -1), path), "255 is the class"),
        (lambda label, path: save(RGB[label], path), "(255, 0, 0) alone, and one class"),
        (lambda label, path: save_palette(1 - label, [[255, 255, 255], [0, 0, 0]], path), "that color is the class"),
        (as_ids, ""),
    ],
    ids=["0-255", "0-128", "1-bit", "16-bit", "rgb-white", "red", "palette-reversed", "ids"],
)
def test_with_one_class_masks_of_two_values_are_understood_and_said(
    tmp_path: Path, write: Callable[[np.ndarray, Path], None], says: str
) -> None:
    form, paths = form_of(tmp_path, write, labels=ONE, tags=[{1}] * 3, classes=["cat"])
    assert says in form.says
    assert bool(says) == bool(form.says)
    assert len(form_warnings(form)) == ("only value" in says)
    assert_read(form, paths, ONE)


def test_255_is_unknown_where_1_is_the_class(tmp_path: Path) -> None:
    labels = [np.array([[0, 1, 255]]), np.array([[0, 0, 255]])]
    form, paths = form_of(tmp_path, as_ids, labels=labels, tags=[{1}] * 2, classes=["cat"])
    assert_read(form, paths, labels)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_foreground_alone_is_refused_where_there_are_several_classes(tmp_path: Path, mode: str) -> None:
    form, paths = form_of(tmp_path, lambda label, path: save((label > 0).astype(np.uint8) * 255, path, mode))
    with pytest.raises(UserError, match=r"got .*p0\.png: all masks hold foreground .* not tell 2 classes apart; save"):
        read_mask(paths[0], 3, form=form)
    assert [problem.kind for problem in form_warnings(form)] == ["masks unclear"]


def test_ids_that_count_from_0_are_mapped_where_the_labels_show_it(tmp_path: Path) -> None:
    form, paths = form_of(
        tmp_path, lambda label, path: save(np.where(label == 0, 255, label - 1).astype(np.uint8), path)
    )
    assert "ids count from 0, as the labels show: 0 is the first class, 255 the background" in form.says
    assert_read(form, paths)


def test_masks_without_background_are_said(tmp_path: Path) -> None:
    labels = [np.where(label == 0, 255, label) for label in LABELS]
    form, paths = form_of(tmp_path, as_ids, labels=labels)
    assert "no mask holds 0: 255 is unknown, and the background is not scored" in form.says
    assert_read(form, paths, labels)
    (only,) = form_warnings(form)
    assert only.level == "warning"
    assert form.says in only.message


def test_ids_that_count_the_background_as_1_are_mapped_where_the_labels_show_it(tmp_path: Path) -> None:
    form, paths = form_of(tmp_path, lambda label, path: save((label + 1).astype(np.uint8), path))
    assert "1 is the background, 2 the first class" in form.says
    assert [problem.kind for problem in form_warnings(form)] == ["ids of masks"]
    assert_read(form, paths)


def test_a_background_at_the_end_of_the_list_is_the_background(tmp_path: Path) -> None:
    by_line = np.array([2, 0, 1], dtype=np.uint8)
    form, paths = form_of(
        tmp_path, lambda label, path: save(by_line[label], path), classes=["cat", "dog", "background"]
    )
    assert "2 is the background" in form.says
    assert_read(form, paths)


def test_ids_with_0_as_background_are_kept_where_the_list_has_it_at_the_end(tmp_path: Path) -> None:
    tags = [{1}, {2}, {1}]
    labels = [*LABELS[:2], LABELS[0]]
    form, paths = form_of(tmp_path, as_ids, labels=labels, tags=tags, classes=["cat", "dog", "background"])
    if form.doubt:
        with pytest.raises(UserError, match=r"has the background as number 2 from 0, .*; make it the first line"):
            read_mask(paths[0], 3, form=form)
    else:
        assert_read(form, paths, labels)


def test_a_color_without_a_class_is_named_with_its_share_and_file(tmp_path: Path) -> None:
    form, paths = form_of(tmp_path, as_rgb, classes=COLORED)
    save(np.array([[[0, 0, 0], [255, 0, 0], [7, 8, 9], [0, 0, 0]]], dtype=np.uint8), paths[0])
    with pytest.raises(UserError, match=r"p0\.png has the color \(7, 8, 9\) \(25\.0% of its pixels\); fix the mask"):
        read_mask(paths[0], 3, form=form)


def test_colors_that_nothing_explains_are_refused_with_what_to_do(tmp_path: Path) -> None:
    form, paths = form_of(tmp_path, as_rgb)
    with pytest.raises(
        UserError, match=r"p0\.png has mode RGB and the color \(255, 0, 0\) \(50\.0% of its pixels\); add"
    ):
        read_mask(paths[0], 3, form=form)


def test_smoothed_edges_are_said(tmp_path: Path) -> None:
    form, paths = form_of(tmp_path, as_rgb, classes=COLORED)
    large = np.kron(LABELS[2], np.ones((30, 30), dtype=int))
    Image.fromarray(RGB[large]).resize((77, 51), Image.Resampling.BICUBIC).save(paths[0])
    with pytest.raises(
        UserError, match=r"has the color .* more \(.*% of its pixels: edges may be smoothed or compressed"
    ):
        read_mask(paths[0], 3, form=form)
    one = np.kron(ONE[0], np.ones((30, 30), dtype=int)).astype(np.uint8) * 255
    (tmp_path / "one" / "masks").mkdir(parents=True)
    form, paths = form_of(
        tmp_path / "one",
        lambda label, path: save(label.astype(np.uint8) * 255, path),
        labels=ONE,
        tags=[{1}] * 3,
        classes=["cat"],
    )
    Image.fromarray(one).resize((77, 51), Image.Resampling.BICUBIC).save(paths[0])
    with pytest.raises(UserError, match=r"255 is the class.* has the value .* edges may be smoothed"):
        read_mask(paths[0], 2, form=form)


def test_a_single_bad_mask_does_not_change_how_the_others_are_read(tmp_path: Path) -> None:
    form, paths = form_of(tmp_path, as_ids)
    assert form.says == ""
    as_rgb(LABELS[0], paths[0])
    found = find_masks(tmp_path, ["p0", "p1", "p2"], ["p0.jpg", "p1.jpg", "p2.jpg"])
    again = find_mask_form(found, parse_class_list(["cat", "dog"], ""), {"p0": {1}, "p1": {2}, "p2": {1, 2}})
    assert again == form
    with pytest.raises(UserError, match=r"p0\.png has mode RGB"):
        read_mask(paths[0], 3, form=again)


def test_a_palette_in_vocs_colors_is_read_by_color_where_its_indices_are_not_ids(tmp_path: Path) -> None:
    classes = [f"class_{number}" for number in range(20)]
    labels = [np.array([[0, 15]]), np.array([[0, 7]]), np.array([[0, 15]])]

    def write(label: np.ndarray, path: Path) -> None:
        used = np.unique(label)
        save_palette(np.searchsorted(used, label), voc_palette(21)[used].tolist(), path)

    form, paths = form_of(tmp_path, write, labels=labels, tags=[{15}, {7}, {15}], classes=classes)
    assert "VOC's palette" in form.says
    assert_read(form, paths, labels)


def test_the_palette_of_reports_is_that_of_the_classes_or_of_the_masks(tmp_path: Path) -> None:
    form, _ = form_of(tmp_path, as_rgb, classes=COLORED)
    found = find_masks(tmp_path, ["p0"], ["p0.jpg"])
    np.testing.assert_array_equal(mask_palette(found, form, 3), RGB)
    save_palette(LABELS[0], [[0, 0, 0], [1, 2, 3], [4, 5, 6]], tmp_path / "masks" / "p0.png")
    ids = find_mask_form(found, parse_class_list(["cat", "dog"], ""), {"p0": {1}})
    np.testing.assert_array_equal(mask_palette(found, ids, 3), [[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    as_ids(LABELS[0], tmp_path / "masks" / "p0.png")
    np.testing.assert_array_equal(mask_palette(found, ids, 3), voc_palette(3))
