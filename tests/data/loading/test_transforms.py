from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afa_wsss.data.loading.settings import CropSettings
from afa_wsss.data.loading.transforms import PADDING, TrainTransform


def _ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards; blue is 255, which padding is not."""
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    image[..., 0] = np.linspace(0, 255, width).round()
    image[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return image


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    crop_size=st.integers(32, 96),
    seed=st.integers(0, 2**32 - 1),
)
def test_box_is_the_photo_and_all_else_is_padding(height: int, width: int, crop_size: int, seed: int) -> None:
    crop, (y0, y1, x0, x1) = TrainTransform(CropSettings(crop_size))(_ramp(height, width), seed)
    assert crop.shape == (crop_size, crop_size, 3)
    assert 0 <= y0 < y1 <= crop_size
    assert 0 <= x0 < x1 <= crop_size
    inside = np.zeros((crop_size, crop_size), dtype=bool)
    inside[y0:y1, x0:x1] = True
    assert (crop[inside][:, 2] == 255).all()
    assert (crop[~inside] == PADDING).all()


@settings(max_examples=60, deadline=None)
@given(height=st.integers(20, 150), width=st.integers(20, 150), seed=st.integers(0, 2**32 - 1))
def test_box_is_as_large_as_the_scaled_photo_and_the_crop_allow(height: int, width: int, seed: int) -> None:
    _, (y0, y1, x0, x1) = TrainTransform(CropSettings(64, scale=(1.5, 1.5)))(_ramp(height, width), seed)
    assert (y1 - y0, x1 - x0) == (min(64, round(1.5 * height)), min(64, round(1.5 * width)))


def test_a_crop_at_scale_one_is_a_window_of_the_photo() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    transform = TrainTransform(CropSettings(32, scale=(1.0, 1.0), mirror=0.0))
    windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    places = set()
    for seed in range(30):
        crop, box = transform(image, seed)
        assert box == (0, 32, 0, 32)
        rows, columns = np.nonzero((windows == crop).all(axis=(2, 3, 4)))
        assert len(rows) == 1
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 20


def test_small_photos_may_be_anywhere_in_the_crop() -> None:
    transform = TrainTransform(CropSettings(40, scale=(1.0, 1.0)))
    boxes = [transform(_ramp(20, 30), seed)[1] for seed in range(300)]
    assert {box[0] for box in boxes} == set(range(21))
    assert {box[2] for box in boxes} == set(range(11))


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (1.0, 200, 200), (0.5, 70, 130)])
def test_photos_are_mirrored_as_often_as_asked(chance: float, low: int, high: int) -> None:
    image = _ramp(32, 32)
    transform = TrainTransform(CropSettings(32, scale=(1.0, 1.0), mirror=chance))
    crops = [transform(image, seed)[0] for seed in range(200)]
    mirrored = sum(np.array_equal(crop, image[:, ::-1]) for crop in crops)
    straight = sum(np.array_equal(crop, image) for crop in crops)
    assert mirrored + straight == 200
    assert low <= mirrored <= high


def test_scales_fill_their_range() -> None:
    transform = TrainTransform(CropSettings(200, scale=(0.5, 2.0)))
    heights = [box[1] - box[0] for box in (transform(_ramp(100, 100), seed)[1] for seed in range(100))]
    assert 50 <= min(heights) < 65
    assert 185 < max(heights) <= 200


@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_equal_seeds_give_equal_crops_whatever_was_cropped_before(jitter: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    one, other = (TrainTransform(CropSettings(48, jitter=jitter)) for _ in range(2))
    for seed in range(5):
        other(_ramp(33, 44), seed + 100)
    for seed in (3, 1, 2):
        (crop, box), (again, box_again) = one(image, seed), other(image, seed)
        np.testing.assert_array_equal(crop, again)
        assert box == box_again
    assert not np.array_equal(one(image, 1)[0], one(image, 2)[0])


def test_jitter_changes_colors_only_inside_the_box() -> None:
    image = np.full((20, 20, 3), (200, 40, 90), dtype=np.uint8)
    crop, (y0, y1, x0, x1) = TrainTransform(CropSettings(32, scale=(1.0, 1.0), jitter=0.5))(image, 1)
    assert (crop[y0:y1, x0:x1] != image).any()
    crop[y0:y1, x0:x1] = PADDING
    assert (crop == PADDING).all()


def test_the_photo_is_not_modified() -> None:
    image = _ramp(40, 40)
    image.flags.writeable = False
    TrainTransform(CropSettings(32, jitter=0.5))(image, 0)
    np.testing.assert_array_equal(image, _ramp(40, 40))


def test_padding_is_the_mean_that_photos_are_normalized_with() -> None:
    assert tuple(round(255 * mean) for mean in (0.485, 0.456, 0.406)) == PADDING


def _patches(height: int, width: int, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Squares of one color each, and a mask with the square's number: a photo that says what its mask must be."""
    rng = np.random.default_rng(0)
    rows, columns = -(-height // side), -(-width // side)
    numbers = rng.permutation(rows * columns).reshape(rows, columns).astype(np.uint8)
    mask = np.kron(numbers, np.ones((side, side), dtype=np.uint8))[:height, :width]
    return np.stack([mask * 5, mask // 2, 255 - mask], axis=-1), mask


@settings(max_examples=60, deadline=None)
@given(
    scale=st.floats(0.5, 2.0),
    mirror=st.sampled_from([0.0, 0.5, 1.0]),
    crop_size=st.integers(32, 120),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_mask_is_cropped_like_its_photo(scale: float, mirror: float, crop_size: int, seed: int) -> None:
    """Where the resized photo has the pure color of a class, its mask has that class; all else are rims."""
    photo, mask = _patches(60, 84)
    transform = TrainTransform(CropSettings(crop_size, scale=(scale, scale), mirror=mirror))
    crop = transform.cut(photo, seed, mask=mask)
    assert crop.mask is not None
    y0, y1, x0, x1 = crop.box
    inside = np.zeros(crop.mask.shape, dtype=bool)
    inside[y0:y1, x0:x1] = True
    assert (crop.mask[~inside] == 255).all()
    labels, colors = crop.mask[inside].astype(int), crop.image[inside].astype(int)
    expected = np.stack([labels * 5, labels // 2, 255 - labels], axis=-1)
    wrong = np.abs(expected - colors).max(axis=-1) > 1
    # A rim is as wide as a pixel of the photo, or of the crop where that is coarser, on both sides of each edge.
    assert wrong.mean() <= 1 - (1 - 2 * max(1, 1 / scale) / 12) ** 2
    assert (labels[~wrong] == (colors[~wrong][:, 2] - 255) * -1).mean() > 0.95


def test_a_mask_at_another_size_is_cropped_alike() -> None:
    photo, mask = _patches(48, 60)
    twice = np.kron(mask, np.ones((2, 2), dtype=np.uint8))
    transform = TrainTransform(CropSettings(40, scale=(1.0, 1.0)))
    for seed in range(10):
        small, large = transform.cut(photo, seed, mask=mask), transform.cut(photo, seed, mask=twice)
        np.testing.assert_array_equal(small.image, large.image)
        np.testing.assert_array_equal(small.mask, large.mask)
        np.testing.assert_array_equal(small.mask, 255 - small.image[..., 2])


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_a_mask_changes_nothing_of_the_crop(jitter: float) -> None:
    photo, mask = _patches(60, 84)
    with_mask, without = (TrainTransform(CropSettings(48, jitter=jitter)) for _ in range(2))
    for seed in range(40):
        crop, (image, box) = with_mask.cut(photo, seed, mask=mask), without(photo, seed)
        np.testing.assert_array_equal(crop.image, image)
        assert crop.box == box


def test_importing_opens_no_connection_and_warns_of_nothing() -> None:
    code = (
        "import socket, os; os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import afa_wsss.data.loading.transforms"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
