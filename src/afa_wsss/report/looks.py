"""Where the class branch looks, class by class, and how the affinity is distributed, from the flat metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from afa_wsss.report.charts import Series
from afa_wsss.report.checks import AFFINITY, BORDER, EVIDENCE, INSIDE, OUTSIDE

KEYS = (BORDER, INSIDE, OUTSIDE, EVIDENCE)


class LookRow(NamedTuple):
    """Measures of a class; None where too few held-out photos have it, or too few do not.

    Attributes:
        name: The class.
        border: Share of its CAM's mass in the outermost tenth on each side of the photo, in percent.
        inside: AUC of the scores inside of its CAM's region, in [0, 1], for telling photos with the class.
        outside: AUC of the scores outside.
        evidence: How much scores outside rise with the class, in percent of how much those inside do.
    """

    name: str
    border: float | None
    inside: float | None
    outside: float | None
    evidence: float | None


def look_rows(metrics: Mapping[str, float], class_names: Sequence[str]) -> list[LookRow]:
    """A row for each class with any measure; ``metrics`` hold no NaN."""
    rows = []
    for name in class_names:
        border, inside, outside, evidence = (metrics.get(f"{key}/{name}") for key in KEYS)
        areas = [None if area is None else area / 100 for area in (inside, outside)]
        row = LookRow(name, border, areas[0], areas[1], None if evidence is None else max(0.0, evidence))
        rows += [row] if any(value is not None for value in row[1:]) else []
    return rows


def affinity_text(metrics: Mapping[str, float]) -> str | None:
    """A sentence on the affinity of near tokens, without a full stop; None where it is not known."""
    mean, spread, below, above = (metrics.get(f"{AFFINITY}/{what}") for what in ("mean", "spread", "below", "above"))
    if mean is None or spread is None or below is None or above is None:
        return None
    return (
        f"Affinity of near tokens: {mean:.2f} on average with a spread of {spread:.2f}; {below:.0f} % of the pairs are "
        f"below 0.01 and {above:.0f} % above 0.99"
    )


def look_series() -> dict[str, list[Series]]:
    """The curves of the measures by the title of their chart."""
    return {
        "CAM at the border, in percent of its mass": [Series(BORDER, "all classes", "line-0")],
        "What tells a class, AUC in percent": [
            Series(INSIDE, "inside of the CAM", "line-0"),
            Series(OUTSIDE, "outside", "line-1"),
        ],
        "Affinity of near tokens, in percent of the pairs": [
            Series(f"{AFFINITY}/below", "below 0.01", "line-0"),
            Series(f"{AFFINITY}/above", "above 0.99", "line-1"),
        ],
    }
