"""Warns of what goes wrong at the validation that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from afa_wsss.report.run import RunInfo
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.training.module import AFAModule


class Warnings(Callback):
    """Gives the line of each warning at the validation in training that first shows it, and again if it comes back.

    A warning about nothing new is not repeated, whatever its numbers have become. The validation of the last step is
    left to the summary of the run, which has all warnings of the last weights.
    """

    def __init__(self, run_at: Callable[[int], RunInfo], warn: Callable[[str], None]) -> None:
        """Nothing has been said yet.

        Args:
            run_at: What is known of the run after that many training steps.
            warn: Takes a line, in the first process alone.
        """
        self.run_at, self.warn = run_at, warn
        self.said: set[tuple[str, str]] = set()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        last = trainer.global_step >= trainer.max_steps
        if not fitting or last or not trainer.is_global_zero or not isinstance(pl_module, AFAModule):
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found: set[tuple[str, str]] = set()
        for warning in run_warnings(metrics, self.run_at(trainer.global_step)):
            about = {(warning.kind, subject) for subject in warning.subjects or ("",)}
            if not about <= self.said:
                self.warn(f"step {trainer.global_step}: {warning.line}")
            found |= about
        self.said = found

    def state_dict(self) -> dict[str, Any]:
        """Stored in the checkpoint: a resumed run repeats nothing."""
        return {"said": sorted(self.said)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.said = {(kind, subject) for kind, subject in state_dict["said"]}
