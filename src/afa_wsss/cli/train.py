"""``afa-train``: trains AFA from image labels, scores it, and writes the run's folder."""

from __future__ import annotations

from pathlib import Path

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from afa_wsss.cli import build
from afa_wsss.cli.resume import bring_best, done_steps
from afa_wsss.cli.shell import run
from afa_wsss.models import AFA
from afa_wsss.report.results import write_results
from afa_wsss.report.tables import files_table, stages_table
from afa_wsss.training.callbacks import Checkpoints, ClassTable, Compilation, PlainConfig, UnevenValidation
from afa_wsss.training.datamodule import AFADataModule
from afa_wsss.training.module import AFAModule


def train(config: DictConfig) -> float | None:
    """One run: fit, validate the last weights, write metrics, report and tables.

    Returns:
        ``val/miou`` in percent, the objective of a sweep; None without validation masks.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    settings = build.plain(config)
    build.seed_everything(settings["seed"])
    pin_memory = torch.cuda.is_available() and settings["trainer"]["accelerator"] != "cpu"
    data = build.make_data(settings["data"], seed=settings["seed"], pin_memory=pin_memory)
    # A run that goes on has its weights in the checkpoint: those that it began with may be out of reach by now.
    begun = settings["model"] | ({} if settings["resume"] is None else {"pretrained": None})
    network = build.make_network(begun, len(data.class_names))
    module = build.make_module(settings, network, data)
    done = done_steps(settings["resume"], network, max_steps=settings["trainer"]["max_steps"])
    settings |= {"class_names": list(data.class_names), "palette": data.dataset.palette.tolist()}
    trainer = make_trainer(settings, folder)
    console = Console(quiet=not trainer.is_global_zero)
    announce(settings, data, network, console, done=done)
    if trainer.is_global_zero:
        bring_best(settings["resume"], folder / "checkpoints")
        build.write_config(settings, folder)
        for logger in trainer.loggers:
            logger.log_hyperparams(settings)
    fit(trainer, module, data, settings["resume"], console)
    metrics = final_scores(trainer, module, data, crf=settings["inference"]["crf"])
    if trainer.is_global_zero:
        history = folder / "logs" / "metrics.csv"
        written = write_results(folder, metrics, settings, data.class_names, data.dataset.palette, history)
        kept = checkpoints_of(trainer)
        if kept.best_score is not None:
            written["best checkpoint"] = kept.best
        written["last checkpoint"] = kept.last
        console.print(*([stages_table(metrics)] if data.val_set else []), files_table(written))
    close_loggers(trainer, console)
    return metrics.get("val/miou")


def fit(
    trainer: lightning.Trainer, module: AFAModule, data: AFADataModule, resume: str | None, console: Console
) -> None:
    """Trains from the start or from a checkpoint; where it is cut short, says how to go on."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except BaseException:
        kept = checkpoints_of(trainer)
        if kept.written_step and kept.last.is_file():
            told = f"stopped; go on after step {kept.written_step} with: resume={kept.last}"
            if kept.written_step == trainer.max_steps:
                told = f"stopped after the last step; score it with: afa-eval checkpoint={kept.last}"
            console.print(told, soft_wrap=True, highlight=False)
        raise


def checkpoints_of(trainer: lightning.Trainer) -> Checkpoints:
    """The callback that every run has."""
    return next(part for part in trainer.checkpoint_callbacks if isinstance(part, Checkpoints))


def make_trainer(settings: build.Plain, folder: Path) -> lightning.Trainer:
    """The Trainer with the callbacks and loggers of the configuration, and those that every run has."""
    loggers = build.make_parts(settings["logger"])
    callbacks = [
        Checkpoints(str(folder / "checkpoints"), every_n_steps=settings["trainer"]["checkpoint_interval"]),
        PlainConfig(settings),
        UnevenValidation(),
        ClassTable(),
        *([LearningRateMonitor("step")] if loggers else []),
        *([Compilation()] if settings["trainer"]["compile"] else []),
        *build.make_parts(settings["callbacks"]),
    ]
    return build.make_trainer(
        settings["trainer"] | ({} if settings["data"]["val_split"] else {"limit_val_batches": 0}),
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=folder,
        check_val_every_n_epoch=None,
        enable_model_summary=False,
    )


def announce(settings: build.Plain, data: AFADataModule, network: AFA, console: Console, *, done: int) -> None:
    """A few lines on what is about to be trained."""
    counts = [f"{len(s)} photos to {verb}" for s, verb in ((data.train_set, "train"), (data.val_set, "validate")) if s]
    model, steps = settings["model"], settings["trainer"]["max_steps"]
    console.print(
        f"[bold]{settings['name']}[/]: {model['backbone']}, {len(data.class_names)} classes, "
        f"{', '.join(counts)}, {steps} steps" + (f", of which {done} are done" if done else ""),
        network_table(network),
    )
    if model["pretrained"] is None and not done:
        console.print("[yellow]model.pretrained is null: the backbone starts from random weights[/]")


def network_table(network: AFA) -> Table:
    """Parameters of each part."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    for name, part in (*network.named_children(), ("all", network)):
        count = sum(parameter.numel() for parameter in part.parameters())
        if count:
            table.add_row(name.replace("_", " "), f"{count:,}")
    return table


def final_scores(
    trainer: lightning.Trainer, module: AFAModule, data: AFADataModule, *, crf: bool = False
) -> dict[str, float]:
    """Scores of the last weights; validated once more where the last step was not, or for the dense CRF."""
    scores = {key: float(value) for key, value in trainer.callback_metrics.items()}
    module.crf = crf
    if data.val_set is not None and (crf or module.validated_step != trainer.global_step):
        trainer.validate(module, datamodule=data, verbose=False)
        scores |= {key: float(value) for key, value in trainer.callback_metrics.items()}
    return scores


def close_loggers(trainer: lightning.Trainer, console: Console) -> None:
    """Ends the wandb run, so that the next job of a sweep has one of its own, and says where it is."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            experiment = logger.experiment
            told = f"wandb sync {Path(experiment.dir).parent}" if experiment.offline else experiment.url
            experiment.finish()
            console.print(f"wandb: {told}", soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point of ``afa-train``."""
    run(train, "train")


if __name__ == "__main__":
    main()
