"""``afa-eval``: scores a checkpoint, which needs nothing beside it, and writes masks and pictures."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli import build
from afa_wsss.cli.shell import run
from afa_wsss.evaluation.results import write_results
from afa_wsss.evaluation.tables import classes_table, files_table, stages_table
from afa_wsss.models.weights import load_strictly
from afa_wsss.training.callbacks import MaskWriter, Montages, ProgressBar
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule
from afa_wsss.types import UserError


def override(stored: build.Plain, given: build.Plain) -> build.Plain:
    """``stored`` with every value of ``given`` that is not null."""
    return stored | {key: value for key, value in given.items() if value is not None}


def restore(config: DictConfig) -> tuple[build.Plain, AFADataModule, AFAModule]:
    """The run's settings with the command's in their place, its validation data, and the module with its weights."""
    given = build.plain(config)
    settings, weights = build.load_checkpoint(given["checkpoint"])
    for group in ("data", "inference"):
        settings[group] = override(settings[group], given.get(group, {}))
    data = build.make_data(settings["data"], seed=settings["seed"], train=False)
    trained = weights["classifier.weight"].shape[0]
    if trained != len(data.class_names):
        raise UserError(
            f"need data of the checkpoint's {trained} classes, {settings['data']['root']} has {len(data.class_names)}; "
            "give another data.root or checkpoint"
        )
    network = build.make_network({**settings["model"], "pretrained": None}, trained)
    load_strictly(network, weights, source=given["checkpoint"])
    return settings, data, build.make_module(settings, network, data)


def evaluate(config: DictConfig) -> float | None:
    """Validates, and writes masks, pictures, metrics and the report.

    Returns:
        ``val/miou`` in percent; None without masks.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    settings, data, module = restore(config)
    callbacks = [ProgressBar(), Montages(str(folder / "montages"), photos=config.pictures)]
    if config.write_masks:
        callbacks.append(MaskWriter(str(folder / "masks"), reading="segmentation"))
    device = {key: config.trainer[key] for key in ("accelerator", "devices", "precision")}
    trainer = build.make_trainer(device, callbacks=callbacks, logger=False, enable_model_summary=False)
    trainer.validate(module, datamodule=data, verbose=False)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        written = write_results(folder, metrics, settings, data.class_names, data.dataset.palette, None)
        if config.write_masks:
            written["masks"] = folder / "masks"
        Console().print(stages_table(metrics), classes_table(metrics), files_table(written))
    return metrics.get("val/miou")


def main() -> None:
    """Entry point of ``afa-eval``."""
    run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
