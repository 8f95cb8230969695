"""Round numbers on an axis, and their texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNITS = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From which value on, by what a value is divided, and the letter after it."""


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``, their distance 1, 2 or 5 times a power of 10."""
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if _count(low, high, unit * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round((first + index) * step, digits) for index in range(_count(low, high, step))]


def _count(low: float, high: float, step: float) -> int:
    """How many multiples of ``step`` lie between ``low`` and ``high``."""
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Short texts that differ where the ticks do; large values as ``-3.2M``."""
    largest = max(map(abs, ticks), default=0.0)
    scale, letter = next(((scale, letter) for start, scale, letter in UNITS if largest >= start), (1.0, ""))
    digits = next((count for count in range(4, 16) if _are_distinct(ticks, count)), 16)
    return [f"{tick / scale:.{digits}g}{letter if tick else ''}" for tick in ticks]


def _are_distinct(ticks: Sequence[float], digits: int) -> bool:
    return len({f"{tick:.{digits}g}" for tick in ticks}) == len(ticks)
