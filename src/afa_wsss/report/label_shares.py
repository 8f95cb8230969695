"""How much of the photos labels call what: the table, the curves, and a warning where that is nearly all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from afa_wsss.report.charts import Curve, Series
from afa_wsss.report.run import RunInfo
from afa_wsss.report.stages import BRANCH, REFINED_BRANCH, stage_title
from afa_wsss.report.warning import RunWarning, settings_text

TRAINING = "train/labels"
KINDS = ("foreground", "background", "unknown")
KIND_COLORS = {"foreground": "accent", "background": "line-0", "unknown": "stage-0"}
FOUND = "train/thresholds"
"""Where background scores are logged that the label maker finds itself."""

NEARLY_ALL, NEARLY_NOTHING = 95.0, 1.0
"""Shares in percent beyond which labels are worth a warning."""

MOST_CLASSES = 8
"""Classes in one chart: those with the largest shares."""


class ShareRow(NamedTuple):
    """Shares in percent of the pixels, one for each column; None for one that has no such share."""

    name: str
    shares: Sequence[float | None]


class ShareTable(NamedTuple):
    """Columns are kinds of labels, rows what they call the pixels: foreground, background, unknown, then each class."""

    columns: Sequence[str]
    kinds: Sequence[ShareRow]
    classes: Sequence[ShareRow]


def share_table(metrics: Mapping[str, float], run: RunInfo) -> ShareTable:
    """Shares of training labels, of the label maker's last stage and of the segmentation branch, as far as known."""
    columns = _columns(_last(run.stages), run.stages)
    prefixes = {name: prefix for name, prefix in columns.items() if f"{prefix}/foreground" in metrics}

    def row(name: str, what: str) -> ShareRow:
        return ShareRow(name, [metrics.get(f"{prefix}/{what}") for prefix in prefixes.values()])

    return ShareTable(
        list(prefixes), [row(kind, kind) for kind in KINDS], [row(name, f"class/{name}") for name in run.class_names]
    )


def _last(stages: Sequence[str]) -> str | None:
    """The last stage of the label maker."""
    return next((name for name in reversed(stages) if name not in (BRANCH, *REFINED_BRANCH)), None)


def _columns(labels: str | None, stages: Sequence[str]) -> dict[str, str]:
    """Where shares are logged, by the title of their column: of one stage of the label maker and of the branch."""
    shown = [*([labels] if labels else []), *(name for name in stages if name == BRANCH)]
    return {"labels in training": TRAINING} | {stage_title(name): share_key(name) for name in shown}


def share_key(stage: str) -> str:
    """What the shares of a stage are logged under, before ``/foreground`` and its kind."""
    return f"val/labels/{stage}"


def kind_series() -> list[Series]:
    """Foreground, background and unknown of the labels in training."""
    return [Series(f"{TRAINING}/{kind}", kind, KIND_COLORS[kind]) for kind in KINDS]


def threshold_series(history: Sequence[Curve], colors: Sequence[str]) -> list[Series]:
    """The background scores that the label maker found, as far as there are any, by their names."""
    keys = [curve.name for curve in history if curve.name.startswith(f"{FOUND}/")]
    titles = [key.removeprefix(f"{FOUND}/").replace("_", " ") for key in keys]
    return [Series(key, title, color) for key, title, color in zip(keys, titles, colors, strict=False)]


def class_series(history: Sequence[Curve], class_names: Sequence[str], colors: Sequence[str]) -> list[Series]:
    """The classes of the labels in training with the largest shares at the end, in the order of ``class_names``."""
    last = {curve.name: curve.points[-1][1] for curve in history if curve.points}
    keys = {f"{TRAINING}/class/{name}": name for name in class_names}
    largest = sorted((key for key in keys if key in last), key=lambda key: -last[key])[:MOST_CLASSES]
    shown = [key for key in keys if key in largest]
    return [Series(key, keys[key], color) for key, color in zip(shown, colors, strict=False)]


def label_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """A line for labels that call nearly all pixels the same, or nearly none foreground or background, and what to do.

    Labels in training, those of held-out photos that are made alike and those of the segmentation branch are judged, in
    this order, as far as they are in the flat ``metrics``; what one has said, the next does not repeat. Those of
    held-out photos are not judged while the class branch is still trained alone, those of the segmentation branch not
    before it is trained.
    """
    found: dict[str, RunWarning] = {}
    for title, prefix in _columns(run.label_stage, run.stages).items():
        if f"{prefix}/foreground" not in metrics or not _judged(prefix, run):
            continue
        for what, share, how in _extremes(metrics, prefix, run.class_names)[:1]:
            whose = "labels" if prefix == TRAINING else f"labels of held-out photos ({title})"
            percent = f"{share:.{0 if NEARLY_NOTHING <= share <= 100 - NEARLY_NOTHING else 1}f}".removesuffix(".0")
            longer = f"if the labels it learns from are right, raise {settings_text(run, 'trainer.max_steps')}"
            advice = longer if prefix == share_key(BRANCH) else _change(how, run.thresholds)
            line = f"{whose} call {percent} % of the pixels {what}: {advice}"
            found.setdefault(how, RunWarning("labels", (how,), line))
    return list(found.values())


def _judged(prefix: str, run: RunInfo) -> bool:
    """Whether labels have reached the state in which extreme shares mean something."""
    if prefix == TRAINING or run.trained is None:
        return True
    return "pseudo_label" in run.trained if prefix == share_key(BRANCH) else "pseudo_label" not in run.pending


def _extremes(metrics: Mapping[str, float], prefix: str, class_names: Sequence[str]) -> list[tuple[str, float, str]]:
    """What labels call nearly all or nothing, its share, and which thresholds would give less of it."""
    foreground, background, unknown = (metrics[f"{prefix}/{kind}"] for kind in KINDS)
    classes = {name: metrics.get(f"{prefix}/class/{name}", 0.0) for name in class_names}
    most = [(name, share) for name, share in classes.items() if share > NEARLY_ALL] or [("foreground", foreground)]
    cases = [
        (foreground > NEARLY_ALL, *most[0], "higher"),
        (background > NEARLY_ALL, "background", background, "lower"),
        (unknown > NEARLY_ALL, "unknown", unknown, "closer"),
        (foreground < NEARLY_NOTHING, "foreground", foreground, "lower"),
        (background < NEARLY_NOTHING, "background", background, "higher"),
    ]
    return [(what, share, how) for is_so, what, share, how in cases if is_so]


def _change(how: str, thresholds: Mapping[str, float]) -> str:
    """What to do if the pictures show that the labels are wrong."""
    if how == "closer":  # the two of training alone decide what is unknown
        thresholds = {name: value for name, value in thresholds.items() if not name.endswith("background")}
    if not thresholds:
        return "look at the pictures before you trust the masks"
    *others, last = (f"{name} (now {value:g})" for name, value in thresholds.items())
    names = f"{', '.join(others)} and {last}" if others else last
    changed = f"{names} closer together" if how == "closer" else f"{how} {names}"
    return f"if the pictures show that this is wrong, train again with {changed}"
