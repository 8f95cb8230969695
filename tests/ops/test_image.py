from __future__ import annotations

import pytest
import torch

from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD, normalize, sample_centers, truncated


def every_value():
    """A photo with all 256 values in each channel."""
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)


def test_normalization_divides_by_imagenets_deviation_after_its_mean():
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(normalize(every_value()) * std + mean, every_value().float())


def test_truncation_is_the_round_trip_by_hand():
    """One value at a time, in float32: (x - mean) / std * std + mean without its fraction."""
    found = truncated(every_value().float() / 255) * 255
    for channel in range(3):
        mean, std = torch.tensor(IMAGENET_MEAN[channel]), torch.tensor(IMAGENET_STD[channel])
        for value in range(256):
            back = (torch.tensor(float(value)) - mean) / std * std + mean
            place = found[0, channel, value // 16, value % 16]
            assert place.item() == pytest.approx(max(0, int(back)), abs=1e-4)


def test_truncation_lowers_few_values_by_one():
    lost = (every_value().float() - truncated(every_value().float() / 255) * 255).round()
    assert set(lost.unique().tolist()) == {0.0, 1.0}
    assert lost.mean() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_truncation_stays_in_range_and_in_float32(dtype):
    photo = torch.rand(2, 3, 8, 8).to(dtype)
    found = truncated(photo)
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize(("full", "size"), [((8, 12), (4, 6)), ((9, 5), (3, 2)), ((4, 4), (4, 4)), ((5, 7), (8, 6))])
def test_samples_are_those_at_the_centers_of_the_pixels(full, size):
    maps = torch.randint(0, 255, full, dtype=torch.uint8)
    rows, columns = (
        [int((place + 0.5) * old / new) for place in range(new)] for old, new in zip(full, size, strict=True)
    )
    assert sample_centers(maps, size).tolist() == [[maps[row, column] for column in columns] for row in rows]
