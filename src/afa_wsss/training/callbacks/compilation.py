"""``torch.compile`` for training, whose shapes are few."""

from __future__ import annotations

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from afa_wsss.training.module import AFAModule


class Compilation(Callback):
    """Compiles the encoder: nearly all of a step, the passes for class activation maps included.

    Each size has a graph of its own; graphs that leave sizes open were slower than none at all. Crops are of one size,
    so a run needs a graph for the training pass and one for each CAM scale. The number of classes is in none of them.
    Held-out photos have a size each, so validation runs as if nothing were compiled, and never compiles.
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Marks the encoder for compilation, which happens at its first call."""
        if stage == "fit" and isinstance(pl_module, AFAModule):
            # Runs of a sweep share the process: graphs for other crop sizes would count against the recompile limit.
            torch.compiler.reset()
            pl_module.network.encoder.compile(dynamic=False)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Marks the encoder of a teacher, too: a copy is not compiled."""
        if isinstance(pl_module, AFAModule) and pl_module.labeling_network is not pl_module.network:
            pl_module.labeling_network.encoder.compile(dynamic=False)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Leaves encoders as they were: photos have a size each, and their segmenter goes on with this network."""
        if stage == "fit" and isinstance(pl_module, AFAModule):
            for network in (pl_module.network, pl_module.labeling_network):
                network.encoder._compiled_call_impl = None  # what Module.compile sets; there is no public way back

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Runs eagerly during validation."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Uses the compiled encoder again."""
        torch.compiler.set_stance("default")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Resets the stance, which is global to the process, when validation raises."""
        torch.compiler.set_stance("default")
