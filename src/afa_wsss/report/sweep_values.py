"""How the score of a sweep depends on its settings: importance, means by pairs, repeats with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from afa_wsss.report.sweep_runs import SweepRun

MOST_VALUES = 6
"""A setting with more different numbers is cut into stretches with equally many runs."""

STRETCHES = 4
SEED = "seed"


class Importance(NamedTuple):
    """What a setting has to do with the score.

    Attributes:
        setting: Its name.
        share: Of the variance of the score between the setting's values, in percent, less what chance gives; None
            where no two runs have the same value.
        best: The value, or stretch of values, with the best mean score.
        mean: That mean.
    """

    setting: str
    share: float | None
    best: str
    mean: float


class Repeats(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        settings: Their values but for the seed.
        means: By score, the mean over the runs.
        spreads: By score, the standard deviation; None for a single run.
        runs: How many they are.
    """

    settings: Mapping[str, str]
    means: Mapping[str, float]
    spreads: Mapping[str, float | None]
    runs: int


class HeatMap(NamedTuple):
    """Mean scores by two settings; None where no run is."""

    row: str
    column: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[float | None]]


def number(text: str) -> float | None:
    """The number that a value is; None for a word."""
    try:
        return float(text)
    except ValueError:
        return None


def short_text(value: str) -> str:
    """A value with four significant digits, where it is a number with more letters than that needs; integers whole.

    Example:
        >>> short_text("4.962238958632114"), short_text("0.0005"), short_text("1000003"), short_text("mit_b1")
        ('4.962', '0.0005', '1000003', 'mit_b1')
    """
    found = number(value)
    return value if found is None or len(value) <= 6 or value.lstrip("+-").isdigit() else f"{found:.4g}"


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last part of each name, or all of it where another name ends alike.

    Example:
        >>> short_names(["supervision.low", "loss.affinity.weight", "loss.segmentation.weight"])["supervision.low"]
        'low'
    """
    last = {name: name.replace("/", ".").rpartition(".")[2] for name in names}
    return {name: end if list(last.values()).count(end) == 1 else name for name, end in last.items()}


def grouped(values: Sequence[str]) -> list[str]:
    """The group of each value: itself, or its stretch where there are many different numbers."""
    numbers = [number(value) for value in values]
    known = sorted({value for value in numbers if value is not None})
    if len(set(values)) <= MOST_VALUES or None in numbers:
        return list(values)
    edges = [known[round(index * (len(known) - 1) / STRETCHES)] for index in range(STRETCHES + 1)]
    texts = _texts(edges)
    places = [_stretch(value, edges) for value in numbers if value is not None]
    return [f"{texts[place - 1]} to {texts[place]}" for place in places]


def _stretch(value: float, edges: Sequence[float]) -> int:
    """Place of the upper edge of a value's stretch."""
    return next((index for index in range(1, STRETCHES) if value < edges[index]), STRETCHES)


def _texts(edges: Sequence[float]) -> list[str]:
    """With as few digits as tell them apart, from three on; integers whole."""
    if all(edge.is_integer() for edge in edges):
        return [f"{edge:.0f}" for edge in edges]
    rounded = ([f"{edge:.{digits}g}" for edge in edges] for digits in range(3, 17))
    return next((texts for texts in rounded if len(set(texts)) == len(set(edges))), [repr(edge) for edge in edges])


def ordered(groups: Sequence[str]) -> list[str]:
    """Different groups: numbers and stretches ascending, words as they come."""
    found = list(dict.fromkeys(groups))
    numbers = {group: number(group.partition(" to ")[0]) for group in found}
    return found if None in numbers.values() else sorted(found, key=lambda group: numbers[group] or 0.0)


def importances(runs: Sequence[SweepRun], metric: str) -> list[Importance]:
    """Of each setting, the most important first.

    The share is the adjusted one of an analysis of variance with one factor (epsilon squared): with n runs in k groups,
    1 - (S_within / (n - k)) / (S_all / (n - 1)), at least 0. A setting whose effect depends on another is seen by what
    it does on average; the heat maps show the rest.
    """
    scored = [run for run in runs if metric in run.scores]
    found = []
    for setting in scored[0].settings if scored else ():
        groups: dict[str, list[float]] = {}
        for group, run in zip(grouped([run.settings[setting] for run in scored]), scored, strict=True):
            groups.setdefault(group, []).append(run.scores[metric])
        best = max(groups, key=lambda group: fmean(groups[group]))
        found.append(Importance(setting, _share(list(groups.values())), best, fmean(groups[best])))
    return sorted(found, key=lambda one: -1.0 if one.share is None else one.share, reverse=True)


def _share(groups: Sequence[Sequence[float]]) -> float | None:
    values = [value for group in groups for value in group]
    free = len(values) - len(groups)
    if free < 1 or len(groups) < 2:
        return None
    middle = fmean(values)
    whole = sum((value - middle) ** 2 for value in values)
    within = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return 0.0 if whole == 0 else max(0.0, 100 * (1 - within / free * (len(values) - 1) / whole))


def heat_map(runs: Sequence[SweepRun], metric: str, row: str, column: str) -> HeatMap:
    """Means of the score by two settings."""
    scored = [run for run in runs if metric in run.scores]
    down, across = (grouped([run.settings[name] for run in scored]) for name in (row, column))
    cells: dict[tuple[str, str], list[float]] = {}
    for place, run in zip(zip(down, across, strict=True), scored, strict=True):
        cells.setdefault(place, []).append(run.scores[metric])
    rows, columns = ordered(down), ordered(across)
    means = [[fmean(cells[r, c]) if (r, c) in cells else None for c in columns] for r in rows]
    return HeatMap(row, column, rows, columns, means)


def repeats(runs: Sequence[SweepRun], names: Sequence[str]) -> list[Repeats]:
    """Means and spread over seeds, the best of ``names[0]`` first; empty where no runs differ in their seed alone."""
    together: dict[tuple[tuple[str, str], ...], list[SweepRun]] = {}
    for run in runs:
        if names[0] in run.scores and SEED in run.settings:
            key = tuple((name, value) for name, value in run.settings.items() if name != SEED)
            together.setdefault(key, []).append(run)
    if all(len(alike) < 2 for alike in together.values()):
        return []
    found = [_repeats_of(dict(key), alike, names) for key, alike in together.items()]
    return sorted(found, key=lambda one: -one.means[names[0]])


def _repeats_of(settings: Mapping[str, str], runs: Sequence[SweepRun], names: Sequence[str]) -> Repeats:
    values = {name: [run.scores[name] for run in runs if name in run.scores] for name in names}
    there = {name: scores for name, scores in values.items() if scores}
    means = {name: fmean(scores) for name, scores in there.items()}
    spreads = {name: stdev(scores) if len(scores) > 1 else None for name, scores in there.items()}
    return Repeats(settings, means, spreads, len(runs))
