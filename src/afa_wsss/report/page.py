"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from afa_wsss.data.files.whole import whole_file
from afa_wsss.report import charts
from afa_wsss.report.charts import Chart, Curve, Series
from afa_wsss.report.image_labels import class_ious, image_label_rows, left_out
from afa_wsss.report.label_shares import class_series, kind_series, share_key, share_table, threshold_series
from afa_wsss.report.looks import affinity_text, look_rows, look_series
from afa_wsss.report.run import RunInfo
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.report.stages import (
    BRANCH,
    CLASS_F1,
    IMAGES_PER_SECOND,
    REFINED_BRANCH,
    TOTAL_LOSS,
    StageScore,
    loss_key,
    loss_title,
    stage_key,
    stage_scores,
    stage_title,
)
from afa_wsss.report.templates import page_template

BRANCH_COLORS = {BRANCH: "accent"} | dict.fromkeys(REFINED_BRANCH, "accent-deep")
STAGE_COLORS, LINE_COLORS = tuple(f"stage-{i}" for i in range(8)), tuple(f"line-{i}" for i in range(8))
"""Colors that ``page.html`` defines; they repeat where there are more stages or losses."""


class StageRow(NamedTuple):
    """A row of the stage table; ``gain`` is how much the mIoU is above the first row's, None in the first."""

    score: StageScore
    gain: float | None
    color: str
    main: bool


class ClassRow(NamedTuple):
    """IoU of a class in percent, and its color as CSS."""

    name: str
    iou: float
    color: str


class Picture(NamedTuple):
    """A picture inside the page, as base64."""

    caption: str
    data: str


def write_report(
    folder: Path, metrics: Mapping[str, float], run: RunInfo, history: Sequence[Curve], pictures: Sequence[Path]
) -> Path:
    """Writes ``report.html``.

    Args:
        folder: Must exist.
        metrics: Flat, by name, in percent; what is missing or NaN is left out of the page.
        run: Name, classes, stages, losses and settings.
        history: Curves of training; may be empty.
        pictures: PNG files to put into the page.

    Returns:
        The file.
    """
    known = {key: value for key, value in metrics.items() if not math.isnan(value)}
    page = page_template("page.html").render(
        name=run.name,
        facts=_facts(known, run),
        warnings=[warning.line for warning in run_warnings(known, run)],
        stages=_stages(known, run.stages),
        classes=_classes(known, run),
        image_labels=image_label_rows(metrics) if CLASS_F1 in known else [],
        left_out=left_out(metrics),
        looks=look_rows(known, run.class_names),
        affinity=affinity_text(known),
        shares=share_table(known, run),
        colors=_class_colors(run),
        charts=_charts(history, run),
        pictures=[Picture(_caption(path), base64.b64encode(path.read_bytes()).decode()) for path in pictures],
        settings=run.settings,
        frame=charts,
    )
    path = folder / "report.html"
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def stage_colors(stages: Sequence[str]) -> dict[str, str]:
    """Names of the template's colors: the branch has the accent, the other stages a color each in turn."""
    others = [name for name in stages if name not in BRANCH_COLORS]
    turn = {name: STAGE_COLORS[index % len(STAGE_COLORS)] for index, name in enumerate(others)}
    return turn | BRANCH_COLORS


def _facts(metrics: Mapping[str, float], run: RunInfo) -> list[tuple[str, str]]:
    """The head of the page: scores of predictions, of the label maker's last stage and of the image labels; facts."""
    scored = [name for name in run.stages if stage_key(name) in metrics]
    branch = [name for name in scored if name in BRANCH_COLORS]
    made = [name for name in scored if name not in BRANCH_COLORS]
    scores = [(f"mIoU of the {stage_title(name)}", stage_key(name)) for name in (*branch[-1:], *made[-1:])]
    scores.append(("F1 of the image labels", CLASS_F1))
    return [(what, f"{metrics[key]:.1f} %") for what, key in scores if key in metrics] + list(run.facts)


def _stages(metrics: Mapping[str, float], stages: Sequence[str]) -> list[StageRow]:
    scores, colors = stage_scores(metrics, stages), stage_colors(stages)
    return [
        StageRow(score, score.miou - scores[0].miou if index else None, colors[score.name], score.name == BRANCH)
        for index, score in enumerate(scores)
    ]


def _classes(metrics: Mapping[str, float], run: RunInfo) -> list[ClassRow]:
    colors = _class_colors(run)
    return [ClassRow(name, iou, colors.get(name, "gray")) for name, iou in class_ious(metrics).items()]


def _class_colors(run: RunInfo) -> dict[str, str]:
    """Colors of background and classes as CSS."""
    names = ("background", *run.class_names)
    return {name: _css(color) for name, color in zip(names, run.palette.tolist(), strict=True)}


def _charts(history: Sequence[Curve], run: RunInfo) -> list[Chart]:
    """The charts that have something to show; marked where a phase begins, losses where they were not finite."""
    begins, until = _not_finite_mark(run), max(run.not_finite, default=-1) + 1
    colors = stage_colors(run.stages)
    stages = [Series(stage_key(name), stage_title(name), colors[name]) for name in run.stages]
    drawn = [
        *(
            charts.draw_chart(title, group, history, {**run.marks, **begins}, until=until)
            for title, group in _loss_groups(history, run.losses)
        ),
        charts.draw_chart("Validation mIoU in percent", stages, history, run.marks),
        charts.draw_chart("F1 of the image labels in percent", [Series(CLASS_F1, "class branch", "line-0")], history),
        *_share_charts(history, run),
        *(charts.draw_chart(title, series, history, run.marks) for title, series in look_series().items()),
        charts.draw_chart("Images per second", [Series(IMAGES_PER_SECOND, "training", "line-0")], history),
    ]
    return [chart for chart in drawn if chart is not None]


def _not_finite_mark(run: RunInfo) -> dict[str, int]:
    """Where losses or gradients were first not finite."""
    return {"not finite": min(run.not_finite)} if run.not_finite else {}


def _share_charts(history: Sequence[Curve], run: RunInfo) -> list[Chart | None]:
    """What labels call the pixels, in training and on held-out photos, and the background scores that were found."""
    colors = stage_colors(run.stages)
    stages = [Series(f"{share_key(name)}/foreground", stage_title(name), colors[name]) for name in run.stages]
    classes = class_series(history, run.class_names, LINE_COLORS) if len(run.class_names) > 1 else []
    drawn = {
        "Labels in training, in percent of the pixels": kind_series(),
        "Labels in training by class, in percent of the pixels": classes,
        "Foreground of held-out photos, in percent of the pixels": stages,
        "Background scores that were found": threshold_series(history, LINE_COLORS),
    }
    whole = (0.0, 100.0)
    return [
        charts.draw_chart(title, series, history, run.marks, limits=whole if index == 0 else None)
        for index, (title, series) in enumerate(drawn.items())
    ]


def _loss_groups(history: Sequence[Curve], losses: Sequence[str]) -> list[tuple[str, list[Series]]]:
    """Losses and their weighted sum, those of one magnitude together, and the title of each chart."""
    wanted = [
        Series(loss_key(name), loss_title(name), LINE_COLORS[index % len(LINE_COLORS)])
        for index, name in enumerate(losses)
    ]
    if len(losses) > 1:
        wanted.append(Series(TOTAL_LOSS, "total, weighted", "ink"))
    groups = charts.split_by_magnitude(wanted, history)
    shared = [group for group in groups if len(group) > 1]
    return [(_losses_title(group, alone=len(shared) <= 1), group) for group in groups]


def _losses_title(group: Sequence[Series], *, alone: bool) -> str:
    """The title of a chart of losses; it names them where another chart holds several losses too."""
    if len(group) == 1:
        return f"Loss: {group[0].label}"
    return "Losses" if alone else f"Losses: {', '.join(series.label for series in group)}"


def _caption(path: Path) -> str:
    """``step_000450.png`` -> "After 450 steps"; another name as it is."""
    step = re.fullmatch(r"step_(\d+)", path.stem)
    return f"After {int(step[1]):,} steps" if step else path.stem.replace("_", " ")


def _css(color: Sequence[int]) -> str:
    red, green, blue = color
    return f"rgb({red}, {green}, {blue})"
