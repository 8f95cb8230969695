from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.data.samples import exif_with, png_chunk

from afa_wsss.data.files.photos import as_rgb, may_be_deep, read_extremes, read_photo
from afa_wsss.data.files.shared_range import SharedRange
from afa_wsss.data.files.value_range import check_range
from afa_wsss.errors import UserError

GRAY = np.arange(256, dtype=np.uint8).reshape(8, 32)
"""Every gray value once."""


def shown(path: Path, *others: Path, setting="auto") -> np.ndarray:
    photo = read_photo(path, SharedRange(setting, lambda: [path, *others]))
    assert photo.dtype == np.uint8
    assert (photo[..., 0] == photo[..., 2]).all()
    return photo[..., 0]


def write_packed_tiff(path: Path, values: np.ndarray, bits: int) -> None:
    """An uncompressed TIFF of 12 bits per value, which Pillow reads and does not write."""
    height, width = values.shape
    pairs = values.reshape(-1, 2).astype(int)
    content = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist())
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(content)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + directory)


def write_jpeg_2000_bits(path: Path, bits: int) -> None:
    """Changes the bits that a JPEG 2000 says its values have, from 16; they lie around half of the highest."""
    head, start, rest = path.read_bytes().partition(b"\xff\x4f\xff\x51")
    sizes, count = bytearray(rest), rest[37]
    for component in range(count):
        sizes[38 + 3 * component] = bits - 1
    path.write_bytes(head.replace(b"\x0f\x07\x00\x00", bytes([bits - 1, 7, 0, 0])) + start + bytes(sizes))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", GRAY.astype(np.uint16) * 257),
        ("a.png", GRAY.astype(np.uint16) * 16),
        ("a.tif", GRAY.astype(np.uint16) * 16),
        ("a.tif", GRAY.astype(np.int32) * 1000),
        ("a.tif", GRAY.astype(np.float32) / 255),
        ("a.tif", GRAY.astype(np.float32) * 3.7),
        ("a.tif", GRAY.astype(np.float32) / 128 - 1),
        ("a.tif", 40000 + GRAY.astype(np.uint16)),
        ("a.jp2", GRAY.astype(np.uint16) * 257),
    ],
    ids=["16", "12-in-16", "12-in-16-tif", "32", "float-0-1", "float", "float-signed", "thermal", "jp2"],
)
def test_values_of_any_depth_become_0_to_255_by_the_range_in_use(tmp_path: Path, name: str, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / name, **({"irreversible": False} if name.endswith("jp2") else {}))
    assert may_be_deep(tmp_path / name)
    other = tmp_path / f"other{name}"
    Image.fromarray(np.minimum(values, values.flat[40])).save(other)
    np.testing.assert_allclose(shown(tmp_path / name, other).astype(int), GRAY, atol=1)
    assert shown(other, tmp_path / name).max() <= 41, "a dark photo stays dark beside the others"
    assert read_photo(tmp_path / name).max() > 62, "alone, it uses the bits that it needs"


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colors_of_16_bits_keep_their_12_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    """Pillow itself would keep the upper 8 of 16 bits: a photo of 12 bits would come out nearly black."""
    colors = np.random.default_rng(0).integers(0, 256, (6, 9, channels), dtype=np.uint8)
    colors[0, 0], colors[0, 1] = 0, 255
    path = tmp_path / f"a.{suffix}"
    order = [2, 1, 0, 3][:channels]
    cv2.imwrite(str(path), colors[..., order].astype(np.uint16) * 16)
    photo = read_photo(path, SharedRange("auto", lambda: [path, path]))
    np.testing.assert_allclose(photo.astype(int), colors[..., :3], atol=1)
    assert read_extremes(path)[3:5] == (0, 4080)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colors_of_16_bits_are_upright(tmp_path: Path, orientation: int) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(colors).save(tmp_path / "plain.png", exif=exif_with(orientation))
    cv2.imwrite(str(tmp_path / "deep.png"), colors[..., ::-1].astype(np.uint16) * 257)
    content = (tmp_path / "deep.png").read_bytes()
    exif = png_chunk(b"eXIf", exif_with(orientation).tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "deep.png").write_bytes(content[:33] + exif + content[33:])
    np.testing.assert_array_equal(
        read_photo(tmp_path / "deep.png", SharedRange((0, 65535), list)), read_photo(tmp_path / "plain.png")
    )


def test_the_range_that_a_file_declares_counts_before_that_of_the_others(tmp_path: Path) -> None:
    values = np.minimum(GRAY.astype(np.uint16) * 16, 1600)
    Image.fromarray(values).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "declared.png").write_bytes(content[:33] + png_chunk(b"sBIT", b"\x0c") + content[33:])
    write_packed_tiff(tmp_path / "declared.tif", values, 12)
    (tmp_path / "declared.pgm").write_bytes(b"P5 32 8 4095\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "maximum.tif", tiffinfo={281: 4095})
    expected = np.rint(values / 4095 * 255)
    for name in ("declared.png", "declared.tif", "declared.pgm", "maximum.tif"):
        np.testing.assert_allclose(shown(tmp_path / name, tmp_path / "a.png"), expected, atol=1, err_msg=name)
    scaled = png_chunk(b"sBIT", b"\x0c")
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / "full.png")
    content = (tmp_path / "full.png").read_bytes()
    (tmp_path / "full.png").write_bytes(content[:33] + scaled + content[33:])
    np.testing.assert_array_equal(shown(tmp_path / "full.png"), GRAY), "values above the bits: they fill all 16"


@pytest.mark.parametrize(
    ("no_data", "values"),
    [
        ("-9999", np.linspace(0, 1, 64, dtype=np.float32)),
        ("-3.4028234663852886e+38", np.linspace(0, 1, 64, dtype=np.float32)),
        ("1e400", np.linspace(0, 1, 64, dtype=np.float32)),
        ("nan", np.linspace(-4, 1, 64, dtype=np.float32)),
        ("65535", np.linspace(0, 4095, 64).astype(np.uint16)),
        ("-32768", np.arange(-99, 29, 2, dtype=np.int32)),
    ],
)
def test_what_a_file_calls_no_data_sets_no_range(tmp_path: Path, no_data: str, values: np.ndarray) -> None:
    values = values.reshape(8, 8).copy()
    Image.fromarray(values).save(tmp_path / "plain.tif")
    with np.errstate(over="ignore"):
        values[3] = values.dtype.type(float(no_data))
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={42113: no_data})
    paths = [tmp_path / "a.tif"] * 2
    shared = SharedRange("auto", lambda: paths)
    photo, plain = read_photo(paths[0], shared), read_photo(tmp_path / "plain.tif", SharedRange("auto", lambda: paths))
    assert shared.used == SharedRange("auto", lambda: [tmp_path / "plain.tif"] * 2).used
    assert (photo[3] == photo.min()).all()
    np.testing.assert_array_equal(np.delete(photo, 3, axis=0), np.delete(plain, 3, axis=0))
    assert not shared.warnings()
    assert not shared.problems()


def test_a_photo_of_no_data_alone_is_refused_and_a_tag_that_is_no_number_is_left(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), -9999.0, dtype=np.float32)).save(tmp_path / "a.tif", tiffinfo={42113: "-9999"})
    with pytest.raises(UserError, match=r"a\.tif has no data alone \(-9999\)"):
        read_photo(tmp_path / "a.tif")
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "b.tif", tiffinfo={42113: "none"})
    np.testing.assert_array_equal(shown(tmp_path / "b.tif"), GRAY)


@pytest.mark.parametrize(("far", "clipped"), [(-9999.0, 0), (1e20, 255)])
def test_a_value_far_from_all_others_sets_no_range_and_is_a_warning(tmp_path: Path, far: float, clipped: int) -> None:
    values = GRAY.astype(np.float32) / 255
    values[2] = far
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path in paths:
        Image.fromarray(values).save(path)
    for photo in (shown(*paths), shown(paths[0])):
        assert (photo[2] == clipped).all()
        np.testing.assert_array_equal(np.delete(photo, 2, axis=0), np.delete(GRAY, 2, axis=0))
    found = SharedRange("auto", lambda: paths).warnings()
    assert [problem.level for problem in found] == ["warning"] * 2
    assert f"a.tif has {far:g} far from its others (0 to 1)" in found[0].message
    assert "data.value_range=[low,high]" in found[0].message
    assert not SharedRange((0, 1), lambda: paths).warnings()


@pytest.mark.parametrize("values", [[0, 65535], [0, 1, 9], [40000, 40100, 40255], [0, 0, 7]])
def test_values_of_which_none_is_far_are_no_warning(tmp_path: Path, values: list[int]) -> None:
    Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / "a.png")
    assert not SharedRange("auto", lambda: [tmp_path / "a.png"]).warnings()


def test_a_tiff_whose_white_is_0_is_not_a_negative(tmp_path: Path) -> None:
    Image.fromarray(65535 - GRAY.astype(np.uint16) * 257).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(shown(tmp_path / "a.tif"), GRAY)


def test_the_setting_is_the_range_and_clips(tmp_path: Path) -> None:
    Image.fromarray(GRAY.astype(np.uint16) * 10).save(tmp_path / "a.png")
    photo = shown(tmp_path / "a.png", setting=(1000, 1510))
    np.testing.assert_array_equal(photo, np.rint(np.clip((GRAY * 10.0 - 1000) / 510, 0, 1) * 255))
    assert SharedRange({"16 bits": (1000.0, 1510.0)}, list).stored() == {"16 bits": (1000.0, 1510.0)}


def test_photos_of_8_bits_are_not_scaled_and_not_measured(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp", "a.gif"):
        Image.fromarray(GRAY // 2).save(tmp_path / name)
        assert read_extremes(tmp_path / name) is None
        assert shown(tmp_path / name, setting=(0, 4095)).max() <= 135
    assert not any(may_be_deep(tmp_path / name) for name in ("a.png", "a.jpg", "a.bmp", "a.gif", "missing"))
    assert SharedRange("auto", lambda: tmp_path.iterdir()).stored() == "auto"


def test_what_the_files_use_together_can_be_stored_for_other_photos(tmp_path: Path) -> None:
    for name, top in (("a", 4000), ("b", 500)):
        Image.fromarray((GRAY / 255 * top).astype(np.uint16)).save(tmp_path / f"{name}.png")
    shared = SharedRange("auto", lambda: sorted(tmp_path.iterdir()))
    assert shared.stored() == (0, 4000)
    assert check_range(shared.stored()) == (0, 4000)
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "c.tif")
    both = SharedRange("auto", lambda: sorted(tmp_path.iterdir())).stored()
    assert both == {"16 bits": (0, 4000), "floats": (0, 255)}
    assert check_range(both) == both


@pytest.mark.parametrize(
    ("values", "setting", "color"),
    [
        (np.zeros((4, 4), dtype=np.uint16), "auto", "black"),
        (np.full((4, 4), 900, dtype=np.uint16), (1000, 4095), "black"),
        (np.full((4, 4), 900, dtype=np.uint16), (0, 255), "white"),
        (np.array([[1, 2]], dtype=np.uint16), (0, 65535), "black"),
        (np.array([[5.0, 6.0]], dtype=np.float32), (0, 1), "white"),
    ],
)
def test_a_photo_that_comes_out_flat_is_refused_with_the_range(
    tmp_path: Path, values: np.ndarray, setting, color: str
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    shared = SharedRange(setting, lambda: [tmp_path / "a.tif"])
    with pytest.raises(
        UserError, match=rf"a\.tif comes out {color} all over: .* set data\.value_range=\[low,high\]"
    ) as refusal:
        read_photo(tmp_path / "a.tif", shared)
    assert refusal.value.kind == "flat"
    assert [str(error) for error in shared.problems()] == [str(refusal.value)]


def test_a_photo_of_one_gray_is_no_flat_photo(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 900, dtype=np.uint16)).save(tmp_path / "a.png")
    assert 200 < shown(tmp_path / "a.png")[0, 0] < 255
    assert not SharedRange("auto", lambda: [tmp_path / "a.png"]).problems()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    values = GRAY.astype(np.float32)
    values[0, 0] = value
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"need finite values in photos, .*a\.tif has NaN or infinity \(0\.4% of its"):
        read_photo(tmp_path / "a.tif")
    assert len(SharedRange("auto", lambda: [tmp_path / "a.tif"]).problems()) == 1


@pytest.mark.parametrize("bits", [12, 16])
def test_colors_of_jpeg_2000_keep_their_bits(tmp_path: Path, bits: int) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    colors[0, 0], colors[0, 1] = 0, 255
    path, values = tmp_path / "a.jp2", colors[..., ::-1].astype(np.uint16) * 16 + (30720 if bits == 12 else 0)
    cv2.imwrite(str(path), values, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    if bits == 12:
        write_jpeg_2000_bits(path, 12)
    photo = read_photo(path, SharedRange("auto", lambda: [path, path]))
    np.testing.assert_allclose(photo.astype(int), colors, atol=8)
    extremes = read_extremes(path)
    assert extremes is not None
    assert (extremes.declared is not None) == (bits == 12)


def test_gray_jpeg_2000_of_12_bits_declares_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    Image.fromarray(GRAY.astype(np.uint16) + 30720).save(path, irreversible=False)
    write_jpeg_2000_bits(path, 12)
    assert shown(path, path).max() == 16


def test_an_open_image_of_16_bits_is_read_from_its_own_file(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "rgb.png"), colors[..., ::-1].astype(np.uint16) * 16)
    Image.fromarray(GRAY.astype(np.uint16) * 16).save(tmp_path / "gray.png")
    for name, values in (("rgb.png", colors), ("gray.png", GRAY[..., None])):
        with Image.open(tmp_path / name) as image:
            found = np.asarray(as_rgb(image, lambda _: (0, 4080)))
        np.testing.assert_allclose(found, np.broadcast_to(values, found.shape), atol=1)


def test_images_in_memory_are_scaled_too() -> None:
    np.testing.assert_array_equal(np.asarray(as_rgb(Image.fromarray(GRAY.astype(np.uint16) * 257)))[..., 0], GRAY)
    np.testing.assert_array_equal(np.asarray(as_rgb(Image.fromarray(GRAY.astype(np.float32) / 255)))[..., 1], GRAY)


@pytest.mark.parametrize(
    "setting", ["all", [1], [2, 1], [1, 1], [0, 1, 2], [0, float("nan")], None, {"bits": [0, 1]}, 7]
)
def test_a_setting_that_is_no_range_is_refused(setting: object) -> None:
    with pytest.raises(UserError, match=r"need value_range as auto or \[low, high\] with low < high, got "):
        check_range(setting)


def test_settings_are_ranges_or_auto() -> None:
    assert check_range("auto") == "auto"
    assert check_range([0, 4095]) == (0.0, 4095.0)
    assert check_range({"floats": [-1, 1]}) == {"floats": (-1.0, 1.0)}
