"""A loss or gradient that is not finite: its step is left out and named, and the run ends where that goes on."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning
import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerStatus
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from afa_wsss.errors import UserError
from afa_wsss.ops.processes import is_distributed, world_size
from afa_wsss.training.callbacks.checkpoints import Checkpoints, Position
from afa_wsss.training.finite_steps import TOTAL, FiniteSteps, OnItsWay, Report, Seen, first_not_finite
from afa_wsss.types import Batch

NOT_FINITE = "not_finite"
"""Kind of the ``UserError`` that ends a run."""

MOST_PHOTOS = 8
"""A message names at most this many photos of each batch."""

notes = logging.getLogger(__name__)


class Before(NamedTuple):
    """What a checkpoint of the state before a step holds beside weights, buffers and the optimizer's state.

    Attributes:
        step: Training steps done.
        epoch: Epoch of the step.
        schedulers: States of the learning rates' schedules.
        streak: How many steps in a row were left out last, on the device.
        position: Loops and generators; None before the first step.
    """

    step: int
    epoch: int
    schedulers: list[dict[str, Any]]
    streak: Tensor
    position: Position | None = None


class Pending(NamedTuple):
    """A step of which the host knows nothing yet, and the state before it."""

    step: int
    values: OnItsWay
    before: Before


class NonFinite(Callback):
    """Leaves out optimizer steps whose loss or gradient is not finite in any process.

    Weights, optimizer and buffers stay as they were; the schedule goes on. The host reads what happened one step later,
    at validations and at writes of a checkpoint, so that it does not wait for a GPU: until then no further step is
    taken. A checkpoint that is written after the run was ended here is that of the state before the step.

    Attributes:
        found: Step, from 1, and cause of each step that was left out; of the runs that this one resumed, too.
    """

    def __init__(self, allowed: int = 0) -> None:
        """``allowed`` steps may be left out in a row."""
        self.allowed = allowed
        self.found: list[tuple[int, str]] = []
        self.steps: FiniteSteps | None = None
        self.batches: list[Seen] = []
        self.photos: tuple[str, ...] = ()
        self.losses: dict[str, Tensor] = {}
        self.pending: deque[Pending] = deque()
        self.decided: OnItsWay | None = None
        self.streak = 0
        self.present: Before | None = None
        self.before: Before | None = None
        self.hooks: list[RemovableHandle] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Watches the loss terms, whatever the module does with them."""
        self.steps, self.before = FiniteSteps(pl_module, allowed=self.allowed, streak=self.streak), None
        self.pending.clear()
        self.batches, self.present = [], _present(trainer, self.steps)
        self._unhook()
        self.hooks = [
            term.register_forward_hook(lambda _, __, value, name=name: self.losses.update({name: value}))
            for name, term in _terms(pl_module).items()
        ]

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Keeps what the forward pass may change."""
        self.photos, self.losses = tuple(batch.names), {}
        if self.steps is not None and not self.batches:
            self.steps.keep_buffers()

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """Keeps the losses on their device; ``loss`` may be scaled and divided, which leaves it finite or not."""
        self.batches.append(Seen(self.photos, {**self.losses, TOTAL: loss.detach()}))

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """Before gradients are clipped."""
        if self.steps is not None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self.decided = self.steps.decide(optimizer, self.batches, scaler)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Judges the step before this one."""
        if self.steps is None or self.decided is None or self.present is None:
            return  # gradients are still being accumulated
        self.steps.finish(trainer.optimizers[0])
        before = self.present._replace(position=_position(trainer))
        self.pending.append(Pending(trainer.global_step, self.decided, before))
        self.batches, self.decided, self.present = [], None, _present(trainer, self.steps)
        self.judge(trainer, waiting=1)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Scores are those of weights that are known to be good."""
        self.judge(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Judges the last step."""
        self.judge(trainer)
        self._unhook()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets no checkpoint be written of weights that are not finite.

        Raises:
            UserError: Where they are not, and for a step before it that ends the run.
        """
        interrupted = trainer.state.status == TrainerStatus.INTERRUPTED
        if not interrupted:
            self.judge(trainer)
        elif self.before is None:
            self.before = next((step.before for step in self.pending if step.values.report().over), None)
        wrong = first_not_finite(checkpoint["state_dict"])
        if wrong is not None and not interrupted:  # Checkpoints does not write them then
            raise UserError(
                f"need finite weights, got others in {wrong} after step {checkpoint['global_step']}; lower "
                "optimizer.lr, or set trainer.gradient_clip_val",
                kind=NOT_FINITE,
            )
        if self.before is not None:
            _rewind(checkpoint, self.before)

    def judge(self, trainer: lightning.Trainer, *, waiting: int = 0) -> None:
        """Reads the steps that were taken but for the last ``waiting``.

        Raises:
            UserError: For more steps in a row that were left out than are allowed, in every process.
        """
        while len(self.pending) > waiting:
            step, values, before = self.pending.popleft()
            report = values.report()
            if not report.left_out:
                continue
            cause = cause_of(report)
            self.found.append((step, cause))
            if report.over:
                self.pending.clear()
                self.before = before
                raise UserError(_last_words(step, cause, report.streak, self.allowed), kind=NOT_FINITE)
            if trainer.is_global_zero:
                counted = f"{report.streak} in a row, trainer.skip_nonfinite={self.allowed} are allowed"
                notes.warning("warning: step %d is left out (%s): %s", step, counted, cause)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Takes back what the batches of a step that is not finished have changed, before ``Checkpoints`` saves."""
        if self.steps is not None and self.decided is None:
            self.steps.abandon()

    def _unhook(self) -> None:
        while self.hooks:
            self.hooks.pop().remove()

    def state_dict(self) -> dict[str, Any]:
        """The steps that were left out so far, and how many of the last ones in a row."""
        streak = self.streak if self.present is None else int(self.present.streak)
        return {"found": [list(one) for one in self.found], "streak": streak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.found = [(int(step), str(cause)) for step, cause in state_dict["found"]]
        self.streak = int(state_dict.get("streak", 0))


def _terms(module: lightning.LightningModule) -> Mapping[str, nn.Module]:
    losses = getattr(module, "losses", None)
    return dict(losses.items()) if isinstance(losses, nn.ModuleDict) else {}


def losses_of(report: Report) -> str:
    """The loss terms that are not finite with their photos; empty where all are."""
    causes = []
    for photos, losses in report.batches:
        wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
        terms = [f"{name} loss is {value}" for name, value in wrong.items() if name != TOTAL]
        if TOTAL in wrong and not terms:
            terms = [f"total loss is {wrong[TOTAL]} though each term is finite: a head's output is not"]
        if terms:
            causes.append(f"{', '.join(terms)} (photos {_some(photos)})")
    return "; ".join(causes)


def gradient_of(report: Report) -> str:
    """The first parameter whose gradient is not finite, and the photos; empty where all are."""
    wrong = {name: value for name, value in report.gradients.items() if not math.isfinite(value)}
    if not wrong:
        return ""
    name, value = next(iter(wrong.items()))
    photos = tuple(photo for batch, _ in report.batches for photo in batch)
    return f"gradient of {name} is {value}, of {len(wrong)} parameters in all (photos {_some(photos)})"


def _some(photos: tuple[str, ...]) -> str:
    more = len(photos) - MOST_PHOTOS
    return ", ".join(photos[:MOST_PHOTOS]) + (f" and {more} more" if more > 0 else "")


def cause_of(report: Report) -> str:
    """Losses that are not finite, in whichever process, or else gradients; has to be called in all of them.

    Gradients are means over the processes: those of one whose loss was good are not finite either.
    """
    found: list[Any] = [(losses_of(report), gradient_of(report))]
    if is_distributed():
        own, found = found[0], [None] * world_size()
        torch.distributed.all_gather_object(found, own)
    losses, gradients = (list(dict.fromkeys(filter(None, causes))) for causes in zip(*found, strict=True))
    return "; ".join(losses or gradients)


def _last_words(step: int, cause: str, streak: int, allowed: int) -> str:
    """The one line of a run that ends."""
    row = f" in {streak} steps in a row" if streak > 1 else ""
    return (
        f"need finite losses and gradients, got others{row} at step {step}: {cause}; lower optimizer.lr, set "
        f"trainer.gradient_clip_val, look at these photos, or allow more than trainer.skip_nonfinite={allowed}"
    )


def _present(trainer: lightning.Trainer, steps: FiniteSteps) -> Before:
    schedulers = [dict(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs]
    return Before(trainer.global_step, trainer.current_epoch, schedulers, steps.state[1])


def _position(trainer: lightning.Trainer) -> Position | None:
    """Where the run was after the step before this one: ``Checkpoints`` does not know of this one yet."""
    return next((part.position for part in trainer.checkpoint_callbacks if isinstance(part, Checkpoints)), None)


def _rewind(checkpoint: dict[str, Any], before: Before) -> None:
    """Puts the state before a step in the place of the present one."""
    checkpoint |= {"global_step": before.step, "epoch": before.epoch, "lr_schedulers": before.schedulers}
    for optimizer, scheduler in zip(checkpoint["optimizer_states"], before.schedulers, strict=False):
        for group, rate in zip(optimizer["param_groups"], scheduler["_last_lr"], strict=True):
            group["lr"] = rate
    if before.position is not None:
        checkpoint["loops"] = before.position.loops
    for state in checkpoint["callbacks"].values():
        if before.position is not None and "processes" in state:
            state["processes"] = [before.position.process]
        if "streak" in state:
            state["streak"] = int(before.streak)
            state["found"] = [[step, cause] for step, cause in state["found"] if step <= before.step]
