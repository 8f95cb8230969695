from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.report import colorize, heat_map, mark, montage, overlay

PALETTE = np.array([[0, 0, 0], [200, 30, 40], [10, 180, 90]], dtype=np.uint8)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def label() -> np.ndarray:
    label = np.zeros((20, 30), dtype=np.uint8)
    label[5:10, 5:10], label[12:18, 12:18], label[:, 29] = 1, 2, 255
    return label


def test_colorize_gives_each_class_its_colour_and_white_to_the_rest(label):
    coloured = colorize(label, PALETTE)
    for value in (0, 1, 2):
        assert (coloured[label == value] == PALETTE[value]).all()
    assert (coloured[label == 255] == 255).all()
    assert (colorize(np.array([[7]]), PALETTE) == 255).all()


def test_overlay_leaves_the_background_and_mixes_the_rest(photo, label):
    drawn = overlay(photo, label, PALETTE, opacity=0.5, fade=0.0)
    assert (drawn[label == 0] == photo[label == 0]).all()
    expected = (photo[label == 1] * 0.5 + PALETTE[1] * 0.5).round()
    assert (drawn[label == 1] == expected).all()
    assert (overlay(photo, label, PALETTE, opacity=0.0, fade=0.0) == photo).all()


def test_overlay_fades_the_photo_to_grey(photo, label):
    grey = overlay(photo, label, PALETTE, opacity=1.0, fade=1.0)
    assert (np.ptp(grey[label == 0], axis=-1) == 0).all()
    assert (grey[label == 1] == PALETTE[1]).all()


def test_heat_map_grows_with_the_score_and_takes_any_size(photo):
    scores = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 12).repeat(8, axis=0)
    drawn = heat_map(photo, scores, opacity=1.0)
    assert drawn.shape == photo.shape
    assert drawn[:, -1].sum() > drawn[:, 15].sum() > drawn[:, 0].sum()
    assert (heat_map(photo, scores - 5, opacity=1.0) == heat_map(photo, np.zeros((1, 1)), opacity=1.0)).all()


@pytest.mark.parametrize(("row", "column"), [(10, 10), (0, 0), (19, 29)])
def test_mark_draws_a_cross_and_changes_nothing_else(photo, row, column):
    before = photo.copy()
    drawn = mark(photo, row, column, arm=3)
    assert (photo == before).all()
    assert (drawn[row, column] == 255).all()
    far = (abs(np.arange(20) - row)[:, None] > 4) | (abs(np.arange(30) - column)[None] > 4)
    assert (drawn[far] == photo[far]).all()


def test_montage_holds_every_picture(photo):
    red, green = (np.zeros((16, 16, 3), np.uint8) + np.array(colour, np.uint8) for colour in PALETTE[1:])
    sheet = montage([[red, green], [green, red]], ["first", "second"], cell=32)
    assert sheet.shape[1] == 6 + 2 * 38
    for colour in PALETTE[1:]:
        assert (sheet == colour).all(axis=-1).sum() == 2 * 32 * 32


def test_montage_keeps_proportions(photo):
    wide = np.zeros((10, 40, 3), np.uint8) + PALETTE[1]
    assert (montage([[wide]], ["wide"], cell=80) == PALETTE[1]).all(axis=-1).sum() == 80 * 20


def test_montage_wraps_titles_and_legend_at_small_cells(photo):
    titles = ["affinity of a chosen point", "Donaudampfschifffahrt"]
    one = montage([[photo, photo]], ["a", "b"], cell=48)
    wrapped = montage([[photo, photo]], titles, cell=48)
    assert wrapped.shape[0] > one.shape[0]
    legend = [(f"a class with number {index}", (index, 0, 0)) for index in range(30)]
    with_legend = montage([[photo, photo]], titles, cell=48, legend=legend)
    assert with_legend.shape[0] > wrapped.shape[0] + 30 * 15
    assert with_legend.shape[1] == wrapped.shape[1]


def test_montage_refuses_ragged_rows(photo):
    with pytest.raises(ValueError, match=r"need 2 pictures a row, got \[1\]"):
        montage([[photo]], ["a", "b"])


def test_montage_of_no_rows_is_its_titles():
    assert montage([], ["a", "b"], cell=40).shape[1] == 6 + 2 * 46
