"""Settings of the Trainer, and the Trainer made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import MixedPrecision

from afa_wsss.errors import UserError, check_at_least_0
from afa_wsss.training.callbacks.nonfinite import NonFinite
from afa_wsss.training.callbacks.signals import Signals
from afa_wsss.training.freed_memory import keep_freed_memory
from afa_wsss.training.started_processes import started_processes
from afa_wsss.training.sync_batchnorm import AnyDeviceSyncBatchNorm
from afa_wsss.training.weight_average import LABELS, VALIDATION
from afa_wsss.training.whole_checkpoints import WholeCheckpoints

FULL: Final = "32-true"
"""float32 everywhere."""

HALF: Final = "16-mixed"
"""float16 where autocast sees fit; gradients are scaled so that they do not vanish."""

PRECISIONS = {"32": FULL, "bf16": "bf16-mixed", "16": HALF}
"""The precisions to choose from, by Lightning's short names."""


@dataclass(frozen=True)
class DeviceSettings:
    """Where to run, as ``lightning.Trainer`` takes it.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``gpu`` or another of Lightning's.
        devices: How many, which, or ``auto``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``; see docs/training.md.
    """

    accelerator: str = "auto"
    devices: Any = 1
    precision: str = FULL

    def __post_init__(self) -> None:
        """Checks the precision, and writes it out.

        Raises:
            UserError: For one in which weights would be rounded, and for an unknown one.
        """
        precision = PRECISIONS.get(str(self.precision), str(self.precision))
        if precision not in PRECISIONS.values():
            instead = {"16-true": HALF, "transformer-engine-float16": HALF, "64-true": FULL}
            raise UserError(
                f"need precision to be one of {', '.join(PRECISIONS.values())}, which keep weights, labels and losses "
                f"in float32; got {precision}; use {instead.get(precision, 'bf16-mixed')}",
                arguments=("precision",),
            )
        object.__setattr__(self, "precision", precision)


@dataclass(frozen=True)
class TrainerSettings(DeviceSettings):
    """Arguments of ``lightning.Trainer`` for training, and six of our own.

    What is not listed here goes to ``lightning.Trainer`` as it is, under the same name.

    Attributes:
        max_steps: Training steps of the whole run.
        val_check_interval: Steps between validations; at least one in a run.
        checkpoint_interval: Steps between writes of ``last.ckpt``; not one of Lightning's.
        log_every_n_steps: Steps between logged values; at least once in a run.
        sync_batchnorm: Whether batch norm is that of all processes, on any device; unlike Lightning's, on a CPU too.
        compile: Whether the encoder is compiled with ``torch.compile`` in training; not one of Lightning's.
        skip_nonfinite: Steps in a row that may be left out because a loss or gradient is not finite; not one of
            Lightning's.
        ema_decay: Share of a moving average of the network's weights that stays in a step; None for no average.
        ema_for: What the average is used for: ``validation``, and with it the weights of checkpoints; ``labels``.
    """

    max_steps: int = 20000
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = True
    val_check_interval: int = 2000
    checkpoint_interval: int = 500
    log_every_n_steps: int = 50
    limit_val_batches: Any = 1.0
    num_sanity_val_steps: int = 0
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    deterministic: bool = False
    benchmark: bool = False
    compile: bool = False
    skip_nonfinite: int = 0
    ema_decay: float | None = None
    ema_for: tuple[str, ...] = (VALIDATION,)

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For another precision, a number of steps or an interval below 1, and a limit below 0.
        """
        super().__post_init__()
        names = (
            "max_steps",
            "val_check_interval",
            "checkpoint_interval",
            "log_every_n_steps",
            "accumulate_grad_batches",
            "num_nodes",
        )
        wrong = [name for name in names if getattr(self, name) < 1]
        if wrong:
            got = ", ".join(f"{name}={getattr(self, name)}" for name in wrong)
            raise UserError(f"need at least 1, got {got}", arguments=wrong)
        check_at_least_0({"skip_nonfinite": self.skip_nonfinite, "gradient_clip_val": self.gradient_clip_val or 0})
        self._check_average()

    def _check_average(self) -> None:
        object.__setattr__(self, "ema_for", tuple(self.ema_for))
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(f"need an ema_decay above 0 and below 1, got {self.ema_decay}", arguments=("ema_decay",))
        if not self.ema_for or not set(self.ema_for) <= {VALIDATION, LABELS}:
            raise UserError(
                f"need ema_for to be [{VALIDATION}], [{LABELS}] or both, got [{', '.join(self.ema_for)}]",
                arguments=("ema_for",),
            )
        if self.ema_decay is None and self.ema_for != (VALIDATION,):
            raise UserError(
                f"need an ema_decay for ema_for=[{', '.join(self.ema_for)}], got none; set it, as 0.999",
                arguments=("ema_decay",),
            )

    @property
    def takes_fused_optimizer(self) -> bool:
        """Whether the optimizer may be a fused one of torch.

        Lightning unscales no gradients of one in float16, and clips none wherever autocast is on.
        """
        return self.precision == FULL or not (self.precision == HALF or self.gradient_clip_val)

    def arguments(self) -> dict[str, Any]:
        """Those of ``lightning.Trainer``, which counts validation in batches."""
        steps = self.max_steps
        return _lightning_arguments(self) | {
            "val_check_interval": min(self.val_check_interval, steps) * self.accumulate_grad_batches,
            "log_every_n_steps": min(self.log_every_n_steps, steps),
            "plugins": [WholeCheckpoints(), *([AnyDeviceSyncBatchNorm()] if self.sync_batchnorm else [])],
        }


_OURS = ("sync_batchnorm", "checkpoint_interval", "compile", "skip_nonfinite", "ema_decay", "ema_for")


def _lightning_arguments(settings: DeviceSettings) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in _OURS}


def training_trainer(
    settings: TrainerSettings,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    folder: Path,
    validate: bool,
) -> lightning.Trainer:
    """A Trainer with our samplers, batch norm; it stops at signals and leaves out values that are not finite.

    Args:
        settings: Steps, intervals, devices.
        callbacks: All of them; Lightning adds no checkpoint, no summary and no progress bar.
        loggers: May be empty.
        folder: Default root for what Lightning writes.
        validate: Whether there is anything to validate.

    Raises:
        UserError: For a GPU where torch sees none, and values that Lightning refuses.
    """
    arguments = settings.arguments() | ({} if validate else {"limit_val_batches": 0})
    return _trainer(
        arguments,
        callbacks=[Signals(), NonFinite(settings.skip_nonfinite), *callbacks],
        logger=list(loggers),
        default_root_dir=folder,
        check_val_every_n_epoch=None,
    )


def evaluation_trainer(settings: DeviceSettings, *, callbacks: Sequence[Callback]) -> lightning.Trainer:
    """A Trainer that validates once; errors as in ``training_trainer``."""
    return _trainer(_lightning_arguments(settings), callbacks=list(callbacks), logger=False)


def _trainer(arguments: dict[str, Any], **others: Any) -> lightning.Trainer:
    accelerator = arguments["accelerator"]
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"need a GPU for accelerator={accelerator}, torch {torch.__version__} sees none; use accelerator=cpu or "
            "install a torch that fits your driver",
            kind="no_gpu",
            arguments=("accelerator",),
        )
    if accelerator == "auto" and _has_apple_gpu_alone():
        accelerator = "cpu"
        arguments = {**arguments, "accelerator": accelerator}
    if accelerator == "mps":
        raise UserError(
            "need accelerator of auto, cpu or gpu, got mps: scores are summed in float64, which Apple's GPUs do not "
            "have; use accelerator=cpu",
            arguments=("accelerator",),
        )
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if accelerator == "cpu" or not torch.cuda.is_available():
        keep_freed_memory()
    if on_cpu and arguments["precision"] == HALF:  # of itself, Lightning takes bfloat16 there
        plugins = [*arguments.get("plugins", ()), MixedPrecision(HALF, "cpu")]
        arguments = {**arguments, "precision": None, "plugins": plugins}
    shows_progress = any(isinstance(callback, ProgressBar) for callback in others["callbacks"])
    others |= {"use_distributed_sampler": False, "enable_model_summary": False, "enable_progress_bar": shows_progress}
    with refused_by_lightning(ValueError, TypeError, ModuleNotFoundError, RuntimeError):
        trainer = lightning.Trainer(**arguments, **others)
    _check_processes(trainer)
    return trainer


def _check_processes(trainer: lightning.Trainer) -> None:
    """Checks that a Trainer counts on all processes that torchrun or srun has started.

    Otherwise Lightning would take each for the only one, and all would train the same and write the same files.

    Raises:
        UserError: For another number.
    """
    by, started = started_processes()
    if started > 1 and trainer.world_size != started:
        raise UserError(
            f"need trainer.devices times trainer.num_nodes to be the {started} processes that {by} started, got "
            f"{trainer.world_size}",
            arguments=("devices", "num_nodes"),
        )


def _has_apple_gpu_alone() -> bool:
    """Whether Lightning would take an Apple GPU for ``auto``; the recipes and ``afa_wsss.load`` take the CPU there."""
    return MPSAccelerator.is_available() and not torch.cuda.is_available()


@contextmanager
def refused_by_lightning(*others: type[Exception]) -> Iterator[None]:
    """Raises what Lightning has against settings, some of it when it begins, as a line.

    Args:
        others: Errors that stand for such an objection, too.

    Raises:
        UserError: For a ``MisconfigurationException`` and ``others``.
    """
    refused: tuple[type[Exception], ...] = (MisconfigurationException, *others)
    try:
        yield
    except refused as error:
        raise UserError(f"need values that lightning.Trainer takes, got: {' '.join(str(error).split())}") from error


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy, torch and the loaders' workers.

    Raises:
        UserError: For a seed that is not in [0, 2^32).
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"need a seed of at least 0 and below 2^32, got {seed}", arguments=("seed",))
    lightning.seed_everything(seed, workers=True, verbose=False)
