from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afa_wsss.report.ticks import MINUS, round_ticks, short_text, tick_texts


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_few_round_and_inside(low, width, most):
    high = low + width
    ticks = round_ticks(low, high, most)
    assert 1 <= len(ticks) <= most
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(set(tick_texts(ticks))) == len(ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (9, 449, [100, 200, 300, 400]), (0, 20000, [0, 5000, 10000, 15000, 20000])],
)
def test_ticks_of_usual_ranges(low, high, expected):
    assert round_ticks(low, high) == expected


def test_ticks_of_tiny_values_keep_their_digits():
    assert round_ticks(0, 1e-12) == pytest.approx([0, 5e-13, 1e-12], abs=0)


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1"]),
        ([-3.2e6, -3e6, -0.5e6, 0], [f"{MINUS}3.2M", f"{MINUS}3M", f"{MINUS}0.5M", "0"]),
        ([500, 1000, 1500], ["0.5k", "1k", "1.5k"]),
        ([3_000_001, 3_000_002], ["3.000001M", "3.000002M"]),
        ([], []),
    ],
)
def test_texts_of_ticks_share_a_unit_and_differ(ticks, expected):
    assert tick_texts(ticks) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-3.04e6, f"{MINUS}3.04M"),
        (50.04, "50.0"),
        (450.0, "450"),
        (1234.0, "1.23k"),
        (999.9, "1.00k"),
        (0.0302, "0.0302"),
        (2.5e-7, f"2.50e{MINUS}07"),
        (5e15, "5.00e+03T"),
        (0.0, "0"),
    ],
)
def test_numbers_are_short(value, expected):
    assert short_text(value, digits=3, zeros=True) == expected
