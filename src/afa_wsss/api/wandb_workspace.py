"""A workspace of wandb: a view of a project with the charts that tell how a run of ``afa-train`` went.

Needs the extra ``workspace``; nothing else imports its package.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import wandb

from afa_wsss.errors import UserError
from afa_wsss.training.callbacks.wandb_files import OBJECTIVE
from afa_wsss.training.loggers import STEP

if TYPE_CHECKING:
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports.v2 import interface as panels

EXTRA = 'pip install "afa-wsss[workspace]"'

STAGES = {
    "CAM": "val/cam_miou",
    "CAM + PAR": "val/cam_par_miou",
    "walk": "val/walk_miou",
    "walk + PAR, the pseudo labels": "val/pseudo_label_miou",
    "segmentation branch": "val/miou",
}
"""mIoU by prediction stage, in the order of the method."""

REFINED = ("val/par_miou", "val/crf_miou")
"""The branch after ``inference.refinement``; the dense CRF is scored once, after training."""

SHARES = ("foreground", "background", "unknown")
THRESHOLDS = ("low", "high", "background", "walk_low", "walk_high", "walk_background")


@dataclass(frozen=True)
class WandbWorkspaceSettings:
    """Where the workspace is saved.

    Attributes:
        entity: User or team.
        project: Its project, ``logger.wandb.project`` of the runs.
        name: Name of the view.
    """

    entity: str
    project: str = "afa_wsss"
    name: str = "AFA"


def save_workspace(settings: WandbWorkspaceSettings) -> str:
    """Saves a new view.

    Returns:
        Its address.

    Raises:
        UserError: Without the extra, and for what wandb refuses.
    """
    made = make_workspace(settings)
    try:
        return str(made.save().url)  # type: ignore[no-untyped-call]  # of wandb
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"need a project that wandb lets you write to, got {reason}", arguments=("entity", "project")
        ) from error


def make_workspace(settings: WandbWorkspaceSettings) -> workspaces.Workspace:
    """The view, not yet saved; the runs with the highest score come first.

    Raises:
        UserError: Without the extra.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError(f"need wandb-workspaces, got none; {EXTRA}")
    from wandb_workspaces import workspaces

    return workspaces.Workspace(
        entity=settings.entity,
        project=settings.project,
        name=settings.name,
        sections=[
            _section("Scores by stage", _scores()),
            _section("Losses", _losses()),
            _section("Learning rates and throughput", _pace()),
            _section("Labels", _labels()),
            _section("Classes", _classes(), columns=2),
            _section("Photos", _photos(), columns=1),
        ],
        settings=workspaces.WorkspaceSettings(x_axis=STEP),
        runset_settings=workspaces.RunsetSettings(
            order=[workspaces.Ordering(workspaces.Summary(OBJECTIVE), ascending=False)]
        ),
    )


def _section(name: str, charts: list[panels.PanelTypes], *, columns: int = 3) -> workspaces.Section:
    from wandb_workspaces import workspaces

    rows = -(-len(charts) // columns)
    layout = workspaces.SectionLayoutSettings(columns=columns, rows=rows)
    return workspaces.Section(name=name, panels=charts, is_open=True, layout_settings=layout)


def _lines(title: str, *metrics: str) -> panels.LinePlot:
    from wandb_workspaces.reports.v2 import interface as panels

    return panels.LinePlot(title=title, x=STEP, y=list(metrics))


def _family(title: str, pattern: str) -> panels.LinePlot:
    """Curves of all metrics whose names match: those of losses and optimizers are the user's."""
    from wandb_workspaces.reports.v2 import interface as panels

    return panels.LinePlot(title=title, x=STEP, metric_regex=pattern)


def _scores() -> list[panels.PanelTypes]:
    from wandb_workspaces.reports.v2 import interface as panels

    stages = [_lines(f"mIoU: {title}", metric) for title, metric in STAGES.items()]
    return [*stages, panels.BarPlot(title="mIoU: refined branch", metrics=list(REFINED))]


def _losses() -> list[panels.PanelTypes]:
    return [_lines("total loss", "train/loss"), _family("losses", "^train/.*_loss$")]


def _pace() -> list[panels.PanelTypes]:
    return [_family("learning rates", "^lr-"), _lines("images per second", "train/images_per_second")]


def _labels() -> list[panels.PanelTypes]:
    """Shares of the pixels, and scores of the background where they are ``auto``."""
    shares = [
        _lines(f"{what} of the labels, %", f"train/labels/{what}", f"val/labels/pseudo_label/{what}") for what in SHARES
    ]
    found = [f"train/thresholds/{name}" for name in THRESHOLDS]
    by_class = _family("pixels of each class in the labels, %", "^val/labels/pseudo_label/class/")
    return [*shares, by_class, _lines("background scores found by auto", *found)]


def _classes() -> list[panels.PanelTypes]:
    """What ``ClassTable`` draws, and the class branch."""
    from wandb_workspaces.reports.v2 import interface as panels

    bars = panels.CustomChart(
        query={"summaryTable": {"tableKey": "val/iou_bars_table"}},
        chart_name="wandb/bar/v0",
        chart_fields={"label": "class", "value": "IoU"},
        chart_strings={"title": "IoU of each class, percent"},
    )
    cells = panels.CustomChart(
        query={"summaryTable": {"tableKey": "val/confusion_matrix_table"}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
        chart_strings={"title": "pixels by class"},
    )
    return [bars, cells, _family("IoU of each class", "^val/iou/"), _lines("F1 of the image labels", "val/class_f1")]


def _photos() -> list[panels.PanelTypes]:
    from wandb_workspaces.reports.v2 import interface as panels

    return [
        panels.WeavePanelSummaryTable(table_name="val/photo_table"),
        panels.MediaBrowser(media_keys=["val/montage"]),
    ]
