"""Where a run comes from, in its folder and in its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from afa_wsss.data.files.whole import whole_file

ORIGIN_KEY = "origin"
"""Where a checkpoint has it, as plain data."""


class Origin(Callback):
    """Writes ``run.json``, and ``code_<repository>.diff`` where code was changed since its commit.

    A run that goes on from others has theirs, in the order of time and without diffs, as ``resumed``.
    """

    def __init__(self, origin: Mapping[str, Any], folder: Path) -> None:
        """``origin`` is stored as it is; ``folder`` is that of the run."""
        self.origin, self.folder = dict(origin), folder

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning before training."""
        if ORIGIN_KEY in checkpoint:
            earlier = without_diffs(checkpoint[ORIGIN_KEY])
            before = earlier.pop("resumed", [])
            self.origin["resumed"] = [*before, {**earlier, "step": checkpoint["global_step"]}]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the files, in the first process."""
        if not trainer.is_global_zero:
            return
        for code in self.origin.get("code", ()):
            if code["diff"]:
                self._write(f"code_{code['name']}.diff", code["diff"])
        self._write("run.json", json.dumps(without_diffs(self.origin), indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        with whole_file(self.folder / name) as part:
            part.write_text(text, encoding="utf-8")

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        checkpoint[ORIGIN_KEY] = self.origin


def without_diffs(origin: Mapping[str, Any]) -> dict[str, Any]:
    """The same with ``changed`` in place of each diff."""
    shown = dict(origin)
    shown["code"] = [
        {**{name: value for name, value in code.items() if name != "diff"}, "changed": bool(code["diff"])}
        for code in origin.get("code", ())
    ]
    return shown
