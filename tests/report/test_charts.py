from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afa_wsss.report import charts
from afa_wsss.report.charts import Curve, Series, draw_chart, round_ticks, thin_out

LOSS = Series("train/loss", "loss", "line-0")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_few_round_and_inside(low, width, most):
    high = low + width
    ticks = round_ticks(low, high, most)
    assert 1 <= len(ticks) <= most
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (9, 449, [100, 200, 300, 400]), (0, 20000, [0, 5000, 10000, 15000, 20000])],
)
def test_ticks_of_usual_ranges(low, high, expected):
    assert round_ticks(low, high) == expected


def test_long_curves_are_averaged_and_short_ones_kept():
    points = [(float(step), float(step % 2)) for step in range(1000)]
    thinned = thin_out(points, most=100)
    assert len(thinned) == 100
    assert all(value == pytest.approx(0.5) for _, value in thinned)
    assert thin_out(points[:50], most=100) == points[:50]


def test_a_chart_stays_inside_its_drawing():
    curve = Curve("train/loss", [(0, 3.0), (10, 0.0), (20, 1.0)])
    chart = draw_chart("Losses", [LOSS], [curve], {"phase": 10, "later": 500})
    assert chart is not None
    (line,) = chart.lines
    assert line.last == "1"
    assert [dot.told for dot in line.dots] == ["step 0: 3", "step 10: 0", "step 20: 1"]
    for dot in line.dots:
        assert charts.LEFT <= dot.x <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= dot.y <= charts.HEIGHT - charts.BOTTOM
    assert line.dots[0].y < line.dots[2].y < line.dots[1].y
    assert [mark.text for mark in chart.marks] == ["phase"]


def test_a_constant_curve_and_equal_steps_divide_by_nothing():
    assert draw_chart("Losses", [LOSS], [Curve("train/loss", [(5, 0.0), (5, 0.0)])]) is not None


@pytest.mark.parametrize("history", [[], [Curve("train/loss", [(0, 1.0)])], [Curve("other", [(0, 1.0), (1, 2.0)])]])
def test_no_chart_where_there_is_nothing_to_draw(history):
    assert draw_chart("Losses", [LOSS], history) is None
