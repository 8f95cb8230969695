"""Properties of where pixels end up: in crops, in batches, in masks on disk, and in labels made inside a box."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afa_wsss.data.files.masks import read_mask, write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.formats.folder_labels.reading import TaggedPhoto
from afa_wsss.data.formats.folder_labels.splits import hold_out
from afa_wsss.data.loading.sets import Item, collate
from afa_wsss.data.loading.settings import CropSettings
from afa_wsss.data.loading.transforms import PADDING, TrainTransform
from afa_wsss.ops.affinity import affinity_labels
from afa_wsss.ops.pseudo_label import box_mask, combine
from afa_wsss.types import IGNORE_INDEX

SEEDS = st.integers(0, 2**32 - 1)


def _places(height: int, width: int) -> np.ndarray:
    """Each pixel encodes its position, red its column and green its row, so that a crop shows where it is from."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    return image


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(8, 200),
    width=st.integers(8, 200),
    scale=st.floats(0.5, 2.0),
    mirror=st.sampled_from([0.0, 1.0]),
    crop_size=st.integers(32, 160),
    seed=SEEDS,
)
def test_a_crop_shows_one_window_of_the_scaled_photo(
    height: int, width: int, scale: float, mirror: float, crop_size: int, seed: int
) -> None:
    """Positions in the box are ``1 / scale`` apart, in order, or from right to left where mirrored."""
    transform = TrainTransform(CropSettings(crop_size, scale=(scale, scale), mirror=mirror))
    crop, (y0, y1, x0, x1) = transform(_places(height, width), seed)
    inside = crop[y0:y1, x0:x1].astype(float)
    columns, rows = inside[0, :, 0], inside[:, 0, 1]
    assert np.abs(inside[..., 0] - columns).max() <= 1  # OpenCV rounds
    assert np.abs(inside[..., 1] - rows[:, None]).max() <= 1
    for places, length, reversed_order in ((columns, width, mirror == 1), (rows, height, False)):
        ordered = places[::-1] if reversed_order else places
        step = length / max(1, round(length * scale))
        np.testing.assert_allclose(ordered - ordered[0], step * np.arange(len(ordered)), atol=1.5 + step)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5), with_masks=st.booleans()
)
def test_a_batch_holds_each_whole_photo_and_padding(sizes: list[tuple[int, int]], with_masks: bool) -> None:
    rng = np.random.default_rng(0)
    items = []
    for h, w in sizes:
        image, mask = rng.integers(0, 256, (h, w, 3), dtype=np.uint8), rng.integers(0, 3, (h, w), dtype=np.uint8)
        items.append(Item(image, np.ones(2, dtype=np.float32), (0, h, 0, w), "a", mask if with_masks else None))
    batch = collate(items)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    assert batch.images.shape == (len(sizes), 3, height, width)
    inside = box_mask(batch.boxes, height, width)
    for row, item in enumerate(items):
        h, w = sizes[row]
        np.testing.assert_array_equal(batch.images[row, :, :h, :w].permute(1, 2, 0).numpy(), item.image)
        padding = batch.images[row].permute(1, 2, 0)[~inside[row]]
        assert (padding == torch.tensor(PADDING, dtype=torch.uint8)).all()
        if batch.masks is not None:
            np.testing.assert_array_equal(batch.masks[row, :h, :w].numpy(), item.mask)
            assert (batch.masks[row][~inside[row]] == IGNORE_INDEX).all()
    assert (batch.masks is not None) == with_masks


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), classes=st.integers(2, 255), seed=SEEDS)
def test_masks_are_read_as_they_were_written(height: int, width: int, classes: int, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)
    label[0, 0] = IGNORE_INDEX
    with tempfile.TemporaryDirectory() as folder:
        write_mask(Path(folder) / "a.png", label, voc_palette(classes))
        np.testing.assert_array_equal(read_mask(Path(folder) / "a.png", classes), label)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(32, 64), width=st.integers(32, 64), data=st.data(), seed=SEEDS)
def test_labels_stay_inside_the_box(height: int, width: int, data: st.DataObject, seed: int) -> None:
    """Outside of the box no pixel is labeled, and no pair of tokens with one of them outside counts."""
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.randint(0, 4, (1, height, width), generator=generator).to(torch.uint8) for _ in range(2))
    box = torch.tensor([[y0, y1, x0, x1]])
    inside, label = box_mask(box, height, width), combine(low, high, box)
    assert int(inside.sum()) == (y1 - y0) * (x1 - x0)
    assert (label[~inside] == IGNORE_INDEX).all()
    grid = (height // 16, width // 16)
    pairs = affinity_labels(label, grid=grid, radius=8)[0]
    outside = (pairs.diagonal() == IGNORE_INDEX).nonzero().ravel()
    assert (pairs[outside] == IGNORE_INDEX).all()
    assert (pairs[:, outside] == IGNORE_INDEX).all()
    assert (pairs == pairs.T).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True))
def test_which_photos_are_held_out_does_not_depend_on_their_order(files: list[str]) -> None:
    def held_out(order: list[str]) -> set[str]:
        tagged = [TaggedPhoto(file, ("dog",)) for file in order]
        flags = hold_out(tagged, order, [False] * len(order)).flags
        return {photo.file for photo, out in zip(tagged, flags, strict=True) if out}

    assert 0 < len(held_out(files)) < len(files)
    assert held_out(files) == held_out(files[::-1])
