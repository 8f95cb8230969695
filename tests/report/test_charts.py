from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afa_wsss.report import charts
from afa_wsss.report.charts import (
    FAR_APART,
    Curve,
    Frame,
    Series,
    draw_chart,
    place_marks,
    split_by_magnitude,
    thin_out,
)

LOSS = Series("train/loss", "loss", "line-0")


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
    assert line.last == "1.00"
    assert [dot.text for dot in line.dots] == ["step 0: 3", "step 10: 0", "step 20: 1"]
    for dot in line.dots:
        assert chart.left <= dot.x <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= dot.y <= charts.HEIGHT - charts.BOTTOM
    assert line.dots[0].y < line.dots[2].y < line.dots[1].y
    assert [mark.text for mark in chart.marks] == ["phase"]


def test_a_constant_curve_and_equal_steps_divide_by_nothing():
    assert draw_chart("Losses", [LOSS], [Curve("train/loss", [(5, 0.0), (5, 0.0)])]) is not None


@pytest.mark.parametrize("history", [[], [Curve("train/loss", [(0, 1.0)])], [Curve("other", [(0, 1.0), (1, 2.0)])]])
def test_no_chart_where_there_is_nothing_to_draw(history):
    assert draw_chart("Losses", [LOSS], history) is None


def test_charts_of_one_history_share_their_steps():
    early, late = Curve("early", [(0, 1.0), (500, 1.0)]), Curve("late", [(600, 1.0), (1000, 1.0)])
    drawn = [draw_chart("", [Series(curve.name, "", "")], [early, late]) for curve in (early, late)]
    assert drawn[0] is not None
    assert drawn[1] is not None
    assert drawn[0].x_ticks == drawn[1].x_ticks


def test_long_numbers_on_the_axis_have_room():
    chart = draw_chart("", [LOSS], [Curve("train/loss", [(0, 3_000_001.0), (10, 3_000_002.0)])])
    assert chart is not None
    texts = [tick.text for tick in chart.y_ticks]
    assert len(set(texts)) == len(texts)
    assert chart.left > charts.LETTER * max(map(len, texts))


def test_texts_of_marks_do_not_cover_each_other_nor_leave_the_drawing():
    frame = Frame(0, 1000, 0, 1)
    marks = {"the first phase of all": 100, "the second phase": 150, "the third": 900, "before": 0, "after": 1000}
    first, second, third = place_marks(marks, frame)
    assert (first.text, second.text, third.text) == ("the first phase of all", "the second phase", "the third")
    assert second.y > first.y == third.y
    assert [mark.leftward for mark in (first, second, third)] == [False, False, True]


def test_marks_push_the_curves_down():
    curve = Curve("train/loss", [(0, 1.0), (1000, 2.0)])
    chart = draw_chart("", [LOSS], [curve], {"the first phase of all": 100, "the second phase": 150})
    assert chart is not None
    assert all(dot.y > mark.y for dot in chart.lines[0].dots for mark in chart.marks)


def test_losses_far_apart_have_charts_of_their_own():
    values = {"classification": 0.7, "regularization": -3e6, "affinity": 0.3, "tiny": 2e-4, "absent": None}
    wanted = [Series(name, name, "line-0") for name in values]
    history = [Curve(name, [(0, value), (1, value / 2)]) for name, value in values.items() if value is not None]
    groups = [[series.name for series in group] for group in split_by_magnitude(wanted, history)]
    assert groups == [["classification", "affinity"], ["regularization"], ["tiny"]]


def test_a_loss_of_zero_is_drawn_among_the_smallest():
    wanted = [Series(name, name, "line-0") for name in ("zero", "large", "small")]
    history = [Curve("zero", [(0, 0.0)]), Curve("large", [(0, 1e6)]), Curve("small", [(0, 1.0)])]
    groups = [[series.name for series in group] for group in split_by_magnitude(wanted, history)]
    assert groups == [["zero", "small"], ["large"]]
    assert split_by_magnitude(wanted[:1], history) == [wanted[:1]]


@given(st.lists(st.floats(-1e9, 1e9), max_size=8))
def test_each_loss_is_in_one_group_and_readable_in_it(values):
    wanted = [Series(str(index), "", "") for index in range(len(values))]
    history = [Curve(series.name, [(0, value)]) for series, value in zip(wanted, values, strict=True)]
    groups = split_by_magnitude(wanted, history)
    assert sorted(series.name for group in groups for series in group) == sorted(series.name for series in wanted)
    for group in groups:
        sizes = [abs(values[int(series.name)]) for series in group]
        assert all(size == 0 or size * FAR_APART >= max(sizes) for size in sizes)


def test_the_range_of_steps_reaches_what_is_marked():
    """A run that ended because a loss was not finite has no value there."""
    history = [Curve("loss", [(0, 1.0), (9, 2.0)])]
    chart = draw_chart("Loss", [Series("loss", "loss", "ink")], history, {"not finite": 12}, until=13)
    (mark,) = chart.marks
    assert mark.text == "not finite"
    assert float(chart.lines[0].path.split()[-1].split(",")[0]) < mark.x
