"""``afa-pseudo-label``: writes the pseudo labels (walk and PAR) of photos whose image labels are known."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli import build
from afa_wsss.cli.evaluate import restore
from afa_wsss.cli.shell import run
from afa_wsss.evaluation.tables import files_table, stages_table
from afa_wsss.training.callbacks import MaskWriter, Montages, ProgressBar


def make_pseudo_labels(config: DictConfig) -> None:
    """Writes one palette PNG a photo, and says how good they are where there are masks."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    _, data, module = restore(config)
    pictures, masks = folder / "montages", folder / "pseudo_labels"
    callbacks = [ProgressBar(), Montages(str(pictures)), MaskWriter(str(masks), reading="pseudo_label")]
    device = {key: config.trainer[key] for key in ("accelerator", "devices", "precision")}
    trainer = build.make_trainer(device, callbacks=callbacks, logger=False, enable_model_summary=False)
    trainer.validate(module, datamodule=data, verbose=False)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    Console().print(stages_table(metrics), files_table({"pseudo labels": masks, "pictures": pictures}))


def main() -> None:
    """Entry point of ``afa-pseudo-label``."""
    run(make_pseudo_labels, "pseudo_label")


if __name__ == "__main__":
    main()
