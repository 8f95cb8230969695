from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.report.inspection import Shown, montage_row
from afa_wsss.report.overlay import heat_map, mark, overlay
from afa_wsss.report.palette import colorize

PALETTE = np.array([[0, 0, 0], [200, 30, 40]], dtype=np.uint8)


@pytest.fixture
def shown() -> Shown:
    rng = np.random.default_rng(0)
    scores = rng.random((24, 32), dtype=np.float32)
    labels = (scores > 0.5).astype(np.int64)
    return Shown(
        photo=rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),
        heat={"cam": scores, "second_walk": scores**2},
        labels={"pseudo_label": labels, "segmentation": 1 - labels},
        affinity=rng.random((3, 4), dtype=np.float32),
        point=(5, 7),
        target=labels,
    )


def test_a_row_has_its_pictures_in_order(shown: Shown):
    row = montage_row(shown, PALETTE)
    assert list(row) == [
        "photo",
        "CAM",
        "second walk",
        "affinity of a point",
        "pseudo label",
        "segmentation branch",
        "target",
    ]
    assert shown.affinity is not None
    assert shown.target is not None
    expected = {
        "photo": shown.photo,
        "second walk": heat_map(shown.photo, shown.heat["second_walk"]),
        "affinity of a point": mark(heat_map(shown.photo, shown.affinity), 5, 7, arm=4),
        "pseudo label": overlay(shown.photo, shown.labels["pseudo_label"], PALETTE),
        "target": colorize(shown.target, PALETTE),
    }
    for title, picture in expected.items():
        assert (row[title] == picture).all(), title


def test_what_is_missing_has_no_picture(shown: Shown):
    assert list(montage_row(Shown(shown.photo, {}, {}), PALETTE)) == ["photo"]
    row = montage_row(shown._replace(point=None, target=None), PALETTE)
    assert "target" not in row
    assert shown.affinity is not None
    assert (row["affinity of a point"] == heat_map(shown.photo, shown.affinity)).all()


def test_a_stage_with_scores_can_be_drawn_as_labels_too(shown: Shown):
    row = montage_row(shown._replace(labels={"cam": shown.labels["pseudo_label"]}), PALETTE)
    assert list(row) == ["photo", "CAM", "second walk", "affinity of a point", "CAM, labels", "target"]
