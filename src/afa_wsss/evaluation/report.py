"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from afa_wsss.evaluation.tables import STAGES, class_ious

WIDTH, HEIGHT = 420, 170
MARGIN = (10, 12, 24, 44)  # top, right, bottom, left


class Curve(NamedTuple):
    """A logged value over training steps."""

    name: str
    points: Sequence[tuple[int, float]]


class Line(NamedTuple):
    """A curve in the coordinates of its chart."""

    label: str
    path: str
    last: str


class Chart(NamedTuple):
    """Lines that share their axes."""

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


CHARTS = (
    (
        "Losses",
        {
            "train/classification_loss": "class",
            "train/segmentation_loss": "segmentation",
            "train/affinity_loss": "affinity",
        },
    ),
    (
        "Validation mIoU, %",
        {"val/cam_miou": "CAM", "val/pseudo_label_miou": "pseudo label", "val/miou": "segmentation"},
    ),
    ("Image labels, F1 in %", {"val/class_f1": "class branch"}),
    ("Images a second", {"train/images_per_second": "training"}),
)


def write_report(
    folder: Path,
    metrics: Mapping[str, float],
    history: Sequence[Curve],
    pictures: Sequence[Path],
    settings: Mapping[str, Any],
    colours: Mapping[str, Sequence[int]],
) -> Path:
    """Writes ``report.html``.

    Args:
        folder: Where to.
        metrics: Flat, by name.
        history: Curves of training; may be empty.
        pictures: PNG files to show, put into the page.
        settings: Shown folded away.
        colours: Of the classes by name.

    Returns:
        The file.
    """
    template = (files("afa_wsss.evaluation") / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    ious = {name: value for name, value in class_ious(metrics).items() if not math.isnan(value)}
    page = environment.from_string(template).render(
        name=settings.get("name", "run"),
        facts=_facts(settings, metrics),
        stages=[(stage, metrics[key], key == "val/miou") for stage, key in STAGES if key in metrics],
        best_cam=(metrics.get("val/cam_best_miou"), metrics.get("val/cam_best_background")),
        classes=[
            (name, value, "rgb({}, {}, {})".format(*colours.get(name, (128, 128, 128)))) for name, value in ious.items()
        ],
        charts=[chart for chart in (_chart(title, wanted, history) for title, wanted in CHARTS) if chart.lines],
        pictures=[base64.b64encode(path.read_bytes()).decode() for path in pictures],
        settings=yaml.safe_dump(dict(settings), sort_keys=False),
        size=(WIDTH, HEIGHT),
        margin=MARGIN,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _facts(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """The few numbers at the top of the page."""
    facts = []
    if "val/miou" in metrics:
        facts.append(("mIoU, segmentation", f"{metrics['val/miou']:.1f} %"))
    if "val/pseudo_label_miou" in metrics:
        facts.append(("mIoU, pseudo labels", f"{metrics['val/pseudo_label_miou']:.1f} %"))
    if "val/class_f1" in metrics:
        facts.append(("F1, image labels", f"{metrics['val/class_f1']:.1f} %"))
    facts.append(("backbone", str(settings.get("model", {}).get("backbone", "?"))))
    facts.append(("steps", f"{settings.get('trainer', {}).get('max_steps', 0):,}"))
    return facts


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first = math.ceil(low / step)
    return [step * index for index in range(first, math.floor(high / step) + 1)]


def _chart(title: str, wanted: Mapping[str, str], history: Sequence[Curve]) -> Chart:
    """Curves of one chart, scaled to its frame."""
    curves = {wanted[curve.name]: curve.points for curve in history if curve.name in wanted and len(curve.points) > 1}
    if not curves:
        return Chart(title, [], [], [])
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    left, right = min(steps), max(max(steps), min(steps) + 1)
    low, high = min(0.0, *values), max(values) * 1.05 or 1.0
    top, after, below, before = MARGIN

    def x(step: float) -> float:
        return before + (step - left) / (right - left) * (WIDTH - before - after)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (HEIGHT - top - below)

    lines = [
        Line(label, " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points), f"{points[-1][1]:.3g}")
        for label, points in curves.items()
    ]
    x_ticks = [(x(tick), f"{tick:,.0f}") for tick in _ticks(left, right)]
    return Chart(title, lines, x_ticks, [(y(tick), f"{tick:g}") for tick in _ticks(low, high)])
