"""How much crops show of their photos, against crops that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.samples import Noise

from afa_wsss.data import CropSettings, DataSettings
from afa_wsss.data.checks.crops import OBJECT, check_crops, crops_that_miss, photo_sizes
from afa_wsss.data.formats.folder import FolderDataset


def drawn(size: tuple[int, int], settings: CropSettings, count: int = 20_000) -> tuple[float, float]:
    """Share of the area that crops show, and share of crops without the object, of crops drawn at random."""
    rng = np.random.default_rng(0)
    seen, shows = np.ones(count), np.ones(count, dtype=bool)
    scale = rng.uniform(*settings.scale, count)
    for side in size:
        length = side * scale
        start = rng.uniform(size=count) * np.maximum(0, length - settings.crop_size)
        end = np.minimum(start + settings.crop_size, length)
        seen *= (end - start) / length
        first = rng.uniform(size=count) * (1 - OBJECT) * length
        shows &= (start < first + OBJECT * length) & (end > first)
    return seen.mean(), 1 - shows.mean()


@pytest.mark.parametrize("size", [(375, 500), (768, 1024), (3000, 4000), (100, 4000)])
@pytest.mark.parametrize("scale", [(0.5, 2.0), (1.0, 1.0)])
def test_shares_are_those_of_crops_drawn_at_random(size: tuple[int, int], scale: tuple[float, float]) -> None:
    settings = CropSettings(crop_size=320, scale=scale)
    found = crops_that_miss([size], settings)
    assert found == pytest.approx(drawn(size, settings), abs=0.015)


def test_each_photo_counts_once_at_the_size_it_is_shrunk_to() -> None:
    settings = CropSettings(crop_size=64)
    large, small = (crops_that_miss([size], settings, max_side=256) for size in ((1024, 1024), (128, 128)))
    both = crops_that_miss([(1024, 1024)] * 3 + [(128, 128)], settings, max_side=256)
    assert both.missing == pytest.approx(0.75 * large.missing + 0.25 * small.missing)
    assert large == pytest.approx(crops_that_miss([(256, 256)], settings))


def test_a_crop_of_the_whole_photo_misses_nothing() -> None:
    assert crops_that_miss([(256, 256)], CropSettings(crop_size=512)) == (1, 0)


@pytest.fixture
def photos(tmp_path: Path) -> FolderDataset:
    (tmp_path / "cat").mkdir()
    for number in range(4):
        Image.new("RGB", (400, 300)).save(tmp_path / "cat" / f"{number}.jpg")
    (tmp_path / "cat" / "4.jpg").write_bytes(b"")
    return FolderDataset(tmp_path, "all")


def test_sizes_come_from_headers_of_readable_photos(photos: FolderDataset) -> None:
    assert photo_sizes(photos) == [(300, 400)] * 4
    assert len(photo_sizes(photos, most=2)) == 1  # the first and the last, which is empty
    assert photo_sizes(Noise()) == []


def test_a_warning_names_shares_and_a_setting_that_is_enough(photos: FolderDataset) -> None:
    settings = DataSettings(crop_size=64)
    (problem,) = check_crops(photos, settings)
    assert (problem.level, problem.name) == ("warning", "data.crop_size")
    assert "crops of 64 pixels show 3% of a photo on average, and 69% of them show nothing" in problem.message
    assert "; set data.max_side=128 or raise data.crop_size" in problem.message
    assert not check_crops(photos, DataSettings(crop_size=64, max_side=128))
    assert not check_crops(photos, DataSettings(crop_size=320))
    assert not check_crops(Noise(), settings)
