"""Writes the backbone of a run, for others to start from."""

from __future__ import annotations

from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save

from afa_wsss.data.files.whole import whole_file
from afa_wsss.training.module import AFAModule


class BackboneWriter(Callback):
    """Writes encoder and affinity head as a safetensors file after each validation, to start other runs from."""

    def __init__(self, path: str) -> None:
        """``path``: where to."""
        self.path = Path(path)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called by Lightning."""
        if trainer.is_global_zero and not trainer.sanity_checking and isinstance(pl_module, AFAModule):
            weights = {
                name: value.cpu().contiguous()
                for name, value in pl_module.validated_network.state_dict().items()
                if name.startswith(("encoder.", "affinity_head."))
            }
            with whole_file(self.path) as part:
                part.write_bytes(save(weights))
