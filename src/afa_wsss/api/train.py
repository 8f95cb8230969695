"""Trains from image labels, scores the result, and writes the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from afa_wsss.api import resume
from afa_wsss.api.checkpoints import store_validation
from afa_wsss.api.config_file import write_config
from afa_wsss.api.earlier_run import set_aside
from afa_wsss.api.early_end import early_end, with_not_finite
from afa_wsss.api.prepare import Prepared, prepare
from afa_wsss.api.run_info import info_of_training
from afa_wsss.api.segmenter import Segmenter
from afa_wsss.api.settings import TrainSettings
from afa_wsss.data.files.whole import whole_file
from afa_wsss.inference.gate import AUTO
from afa_wsss.report.results import RunInfo, write_results
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.training.callbacks import WandbFiles
from afa_wsss.training.trainer import refused_by_lightning


class Run:
    """A finished run.

    Attributes:
        metrics: Scores of the last weights by name, as in ``metrics.json``.
        folder: Folder of the run.
        stages: Names of the prediction stages, in the order of the method.
        written: What was written, by what it is; empty in all processes but the first.
        warnings: What is wrong with the last weights, a line for each, with the settings to change.
        loggers: Loggers of Lightning, still open; ``afa_wsss.train`` and the command have ended the run of wandb.
    """

    def __init__(
        self, metrics: dict[str, float], prepared: Prepared, *, info: RunInfo, written: dict[str, Path]
    ) -> None:
        """Keeps the network in memory."""
        self.metrics, self.folder = metrics, Path(prepared.settings.output_dir)
        self.stages = tuple(info.stages)
        self.warnings = tuple(warning.line for warning in run_warnings(metrics, info))
        self.written, self._prepared = written, prepared
        self.loggers = tuple(prepared.trainer.loggers)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The trained network, with its last weights."""
        module, settings = self._prepared.module, self._prepared.settings
        return Segmenter(
            module.validated_network,
            module.class_names,
            module.palette,
            inference=settings.inference,
            label_maker=settings.supervision,
            max_side=settings.data.max_side,
            value_range=self._prepared.data.value_range,
            class_thresholds=module.gate.found,
        )


def train(
    settings: TrainSettings,
    config: Mapping[str, Any] | None = None,
    *,
    linked: Mapping[str, Any] | None = None,
    announce: Callable[[Prepared], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
    stopped: Callable[[Prepared], None] = lambda _: None,
) -> Run:
    """One run: fit, validate the last weights, write metrics, report and checkpoints.

    Args:
        settings: Everything that the run is made of.
        config: The same as plain data, stored in checkpoints and shown in the report; without it a checkpoint cannot be
            opened by ``load``.
        linked: ``config`` with references between settings, for ``config.yaml``; None for ``config`` itself.
        announce: Called before training.
        warn: Called with a line for each warning, at the validation that first shows it.
        stopped: Called where training is cut short, before the error is raised again.

    Raises:
        UserError: For what settings, data and weights refuse, before training starts; of kind ``not_finite`` for losses
            or gradients that are not, more often than ``trainer.skip_nonfinite`` allows.
        KeyboardInterrupt: After Ctrl-C. Other signals raise a ``SystemExit`` with the code that shells have for them.
    """
    prepared = prepare(settings, config or {}, warn=warn)
    announce(prepared)
    trainer, resumed = prepared.trainer, prepared.resumed
    if trainer.is_global_zero:
        _begin(prepared, config or {}, linked or config or {})
    info_of, folder = partial(_run_info_of, prepared, config or {}), Path(settings.output_dir)
    with early_end(trainer, partial(stopped, prepared), folder=folder, info=info_of):
        with refused_by_lightning():
            trainer.fit(prepared.module, datamodule=prepared.data, ckpt_path=resumed and resumed.path)
        metrics = _final_scores(prepared)
    info = info_of()
    written = _write(prepared, metrics, info) if trainer.is_global_zero else {}
    return Run(metrics, prepared, info=info, written=written)


def _begin(prepared: Prepared, config: Mapping[str, Any], linked: Mapping[str, Any]) -> None:
    """Makes the run's folder, in the first process alone."""
    folder, loggers = Path(prepared.settings.output_dir), prepared.trainer.loggers
    if prepared.resumed is None:
        set_aside(folder)
    else:
        resume.bring_along(prepared.resumed, folder, loggers)
    write_config(linked, folder)
    with whole_file(folder / "classes.txt") as part:
        part.write_text("\n".join(prepared.data.class_names) + "\n", encoding="utf-8")
    for logger in loggers:
        logger.log_hyperparams({**config, "step_batches": {**prepared.step._asdict(), "total": prepared.step.total}})


def _final_scores(prepared: Prepared) -> dict[str, float]:
    """Scores of the last weights: validated again where the last step was not, for the dense CRF, and for a gate.

    A gate that is ``auto`` takes the thresholds of the validation before, which have to be those of the same weights.
    """
    trainer, module, data = prepared.trainer, prepared.module, prepared.data
    scores = {key: float(value) for key, value in trainer.callback_metrics.items()}
    not_scored = module.validated_step != trainer.global_step or not module.scores.stages  # as up to version 0.2.0
    left_out = module.inference.refinement == "crf"
    times = not_scored + 1 if module.inference.gate == AUTO else int(not_scored or left_out)
    for left in reversed(range(times if data.val_set is not None else 0)):
        module.last_validation = left == 0
        trainer.validate(module, datamodule=data, verbose=False)
    module.last_validation = True
    if data.val_set is not None and times:
        if trainer.is_global_zero:
            kept = prepared.checkpoints
            for path in (kept.last, kept.best):
                store_validation(path, module.gate.found, best_score=kept.best_score, step=trainer.global_step)
        scores |= {key: float(value) for key, value in trainer.callback_metrics.items()}
    return scores


def _run_info_of(prepared: Prepared, config: Mapping[str, Any]) -> RunInfo:
    """What the report shows of the run, steps that were left out among it."""
    info = info_of_training(prepared.settings, prepared.module, config, done=prepared.trainer.global_step)
    return with_not_finite(info, prepared.trainer)


def _write(prepared: Prepared, metrics: Mapping[str, float], info: RunInfo) -> dict[str, Path]:
    """Scores and report; the files by what they are, checkpoints among them."""
    folder, kept = Path(prepared.settings.output_dir), prepared.checkpoints
    written = write_results(folder, metrics, info, folder / "logs" / "metrics.csv")
    best = {} if kept.best_score is None else {"best checkpoint": kept.best}
    written |= best | {"last checkpoint": kept.last}
    for part in prepared.trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        if isinstance(part, WandbFiles):
            part.log_files(prepared.trainer, metrics, written, best_score=kept.best_score)
    return written
