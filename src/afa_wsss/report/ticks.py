"""Round numbers on an axis, and numbers as short texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
"""Letters for values from a size on."""

MINUS = "\u2212"


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
    longer = ([short_text(tick, digits=digits, like=largest) for tick in ticks] for digits in range(4, 17))
    return next((texts for texts in longer if len(set(texts)) == len(set(ticks))), [repr(tick) for tick in ticks])


def short_text(value: float, *, digits: int, like: float | None = None, zeros: bool = False) -> str:
    """A number with ``digits`` significant digits and a true minus; in thousands, millions, ... where it is large.

    Args:
        value: What to write.
        digits: How many digits count.
        like: A value whose unit is taken; None for the value's own.
        zeros: Whether to keep zeros at the end, as in "50.0".
    """
    size = float(f"{abs(value if like is None else like):.{digits}g}")
    unit, letter = next(((unit, letter) for unit, letter in UNITS if size >= unit), (1.0, ""))
    text = f"{value / unit:{'#' if zeros else ''}.{digits}g}".rstrip(".").replace("-", MINUS)
    return text + letter if value else "0"
