"""Trains from image labels, scores the result, and writes the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from numpy.typing import NDArray
from torch.nn import Parameter

from afa_wsss.api import resume
from afa_wsss.api.checkpoints import store_thresholds
from afa_wsss.api.config_file import write_config
from afa_wsss.api.early_end import early_end, with_not_finite
from afa_wsss.api.origin import origin_of
from afa_wsss.api.run_info import info_at_step, info_of_training
from afa_wsss.api.segmenter import Segmenter
from afa_wsss.api.settings import TrainSettings
from afa_wsss.data.checks.crops import training_warnings
from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError, argument
from afa_wsss.models import AFA
from afa_wsss.models.create import build_model
from afa_wsss.report.results import RunInfo, write_results
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.training.callbacks import (
    Checkpoints,
    ClassTable,
    Compilation,
    GivenRates,
    LabelCurves,
    Origin,
    PlainConfig,
    UnevenValidation,
    ValidationChecks,
    WandbFiles,
    WandbSummary,
    Warnings,
)
from afa_wsss.training.callbacks.held_out_looks import held_out_looks
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import afa_optimizer, warmup_poly
from afa_wsss.training.trainer import seed_everything, training_trainer


class Prepared(NamedTuple):
    """A run that is about to start.

    Attributes:
        settings: Of the run.
        data: Both splits, opened and checked.
        module: The network with its label maker and losses.
        trainer: With all callbacks and loggers.
        resumed: The checkpoint that the run goes on from; None for a run that starts anew.
        data_warnings: Warnings about the data, a line for each kind, and about checkpoints that are cut off.
    """

    settings: TrainSettings
    data: AFADataModule
    module: AFAModule
    trainer: lightning.Trainer
    resumed: resume.Resumed | None
    data_warnings: list[str]

    @property
    def done_steps(self) -> int:
        """Steps that the run which is resumed has done."""
        return 0 if self.resumed is None else self.resumed.step

    @property
    def checkpoints(self) -> Checkpoints:
        """The callback that writes ``last.ckpt`` and ``best.ckpt``."""
        return next(part for part in self.trainer.checkpoint_callbacks if isinstance(part, Checkpoints))


class Run:
    """A finished run.

    Attributes:
        metrics: Scores of the last weights by name, as in ``metrics.json``.
        folder: Folder of the run.
        stages: Names of the prediction stages, in the order of the method.
        written: What was written, by what it is; empty in all processes but the first.
        warnings: What is wrong with the last weights, a line for each, with the settings to change.
        loggers: Loggers of Lightning, still open.
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
            module.network,
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
        trainer.fit(prepared.module, datamodule=prepared.data, ckpt_path=resumed and resumed.path)
        metrics = _final_scores(prepared)
    info = info_of()
    written = _write(prepared, metrics, info) if trainer.is_global_zero else {}
    return Run(metrics, prepared, info=info, written=written)


def prepare(
    settings: TrainSettings, config: Mapping[str, Any], *, warn: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Opens data and weights and makes all parts; nothing is written. Arguments are those of ``train``.

    Raises:
        UserError: For what they refuse.
    """
    seed_everything(settings.seed)
    if not settings.loss:
        raise UserError("need at least one loss term, got none", arguments=("loss",))
    with argument("data"):
        pin_memory = torch.cuda.is_available() and settings.trainer.accelerator != "cpu"
        data = AFADataModule(
            settings.data, seed=settings.seed, train_masks=settings.supervision.needs_masks, pin_memory=pin_memory
        )
    scored_on = resume.scored_on(data, config)
    with argument("resume"):
        resumed, lines = resume.find_checkpoint(settings.resume, settings.output_dir)
    if resumed is not None:
        resumed = resume.check_settings(resumed, config, data.class_names, scored_on=scored_on)
    with argument("model"):
        # A resumed run has its weights in the checkpoint: the pretrained ones may not be available any more.
        network = build_model(settings.model, len(data.class_names), pretrained=resumed is None)
    palette = data.dataset.palette
    module = make_module(settings, network, class_names=data.class_names, palette=palette)
    if resumed is not None:
        with argument("resume"):
            resume.check_weights(resumed, settings, network)
        data.earlier_batch_size = resumed.batch_size or data.batch_size
    stored = {**config, "class_names": list(data.class_names), "palette": palette.tolist()}
    if data.value_range != "auto":
        stored["data"] = {**config.get("data", {}), "value_range": data.value_range}
    looks = held_out_looks(settings.supervision, data.val_set, batch_size=settings.data.eval_batch_size)
    with argument("trainer"):
        warnings = Warnings(partial(info_at_step, settings, module, config), warn)
        checkpoints = Checkpoints(
            str(Path(settings.output_dir) / "checkpoints"),
            every_n_steps=settings.trainer.checkpoint_interval,
            scored_on=scored_on,
            seed=settings.seed,
        )
        origin = Origin(origin_of(data, seed=settings.seed), Path(settings.output_dir))
        others = [checkpoints, origin, *looks, warnings, *([GivenRates()] if resumed and resumed.changes else [])]
        trainer = _make_trainer(settings, stored, others, validate=data.val_set is not None)
    sets = {"train": data.train_set, "val": data.val_set}
    opened = {use: found.dataset for use, found in sets.items() if found is not None}
    return Prepared(settings, data, module, trainer, resumed, [*lines, *training_warnings(opened, settings.data)])


def _begin(prepared: Prepared, config: Mapping[str, Any], linked: Mapping[str, Any]) -> None:
    """Makes the run's folder, in the first process alone."""
    folder, loggers = Path(prepared.settings.output_dir), prepared.trainer.loggers
    if prepared.resumed is not None:
        resume.bring_along(prepared.resumed, folder, loggers)
    write_config(linked, folder)
    with whole_file(folder / "classes.txt") as part:
        part.write_text("\n".join(prepared.data.class_names) + "\n", encoding="utf-8")
    for logger in loggers:
        logger.log_hyperparams(dict(config))


def make_module(
    settings: TrainSettings, network: AFA, *, class_names: Sequence[str], palette: NDArray[np.uint8]
) -> AFAModule:
    """The LightningModule around a network.

    Raises:
        UserError: For a loss whose targets nobody makes.
    """

    def optimizer(network: AFA, others: Any) -> torch.optim.Optimizer:
        own: list[Parameter] = list(others)
        return afa_optimizer(network, settings.optimizer, others=own, fused=not settings.trainer.scales_gradients)

    return AFAModule(
        network,
        settings.supervision,
        settings.loss,
        optimizer,
        partial(warmup_poly, settings=settings.scheduler, max_steps=settings.trainer.max_steps),
        class_names=class_names,
        palette=palette,
        inference=settings.inference,
    )


def _make_trainer(
    settings: TrainSettings, stored: Mapping[str, Any], others: Sequence[Callback], *, validate: bool
) -> lightning.Trainer:
    """The Trainer with the callbacks and loggers of the settings, and those that every run has."""
    folder, loggers = Path(settings.output_dir), list(settings.logger.values())
    callbacks = [
        PlainConfig(dict(stored)),
        UnevenValidation(),
        ClassTable(),
        LabelCurves(),
        ValidationChecks(),
        WandbSummary(),
        *others,
        *([LearningRateMonitor("step")] if loggers else []),
        *([Compilation()] if settings.trainer.compile else []),
        *settings.callbacks.values(),
    ]
    return training_trainer(settings.trainer, callbacks=callbacks, loggers=loggers, folder=folder, validate=validate)


def _final_scores(prepared: Prepared) -> dict[str, float]:
    """Scores of the last weights; validated once more where the last step was not, or for the dense CRF."""
    trainer, module, data = prepared.trainer, prepared.module, prepared.data
    scores = {key: float(value) for key, value in trainer.callback_metrics.items()}
    module.last_validation = True
    left_out = module.inference.refinement == "crf"
    if data.val_set is not None and (left_out or module.validated_step != trainer.global_step):
        trainer.validate(module, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            for path in (prepared.checkpoints.last, prepared.checkpoints.best):
                store_thresholds(path, module.gate.found, step=trainer.global_step)
        scores |= {key: float(value) for key, value in trainer.callback_metrics.items()}
    return scores


def _run_info_of(prepared: Prepared, config: Mapping[str, Any]) -> RunInfo:
    """What the report shows of the run, steps that were left out among it."""
    return with_not_finite(info_of_training(prepared.settings, prepared.module, config), prepared.trainer)


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
