"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from afa_wsss.report import charts
from afa_wsss.report.charts import Chart, Curve, Series
from afa_wsss.report.tables import STAGES, class_ious

STAGE_COLOURS = ("stage-0", "stage-1", "stage-2", "stage-3", "accent")

CHARTS = (
    (
        "Losses",
        (
            Series("train/classification_loss", "class", "line-0"),
            Series("train/segmentation_loss", "segmentation", "line-1"),
            Series("train/affinity_loss", "affinity", "line-2"),
        ),
    ),
    (
        "Validation mIoU, %",
        tuple(Series(key, stage, colour) for (stage, key), colour in zip(STAGES, STAGE_COLOURS, strict=True)),
    ),
    ("Image labels, F1 in %", (Series("val/class_f1", "class branch", "line-0"),)),
    ("Images a second", (Series("train/images_per_second", "training", "line-0"),)),
)


class Stage(NamedTuple):
    """A row of the stage table: mIoU in percent, and how much that is above the first row's."""

    name: str
    miou: float
    gain: float | None
    colour: str


class Picture(NamedTuple):
    """A picture inside the page."""

    caption: str
    data: str


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
        metrics: Flat, by name, in percent; what is missing or NaN is left out of the page.
        history: Curves of training; may be empty.
        pictures: PNG files to show, put into the page.
        settings: Shown folded away; ``name`` is the page's title.
        colours: Of the classes by name, in 0-255.

    Returns:
        The file.
    """
    known = {key: value for key, value in metrics.items() if not math.isnan(value)}
    page = _template().render(
        name=settings.get("name", "run"),
        facts=_facts(settings, known),
        stages=_stages(known),
        best_cam=(known.get("val/cam_best_miou"), known.get("val/cam_best_background")),
        classes=[(name, iou, _css(colours.get(name, (128, 128, 128)))) for name, iou in class_ious(known).items()],
        charts=_charts(history, settings.get("supervision", {})),
        pictures=[Picture(_caption(path), base64.b64encode(path.read_bytes()).decode()) for path in pictures],
        settings=yaml.safe_dump(dict(settings), sort_keys=False),
        frame=charts,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _template() -> jinja2.Template:
    text = (files("afa_wsss.report") / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _facts(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """The few numbers at the top of the page; the first is the largest."""
    scores = (
        ("mIoU of the segmentation branch", "val/miou"),
        ("mIoU of the pseudo labels", "val/pseudo_label_miou"),
        ("F1 of the image labels", "val/class_f1"),
    )
    facts = [(what, f"{metrics[key]:.1f} %") for what, key in scores if key in metrics]
    backbone = settings.get("model", {}).get("backbone")
    steps = settings.get("trainer", {}).get("max_steps")
    facts += [("backbone", str(backbone))] if backbone else []
    return facts + ([("training steps", f"{steps:,}")] if steps else [])


def _stages(metrics: Mapping[str, float]) -> list[Stage]:
    """Rows of the stage table; the first known stage has no gain."""
    rows: list[Stage] = []
    for (name, key), colour in zip(STAGES, STAGE_COLOURS, strict=True):
        if key in metrics:
            gain = metrics[key] - rows[0].miou if rows else None
            rows.append(Stage(name, metrics[key], gain, colour))
    return rows


def _charts(history: Sequence[Curve], supervision: Mapping[str, Any]) -> list[Chart]:
    """The charts that have something to show; the first two are marked where the phases of training begin."""
    phases = {"labels from CAM": supervision.get("first_step"), "from the walk": supervision.get("walk_first_step")}
    marks = {name: step for name, step in phases.items() if step is not None}
    drawn = [charts.draw_chart(title, wanted, history, marks) for title, wanted in CHARTS]
    return [chart for chart in drawn if chart is not None]


def _caption(path: Path) -> str:
    """``step_000450.png`` -> "After 450 steps"; another name as it is."""
    step = re.fullmatch(r"step_(\d+)", path.stem)
    return f"After {int(step[1]):,} steps" if step else path.stem.replace("_", " ")


def _css(colour: Sequence[int]) -> str:
    red, green, blue = colour
    return f"rgb({red}, {green}, {blue})"
