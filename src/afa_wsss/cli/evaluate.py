"""``afa-eval``: scores a checkpoint, which needs nothing beside it, and writes masks and pictures."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli import build
from afa_wsss.cli.official import open_checkpoint
from afa_wsss.cli.shell import run
from afa_wsss.errors import UserError
from afa_wsss.models.weights.files import load_strictly
from afa_wsss.report.results import write_results
from afa_wsss.report.tables import classes_table, files_table, stages_table
from afa_wsss.training.callbacks import MaskWriter, Montages, ProgressBar
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule


def override(stored: build.Plain, given: build.Plain) -> build.Plain:
    """``stored`` with every value of ``given`` that is not null."""
    return stored | {key: value for key, value in given.items() if value is not None}


def restore(config: DictConfig, *, with_masks: bool = True) -> tuple[build.Plain, AFADataModule, AFAModule]:
    """The run's settings with the command's in their place, its validation data, and the module with its weights.

    Args:
        config: Of the command.
        with_masks: Whether the photos must have masks.

    Raises:
        UserError: For a checkpoint that is neither ours nor the official code's, or of other classes than the data.
    """
    given = build.plain(config)
    settings, weights = open_checkpoint(given["checkpoint"])
    for group in ("data", "inference"):
        settings[group] = override(settings[group], given.get(group, {}))
    if settings["data"]["root"] is None:
        raise UserError("need a value for data.root, a checkpoint of the official code has none; add data.root=...")
    data = build.make_data(settings["data"], seed=settings["seed"], train=False, with_masks=with_masks)
    trained = weights["classifier.weight"].shape[0]
    if trained != len(data.class_names):
        raise UserError(
            f"need data of the checkpoint's {trained} classes, {settings['data']['root']} has {len(data.class_names)}; "
            "give another data.root or checkpoint"
        )
    pairs = zip(settings["class_names"], data.class_names, strict=True)
    other = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if other is not None:
        raise UserError(
            f"need data of the checkpoint's classes in their order, {settings['data']['root']} has {other[1]!r} where "
            f"the checkpoint has {other[0]!r}; give another data.root or checkpoint"
        )
    network = build.make_network({**settings["model"], "pretrained": None}, trained)
    load_strictly(network, weights, source=given["checkpoint"])
    return settings, data, build.make_module(settings, network, data)


def score(config: DictConfig, *, reading: str, masks: Path | None, with_masks: bool = True) -> dict[str, float]:
    """Validates, and writes masks, pictures, metrics, settings and the report.

    Args:
        config: Of the command.
        reading: What the masks show, see ``MaskWriter``.
        masks: The folder for them; None for none.
        with_masks: Whether the photos must have masks; without them there is little to score.

    Returns:
        The scores.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    settings, data, module = restore(config, with_masks=with_masks)
    if reading == "pseudo_label" and not data.dataset.image_labels.any():
        split = settings["data"]["val_split"]
        raise UserError(
            f"need image labels to make pseudo labels from, {split} has none; afa-eval writes masks without"
        )
    module.crf = reading == "segmentation" and settings["inference"].get("crf", False)
    callbacks = [ProgressBar(), Montages(str(folder / "montages"), photos=config.pictures)]
    if masks is not None:
        callbacks.append(MaskWriter(str(masks), reading=reading))
    device = {key: config.trainer[key] for key in ("accelerator", "devices", "precision")}
    trainer = build.make_trainer(device, callbacks=callbacks, logger=False, enable_model_summary=False)
    trainer.validate(module, datamodule=data, verbose=False)
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        build.write_config(settings, folder)
        written = write_results(folder, metrics, settings, data.class_names, data.dataset.palette, None)
        if masks is not None:
            written[masks.name.replace("_", " ")] = masks
        Console().print(
            stages_table(metrics), *([classes_table(metrics)] if "val/miou" in metrics else []), files_table(written)
        )
    return metrics


def evaluate(config: DictConfig) -> float | None:
    """Scores the segmentation branch.

    Returns:
        ``val/miou`` in percent; None without masks.
    """
    masks = Path(HydraConfig.get().runtime.output_dir) / "masks" if config.write_masks else None
    return score(config, reading="segmentation", masks=masks).get("val/miou")


def main() -> None:
    """Entry point of ``afa-eval``."""
    run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
