"""What the report shows of a run beside its scores."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from afa_wsss.api.config_file import as_yaml
from afa_wsss.report.results import RunInfo
from afa_wsss.training.module import AFAModule


def run_info(
    module: AFAModule,
    name: str,
    *,
    facts: list[tuple[str, str]],
    config: Mapping[str, Any],
    losses: tuple[str, ...] = (),
    last_step: int = sys.maxsize,
) -> RunInfo:
    """What the report shows of a run beside its scores; ``last_step`` is the training step whose labels are judged."""
    thresholds = module.label_maker.thresholds(step=last_step)
    return RunInfo(
        name=name,
        class_names=module.class_names,
        palette=module.palette,
        stages=module.scores.stages,
        losses=losses,
        marks=module.label_maker.marks(),
        facts=facts,
        settings=as_yaml(config),
        thresholds={f"supervision.{name}": value for name, value in thresholds.items()},
    )


def backbone_name(backbone: Any) -> str:
    """The name of a backbone: its own, or its class's."""
    if isinstance(backbone, partial):
        backbone = backbone.func
    return backbone if isinstance(backbone, str) else str(getattr(backbone, "__name__", type(backbone).__name__))
