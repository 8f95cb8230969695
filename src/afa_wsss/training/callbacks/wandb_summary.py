"""Which value of a curve stands for a run of wandb."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Callback

from afa_wsss.report.stages import stage_key
from afa_wsss.training.loggers import STEP, wandb_runs
from afa_wsss.training.module import AFAModule


class WandbSummary(Callback):
    """Lets the summary of a wandb run hold the highest mIoU of each stage, as ``val/miou.max``, not the last."""

    def __init__(self) -> None:
        """Nothing is defined yet."""
        self.defined: set[str] = set()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Before the scores are logged: the stages have been seen by now, and their sweeps of background scores."""
        if not isinstance(pl_module, AFAModule):
            return
        scores = pl_module.scores
        names = [stage_key(stage) for stage in scores.stages]
        names += [f"val/{stage}_best_miou" for stage in scores.swept]
        for run in wandb_runs(trainer):
            for name in names:
                if name not in self.defined:
                    run.define_metric(name, step_metric=STEP, step_sync=True, summary="max")
        self.defined.update(names)
