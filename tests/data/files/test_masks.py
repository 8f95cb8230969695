from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.data.samples import DECOMPRESSION_BOMB

from afa_wsss.data.files.mask_forms import MaskForm, id_form
from afa_wsss.data.files.mask_pixels import pack
from afa_wsss.data.files.masks import fit_mask, read_mask, read_mask_size, write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.errors import UserError


def test_masks_are_read_as_they_were_written(tmp_path: Path) -> None:
    label = np.random.default_rng(0).choice(np.array([0, 1, 20, 255], dtype=np.uint8), size=(7, 9))
    write_mask(tmp_path / "new" / "mask.png", label, voc_palette(21))
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "mask.png", 21), label)
    with Image.open(tmp_path / "new" / "mask.png") as image:
        shown = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(shown[label == 20], np.broadcast_to(voc_palette(21)[20], shown[label == 20].shape))
    Image.fromarray(label).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "gray.png", 21), label)


@pytest.mark.parametrize("value", [21, 22, 100, 254])
def test_masks_with_other_classes_are_refused(tmp_path: Path, value: int) -> None:
    label = np.zeros((5, 5), dtype=np.uint8)
    label[2, 3], label[0, 0] = value, 255
    write_mask(tmp_path / "mask.png", label, voc_palette(21))
    with pytest.raises(UserError, match=rf"need class ids of 0 to 20 or 255 .*mask\.png holds \[{value}\]; fix"):
        read_mask(tmp_path / "mask.png", 21)


def test_color_images_and_broken_and_missing_masks_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "color.png")
    with pytest.raises(UserError, match=r"need a palette or grayscale mask .*color\.png has mode RGB"):
        read_mask(tmp_path / "color.png", 21)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"need a mask that can be decoded, got .*empty\.png"):
        read_mask(tmp_path / "empty.png", 21)
    with pytest.raises(UserError, match=r"need a mask at .*a\.png, found none") as refusal:
        read_mask(tmp_path / "a.png", 21)
    assert refusal.value.kind == "missing"


def test_a_mask_of_another_size_is_refused_with_width_and_height(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image, mask = np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((4, 6), dtype=np.uint8)
    Image.fromarray(image).save(path)
    assert fit_mask("a", image, mask, path) is mask
    for height, width in ((6, 4), (4, 5)):
        message = f"a has a photo of 6x4 and a mask of {width}x{height}"
        with pytest.raises(UserError, match=message) as refusal:
            fit_mask("a", image, np.zeros((height, width), dtype=np.uint8), path)
        assert refusal.value.kind == "size_mismatch"


def test_reading_the_size_of_a_mask_refuses_what_reading_it_would(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    write_mask(path, np.eye(40, dtype=np.uint8), voc_palette(2))
    assert read_mask_size(path) == (40, 40)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"need a mask that can be decoded, got .*mask\.png"):
        read_mask_size(path)
    path.write_bytes(DECOMPRESSION_BOMB)
    with pytest.raises(UserError, match=r"need a mask that can be decoded, got .*mask\.png .*pixels"):
        read_mask_size(path)
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(UserError, match=r"need a palette or grayscale mask .*mask\.png has mode RGB"):
        read_mask_size(path)


def test_colors_of_16_bits_are_refused_as_masks(tmp_path: Path) -> None:
    """Pillow would keep the upper 8 bits, which makes every id 0."""
    cv2.imwrite(str(tmp_path / "mask.png"), np.ones((4, 4, 3), dtype=np.uint16))
    for read in (lambda path: read_mask(path, 2, form=id_form(2)), read_mask_size):
        with pytest.raises(UserError, match=r"need a mask of 8 bits in each color, .*mask\.png has 16; save"):
            read(tmp_path / "mask.png")


def test_the_size_of_a_colored_mask_is_refused_where_ids_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"need a palette or grayscale mask .* mode RGB and the color \(200, 0, 0\)"):
        read_mask_size(tmp_path / "mask.png", form=id_form(2))
    red = MaskForm("colors", {pack((200, 0, 0)): 1}, 2, "red")
    assert read_mask_size(tmp_path / "mask.png", form=red) == (4, 3)
    Image.new("RGB", (4, 3), (1, 1, 1)).save(tmp_path / "mask.png")
    assert read_mask_size(tmp_path / "mask.png", form=id_form(2)) == (4, 3)
