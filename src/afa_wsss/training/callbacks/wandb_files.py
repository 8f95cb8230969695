"""Files of a finished run as artifacts of wandb."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lightning
import wandb
from lightning.pytorch.callbacks import Callback

from afa_wsss.training.loggers import wandb_runs

OBJECTIVE = "objective"
"""Where the summary has ``val/miou`` of the last weights, which sweeps maximize."""


class WandbFiles(Callback):
    """Logs checkpoint and report once both are written, as versions of artifacts named by the id of the run."""

    def __init__(self, *, checkpoint: bool = True) -> None:
        """``checkpoint`` says whether the checkpoint is among them: it may be large, and wandb keeps a copy."""
        self.checkpoint = checkpoint

    def log_files(
        self,
        trainer: lightning.Trainer,
        metrics: Mapping[str, float],
        written: Mapping[str, Path],
        *,
        best_score: float | None,
    ) -> None:
        """Called after training, in the first process.

        Args:
            trainer: Its loggers; without a ``WandbLogger`` nothing is done.
            metrics: Scores of the last weights.
            written: Files by what they are; the last checkpoint stands in for a best one that there is not.
            best_score: ``val/miou`` of the best checkpoint; None where there is none.
        """
        best = best_score is not None
        model = written["best checkpoint" if best else "last checkpoint"]
        scores = {name: value for name, value in metrics.items() if name.endswith("miou")}  # wandb takes 100 at most
        for run in wandb_runs(trainer):
            if self.checkpoint:
                artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata={"val/miou": best_score})
                artifact.add_file(str(model))
                run.log_artifact(artifact, aliases=["best", "latest"] if best else ["latest"])
            if "report" in written:
                artifact = wandb.Artifact(f"report-{run.id}", type="report", metadata=scores)
                artifact.add_file(str(written["report"]))
                run.log_artifact(artifact, aliases=["latest"])
            if "val/miou" in metrics:
                run.summary[OBJECTIVE] = metrics["val/miou"]
