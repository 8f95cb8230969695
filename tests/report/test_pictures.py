from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.report.montage import montage
from afa_wsss.report.overlay import heat_map, mark, overlay
from afa_wsss.report.palette import colorize

PALETTE = np.array([[0, 0, 0], [200, 30, 40], [10, 180, 90]], dtype=np.uint8)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def label() -> np.ndarray:
    label = np.zeros((20, 30), dtype=np.uint8)
    label[5:10, 5:10], label[12:18, 12:18], label[:, 29] = 1, 2, 255
    return label


def test_colorize_gives_each_class_its_color_and_white_to_the_rest(label):
    colored = colorize(label, PALETTE)
    for value in (0, 1, 2):
        assert (colored[label == value] == PALETTE[value]).all()
    assert (colored[label == 255] == 255).all()
    assert (colorize(np.array([[7]]), PALETTE) == 255).all()


def test_overlay_leaves_the_background_and_mixes_the_rest(photo, label):
    drawn = overlay(photo, label, PALETTE, opacity=0.5, fade=0.0)
    assert (drawn[label == 0] == photo[label == 0]).all()
    expected = (photo[label == 1] * 0.5 + PALETTE[1] * 0.5).round()
    assert (drawn[label == 1] == expected).all()
    assert (overlay(photo, label, PALETTE, opacity=0.0, fade=0.0) == photo).all()


def test_overlay_fades_the_photo_to_gray(photo, label):
    gray = overlay(photo, label, PALETTE, opacity=1.0, fade=1.0)
    assert (np.ptp(gray[label == 0], axis=-1) == 0).all()
    assert (gray[label == 1] == PALETTE[1]).all()


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


def test_montage_holds_every_picture():
    red, green = (np.zeros((16, 16, 3), np.uint8) + np.array(color, np.uint8) for color in PALETTE[1:])
    sheet = montage([{"first": red, "second": green}, {"first": green, "second": red}], cell=32)
    assert sheet.shape[1] == 6 + 2 * 38
    for color in PALETTE[1:]:
        assert (sheet == color).all(axis=-1).sum() == 2 * 32 * 32


def test_montage_keeps_proportions():
    wide = np.zeros((10, 40, 3), np.uint8) + PALETTE[1]
    assert (montage([{"wide": wide}], cell=80) == PALETTE[1]).all(axis=-1).sum() == 80 * 20


def test_montage_has_a_column_for_what_any_row_has_and_leaves_cells_empty():
    red, green = (np.zeros((16, 16, 3), np.uint8) + np.array(color, np.uint8) for color in PALETTE[1:])
    sheet = montage([{"a": red}, {"b": green, "a": red}], cell=32)
    assert sheet.shape[1] == 6 + 2 * 38
    columns = {color: np.nonzero((sheet == PALETTE[color]).all(axis=-1)) for color in (1, 2)}
    assert len(columns[1][0]) == 2 * 32 * 32
    assert len(columns[2][0]) == 32 * 32
    assert columns[2][1].min() == 6 + 38
    assert columns[2][0].min() > columns[1][0].min() + 32


def test_montage_wraps_titles_and_legend_at_small_cells(photo):
    titles = ["affinity of a chosen point", "Donaudampfschifffahrt"]
    one = montage([{"a": photo, "b": photo}], cell=48)
    rows = [dict.fromkeys(titles, photo)]
    wrapped = montage(rows, cell=48)
    assert wrapped.shape[0] > one.shape[0]
    legend = [(f"a class with number {index}", (index, 0, 0)) for index in range(30)]
    with_legend = montage(rows, cell=48, legend=legend)
    assert with_legend.shape[0] > wrapped.shape[0] + 30 * 15
    assert with_legend.shape[1] == wrapped.shape[1]


@pytest.mark.parametrize("rows", [[], [{}]])
def test_montage_refuses_to_draw_nothing(rows):
    with pytest.raises(ValueError, match="need at least one picture, got none"):
        montage(rows)
