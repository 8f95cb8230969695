"""``afa-train``: trains AFA from image labels, scores it, and writes the run's folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from omegaconf import DictConfig
from rich.console import Console

from afa_wsss.cli import build
from afa_wsss.cli.shell import run
from afa_wsss.evaluation.results import write_results
from afa_wsss.evaluation.tables import files_table, stages_table
from afa_wsss.models import AFA
from afa_wsss.training.callbacks import PlainConfig
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule


def train(config: DictConfig) -> float | None:
    """One run: fit, validate the last weights, write metrics, report and tables.

    Returns:
        ``val/miou`` in percent, the objective of a sweep; None without validation masks.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    settings = build.plain(config)
    lightning.seed_everything(settings["seed"], workers=True, verbose=False)
    pin_memory = torch.cuda.is_available() and settings["trainer"]["accelerator"] != "cpu"
    data = build.make_data(settings["data"], seed=settings["seed"], pin_memory=pin_memory)
    network = build.make_network(settings["model"], len(data.class_names))
    if settings["trainer"]["compile"]:
        network.compile()
    module = build.make_module(settings, network, data)
    settings |= {"class_names": list(data.class_names), "palette": data.dataset.palette.tolist()}
    trainer = _trainer(settings, folder)
    console = Console(stderr=False, quiet=not trainer.is_global_zero)
    _announce(settings, data, network, console)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    trainer.fit(module, datamodule=data)
    metrics = _final_scores(trainer, module, data)
    if trainer.is_global_zero:
        history = folder / "logs" / "metrics.csv"
        written = write_results(folder, metrics, settings, data.class_names, data.dataset.palette, history)
        checkpoints = {
            "best checkpoint": folder / "checkpoints" / "best.ckpt",
            "last": folder / "checkpoints" / "last.ckpt",
        }
        console.print(stages_table(metrics), files_table({**written, **checkpoints}))
    return metrics.get("val/miou")


def _trainer(settings: build.Plain, folder: Path) -> lightning.Trainer:
    """The Trainer with the callbacks and loggers of the configuration, and those that every run has."""
    monitor = "val/miou" if settings["data"]["val_split"] else None
    keep = partial(ModelCheckpoint, dirpath=folder / "checkpoints", enable_version_counter=False)
    callbacks = [
        keep(filename="best", monitor=monitor, mode="max", save_on_train_epoch_end=False),
        keep(
            filename="last", every_n_train_steps=settings["trainer"]["val_check_interval"], save_on_train_epoch_end=True
        ),
        LearningRateMonitor("step"),
        PlainConfig(settings),
        *(instantiate(item, _convert_="all") for item in settings["callbacks"].values()),
    ]
    loggers = [instantiate(item, _convert_="all") for item in settings["logger"].values()]
    return build.make_trainer(
        settings["trainer"],
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=folder,
        check_val_every_n_epoch=None,
        enable_model_summary=False,
    )


def _announce(settings: build.Plain, data: AFADataModule, network: AFA, console: Console) -> None:
    """A few lines on what is about to be trained."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    counts = [f"{len(s)} photos to {verb}" for s, verb in ((data.train_set, "train"), (data.val_set, "validate")) if s]
    model, steps = settings["model"], settings["trainer"]["max_steps"]
    console.print(
        f"[bold]{settings['name']}[/]: {model['backbone']} ({parameters / 1e6:.1f} M parameters), "
        f"{len(data.class_names)} classes, {', '.join(counts)}, {steps} steps"
    )
    if model["pretrained"] is None:
        console.print("[yellow]model.pretrained is null: the backbone starts from random weights[/]")


def _final_scores(trainer: lightning.Trainer, module: AFAModule, data: AFADataModule) -> dict[str, float]:
    """Scores of the last weights; validated once more where the last step was not."""
    if data.val_set is None:
        return {key: float(value) for key, value in trainer.callback_metrics.items() if not key.startswith("val/")}
    if module.validated_step != trainer.global_step:
        trainer.validate(module, datamodule=data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def main() -> None:
    """Entry point of ``afa-train``."""
    run(train, "train")


if __name__ == "__main__":
    main()
