"""What a run is made of, opened and checked before anything is trained or written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from numpy.typing import NDArray
from torch.nn import Parameter
from torch.optim import Optimizer

from afa_wsss.api import resume
from afa_wsss.api.options import check_network, check_options
from afa_wsss.api.origin import origin_of
from afa_wsss.api.run_info import info_at_step, info_of_training
from afa_wsss.api.settings import TrainSettings
from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.crops import data_warnings
from afa_wsss.errors import UserError, argument
from afa_wsss.models import AFA
from afa_wsss.models.create import build_model
from afa_wsss.report.checks import phase_warnings
from afa_wsss.training.callbacks import (
    Checkpoints,
    ClassTable,
    Compilation,
    DealtSteps,
    GivenRates,
    LabelCurves,
    Origin,
    PlainConfig,
    Recomputation,
    UnevenValidation,
    ValidationChecks,
    WandbSummary,
    Warnings,
    WeightAveraging,
)
from afa_wsss.training.callbacks.held_out_looks import held_out_looks
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import afa_optimizer, warmup_poly
from afa_wsss.training.step_batches import StepBatches
from afa_wsss.training.trainer import seed_everything, training_trainer


class Prepared(NamedTuple):
    """A run that is about to start.

    Attributes:
        settings: Settings of the run.
        data: Both splits, opened and checked.
        module: The network with its label maker and losses.
        trainer: With all callbacks and loggers.
        step: How the photos of a training step are dealt to the devices.
        resumed: The checkpoint that the run goes on from; None for a run that starts anew.
        warnings: Warnings about the data, a line for each kind, and about checkpoints that are cut off.
    """

    settings: TrainSettings
    data: AFADataModule
    module: AFAModule
    trainer: lightning.Trainer
    step: StepBatches
    resumed: resume.Resumed | None
    warnings: list[str]

    @property
    def done_steps(self) -> int:
        """Steps that the run which is resumed has done."""
        return 0 if self.resumed is None else self.resumed.step

    @property
    def checkpoints(self) -> Checkpoints:
        """The callback that writes ``last.ckpt`` and ``best.ckpt``."""
        return next(part for part in self.trainer.checkpoint_callbacks if isinstance(part, Checkpoints))


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
    if settings.data.train_split is None:
        raise UserError("need a split to train on, got none; give its name", arguments=("data.train_split",))
    data = _open_data(settings)
    scored_on, come_from = resume.scored_on(data, config), origin_of(data, seed=settings.seed)
    resumed, lines = _find_resumed(settings, config, data, scored_on=scored_on, photos=come_from["data"]["train"])
    check_options(settings)
    with argument("model"):
        # A resumed run has its weights in the checkpoint: the pretrained ones may not be available any more.
        network = build_model(settings.model, len(data.class_names), pretrained=resumed is None)
    check_network(settings, network)
    module = make_module(settings, network, class_names=data.class_names, palette=data.dataset.palette)
    if resumed is not None:
        with argument("resume"):
            resume.check_weights(resumed, settings, module)
    looks = held_out_looks(settings.supervision, data.val_set, batch_size=settings.data.eval_batch_size)
    dealt = DealtSteps()
    with argument("trainer"):
        others = [
            _checkpoints(settings, scored_on, forgets_scores=resumed is not None and resumed.has_other_scores),
            dealt,
            Origin(come_from, Path(settings.output_dir)),
            *looks,
            Warnings(partial(info_at_step, settings, module, config), warn),
            *([GivenRates()] if resumed and resumed.changes else []),
        ]
        trainer = _make_trainer(settings, _stored(config, data), others, validate=data.val_set is not None)
    with argument("data"):
        step = dealt.deal(settings.data, trainer, data)
    never = phase_warnings(info_of_training(settings, module, config))
    warned = [*lines, *data_warnings(_splits(data), settings.data), *(one.line for one in never)]
    return Prepared(settings, data, module, trainer, step, resumed, warned)


def _open_data(settings: TrainSettings) -> AFADataModule:
    """Both splits; their masks only where they are scored, or the label maker needs those of training photos."""
    with argument("data"):
        pin_memory = torch.cuda.is_available() and settings.trainer.accelerator != "cpu"
        return AFADataModule(
            settings.data, seed=settings.seed, train_masks=settings.supervision.needs_masks, pin_memory=pin_memory
        )


def _splits(data: AFADataModule) -> dict[str, SegmentationDataset]:
    """The opened splits by their use."""
    sets = {"train": data.train_set, "val": data.val_set}
    return {use: found.dataset for use, found in sets.items() if found is not None}


def _find_resumed(
    settings: TrainSettings,
    config: Mapping[str, Any],
    data: AFADataModule,
    *,
    scored_on: str,
    photos: Mapping[str, Any],
) -> tuple[resume.Resumed | None, tuple[str, ...]]:
    """The checkpoint to go on from, checked against the settings, and lines about checkpoints that are cut off."""
    with argument("resume"):
        resumed, lines = resume.find_checkpoint(settings.resume, settings.output_dir)
    if resumed is not None:
        resumed = resume.check_settings(
            resumed, _stored(config, data) if config else {}, data.class_names, scored_on=scored_on, photos=photos
        )
    return resumed, lines


def _stored(config: Mapping[str, Any], data: AFADataModule) -> dict[str, Any]:
    """The configuration that checkpoints keep: with classes, their colors and the range of deep photos."""
    stored = {**config, "class_names": list(data.class_names), "palette": data.dataset.palette.tolist()}
    if data.value_range != "auto":
        stored["data"] = {**config.get("data", {}), "value_range": data.value_range}
    return stored


def _checkpoints(settings: TrainSettings, scored_on: str, *, forgets_scores: bool) -> Checkpoints:
    return Checkpoints(
        str(Path(settings.output_dir) / "checkpoints"),
        every_n_steps=settings.trainer.checkpoint_interval,
        scored_on=scored_on,
        seed=settings.seed,
        forgets_scores=forgets_scores,
    )


def make_module(
    settings: TrainSettings, network: AFA, *, class_names: Sequence[str], palette: NDArray[np.uint8]
) -> AFAModule:
    """The LightningModule around a network, whose backbone is frozen where the settings say so.

    Raises:
        UserError: For a loss whose targets nobody makes.
    """
    if settings.optimizer.freeze_backbone:
        network.encoder.freeze()
    elif settings.optimizer.freeze_layers:
        network.encoder.freeze(settings.optimizer.freeze_layers)

    def optimizer(network: AFA, others: Iterable[Parameter]) -> Optimizer:
        return afa_optimizer(network, settings.optimizer, others=others, fused=settings.trainer.takes_fused_optimizer)

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
    average = settings.trainer.ema_decay
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
        *([Recomputation()] if settings.model.gradient_checkpointing else []),
        *([WeightAveraging(average, settings.trainer.ema_for)] if average is not None else []),
        *settings.callbacks.values(),
    ]
    return training_trainer(settings.trainer, callbacks=callbacks, loggers=loggers, folder=folder, validate=validate)
