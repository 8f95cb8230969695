"""``afa-train``: trains AFA from image labels, scores it, and writes the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from afa_wsss import losses, supervision
from afa_wsss.api.prepare import Prepared
from afa_wsss.api.run_info import backbone_name
from afa_wsss.api.settings import TrainSettings
from afa_wsss.api.train import Run, train
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say, say_files, say_scores, say_warning
from afa_wsss.cli.shell import Command
from afa_wsss.models import AFA

PARTS = {
    f"hydra/part/{part.__name__}": part
    for part in (
        losses.ClassificationLoss,
        losses.LabelDistributionLoss,
        losses.SegmentationLoss,
        losses.AffinityLoss,
        losses.DenseEnergyLoss,
        supervision.AFALabels,
        supervision.OracleLabels,
    )
} | {
    f"supervision/refinement/{refinement.name}": refinement
    for refinement in (supervision.PAR, supervision.DenseCRF, supervision.NoRefinement)
}
"""Parts that conf/ names."""


@dataclass(frozen=True)
class TrainWords(TrainSettings):
    """``TrainSettings``, and a word that is one of the command alone.

    Attributes:
        config: ``config.yaml`` of a run to start again.
    """

    config: str | None = None


def run_training(composed: Composed[TrainWords]) -> float | None:
    """One run, announced and summed up in the terminal.

    Returns:
        ``val/miou`` in percent, the objective of a sweep; None without validation masks.
    """
    linked = {name: value for name, value in composed.linked.items() if name != "config"}
    try:
        run = train(
            composed.settings,
            composed.config,
            linked=linked,
            announce=announce,
            warn=say_warning,
            stopped=say_how_to_go_on,
        )
    except BaseException:
        leave_wandb()
        raise
    if run.written:
        say_scores(run.metrics, run.stages, run.warnings)
        say_files(run.written)
    close_loggers(run)
    return run.metrics.get("val/miou")


def announce(prepared: Prepared) -> None:
    """A few lines on what is about to be trained."""
    if not prepared.trainer.is_global_zero:
        return
    settings, sets = prepared.settings, prepared.data
    counts = [f"{len(s)} photos to {verb}" for s, verb in ((sets.train_set, "train"), (sets.val_set, "validate")) if s]
    done = f", of which {prepared.done_steps} are done" if prepared.done_steps else ""
    console = Console()
    network = escape(backbone_name(settings.model.backbone))
    console.print(
        f"[bold]{escape(settings.name)}[/]: {network}, {len(sets.class_names)} classes, "
        f"{', '.join(counts)}, {settings.trainer.max_steps} steps of {prepared.step.describe()}{done}",
        network_table(prepared.module.network),
    )
    say_notes(prepared)
    if settings.model.pretrained is None and not prepared.done_steps:
        console.print("[yellow]model.pretrained is null: the backbone starts from random weights[/]")


def say_notes(prepared: Prepared) -> None:
    """What a resumed run goes on from and with, and what is wrong with checkpoints and data."""
    if not prepared.trainer.is_global_zero:
        return
    resumed = prepared.resumed
    if resumed is not None and resumed.went_on:
        say(f"this run has gone on from that checkpoint before; going on from {resumed.path}")
    if resumed is not None and resumed.left is not None:
        say(f"going on from step {resumed.step}; the checkpoint of step {resumed.left} is kept as {resumed.kept_as}")
    for change in () if resumed is None else resumed.changes:
        say(f"resumed with {change}")
    for line in prepared.warnings:
        say_warning(line)


def network_table(network: AFA) -> Table:
    """Parameters of each part, and how many of them are trained where that is not all."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    frozen = not all(parameter.requires_grad for parameter in network.parameters())
    if frozen:
        table.add_column("trained", justify="right")
    for name, part in (*network.named_children(), ("all", network)):
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in part.parameters()]
        if counts:
            trained = [f"{sum(count for count, is_trained in counts if is_trained):,}"] if frozen else []
            table.add_row(name.replace("_", " "), f"{sum(count for count, _ in counts):,}", *trained)
    return table


def say_how_to_go_on(prepared: Prepared) -> None:
    """Where training was cut short: how to go on, or that only scoring is left."""
    kept = prepared.checkpoints
    if not (prepared.trainer.is_global_zero and kept.written_step and kept.last.is_file()):
        return
    message = f"stopped; go on after step {kept.written_step} with: resume={kept.last}"
    if kept.written_step == prepared.trainer.max_steps:
        message = f"stopped after the last step; score it and write the report with: resume={kept.last}"
    say(message)


def leave_wandb() -> None:
    """Ends the wandb run of a job that failed, marked as failed: the next job of a sweep would go on in it."""
    if wandb.run is not None:
        wandb.run.finish(exit_code=1)


def close_loggers(run: Run) -> None:
    """Ends the wandb run, so that the next job of a sweep has one of its own, and prints where it is."""
    for logger in run.loggers:
        if isinstance(logger, WandbLogger) and run.written:
            experiment = logger.experiment
            place = f"wandb sync {Path(experiment.dir).parent}" if experiment.offline else experiment.url
            experiment.finish()
            say(f"wandb: {place}")


COMMAND = Command("train", TrainWords, run_training, PARTS, together=True)


def main() -> None:
    """Entry point of ``afa-train``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
