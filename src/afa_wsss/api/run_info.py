"""What the report shows of a run beside its scores."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from afa_wsss.api.config_file import as_yaml
from afa_wsss.api.settings import TrainSettings
from afa_wsss.losses import LossTerm
from afa_wsss.report.results import RunInfo
from afa_wsss.training.module import AFAModule
from afa_wsss.training.terms import active_terms
from afa_wsss.types import WALK_LABELS


def run_info(
    module: AFAModule,
    name: str,
    *,
    facts: list[tuple[str, str]],
    config: Mapping[str, Any],
    losses: tuple[str, ...] = (),
    terms: Mapping[str, LossTerm] | None = None,
    last_step: int = sys.maxsize,
    settle: int = 0,
) -> RunInfo:
    """What the report shows of a run beside its scores, and what its warnings have to know.

    Args:
        module: Network, label maker and losses.
        name: Title of the report.
        facts: What and value, shown at the head of the report.
        config: All settings as plain data.
        losses: Names of the loss table; empty where nothing was trained.
        terms: The loss table that the network was trained with; None where it is not known: warnings then judge all.
        last_step: Training step, from 0, whose labels are judged.
        settle: Steps that a loss term has to count before what it trains is judged.
    """
    thresholds, marks = module.label_maker.thresholds(step=last_step), module.label_maker.marks()
    return RunInfo(
        name=name,
        class_names=module.class_names,
        palette=module.palette,
        stages=module.scores.stages,
        losses=losses,
        marks=marks,
        facts=facts,
        settings=as_yaml(config),
        thresholds={f"supervision.{name}": value for name, value in thresholds.items()},
        config=config,
        trained=_trained(terms, last_step - settle) if terms else None,
        pending=_pending(terms or {}, last_step),
        begun=[title for title, step in marks.items() if step <= last_step - settle],
    )


def info_of_training(
    settings: TrainSettings, module: AFAModule, config: Mapping[str, Any], *, done: int | None = None
) -> RunInfo:
    """What the report shows of a whole run.

    Args:
        settings: Settings of the run.
        module: With the parts of the run.
        config: The settings as plain data.
        done: Steps that it was trained, where a callback may have ended it early; None for those of the settings.
    """
    wanted = settings.trainer.max_steps
    steps = min(done or wanted, wanted)
    trained = f"{steps:,}" if steps == wanted else f"{steps:,} of {wanted:,}: training ended early"
    facts = [("backbone", backbone_name(settings.model.backbone)), ("training steps", trained)]
    if (decay := settings.trainer.ema_decay) is not None:
        facts.append(("average of weights", f"decay {decay:g}, for {' and '.join(settings.trainer.ema_for)}"))
    losses = tuple(settings.loss)
    terms, last = settings.loss, steps - 1
    info = run_info(module, settings.name, facts=facts, config=config, losses=losses, terms=terms, last_step=last)
    walk = info.marks.get(WALK_LABELS, 0)
    return info._replace(never_begun=never_begun(settings), walk_never_begins=walk if walk >= steps else None)


def never_begun(settings: TrainSettings) -> dict[str, int]:
    """First steps of the loss terms that begin after the last step of the run, by name; those without weight apart."""
    late = {name: term for name, term in settings.loss.items() if term.first_step >= settings.trainer.max_steps}
    return {name: term.first_step for name, term in late.items() if term.weight > 0}


def info_at_step(settings: TrainSettings, module: AFAModule, config: Mapping[str, Any], steps: int) -> RunInfo:
    """What warnings have to know after that many training steps; what a tenth of the run has trained is judged."""
    settle = settings.trainer.max_steps // 10
    last, terms = steps - 1, settings.loss
    return run_info(module, settings.name, facts=[], config=config, terms=terms, last_step=last, settle=settle)


def _trained(losses: Mapping[str, LossTerm], step: int) -> dict[str, str]:
    """The loss terms that count at a step, by each target that they need: the first in the table of those that do."""
    terms = reversed([*active_terms(losses, step).items()])
    return {need: name for name, term in terms for need in term.needs}


def _pending(losses: Mapping[str, LossTerm], step: int) -> frozenset[str]:
    """Targets that loss terms need at the end of the training and not at ``step``."""
    return frozenset(_trained(losses, sys.maxsize)) - set(_trained(losses, step))


def backbone_name(backbone: Any) -> str:
    """The name of a backbone: its own, or its class's."""
    if isinstance(backbone, partial):
        backbone = backbone.func
    return backbone if isinstance(backbone, str) else str(getattr(backbone, "__name__", type(backbone).__name__))
