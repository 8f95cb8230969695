"""What the commands do, called from Python with the words of the command line; ``afa_wsss`` exports these."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import wandb
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from afa_wsss.api import evaluate as evaluation
from afa_wsss.api import predict as prediction
from afa_wsss.api import train as training
from afa_wsss.api.recipes import recipe_folder
from afa_wsss.cli import evaluate as evaluate_command
from afa_wsss.cli import predict as predict_command
from afa_wsss.cli import pseudo_label as pseudo_label_command
from afa_wsss.cli import train as train_command
from afa_wsss.cli.compose import Composed, register, settings_of
from afa_wsss.cli.messages import user_message
from afa_wsss.cli.output import say_warning
from afa_wsss.cli.shell import Command, quiet_libraries
from afa_wsss.cli.words import as_hydra_wants
from afa_wsss.errors import UserError

Settings = TypeVar("Settings")
Result = TypeVar("Result")

_COMPOSING = threading.Lock()
"""Hydra composes by a global state."""


def train(*words: str) -> training.Run:
    """Trains, scores and writes the run's folder, as ``afa-train`` does.

    The run of wandb that ``logger=wandb`` begins is ended, so that the next call has one of its own; one that was open
    before, by ``wandb.init``, takes what is logged and stays open.

    Args:
        words: The words of the command line, as ``"experiment=demo", "trainer.max_steps=20"``.

    Returns:
        Its ``metrics``, ``folder`` and ``segmenter``.

    Raises:
        UserError: For what the command would print as an error.
    """

    def job(composed: Composed[train_command.TrainWords]) -> training.Run:
        linked = {name: value for name, value in composed.linked.items() if name != "config"}
        begins_wandb = wandb.run is None
        try:
            run = training.train(
                composed.settings, composed.config, linked=linked, announce=train_command.say_notes, warn=say_warning
            )
        except BaseException:
            if begins_wandb:
                train_command.leave_wandb()
            raise
        if begins_wandb:
            train_command.close_loggers(run)
        return run

    return _run(train_command.COMMAND, words, job)


def evaluate(*words: str) -> evaluation.Evaluation:
    """Scores a checkpoint, as ``afa-eval`` does: ``evaluate("checkpoint=best.ckpt", "inference.refinement=par")``.

    Raises:
        UserError: For what the command would print as an error.
    """
    return _run(evaluate_command.COMMAND, words, lambda composed: evaluation.evaluate(composed.settings))


def predict(*words: str) -> prediction.Prediction:
    """Labels photos, as ``afa-predict`` does: ``predict("checkpoint=best.ckpt", "input=photos")``.

    Photos that cannot be read are named in ``failed`` of the result.

    Raises:
        UserError: For what else the command would print as an error.
    """
    return _run(predict_command.COMMAND, words, lambda composed: prediction.predict(composed.settings))


def pseudo_label(*words: str) -> evaluation.Evaluation:
    """Writes pseudo labels, as ``afa-pseudo-label`` does: ``pseudo_label("checkpoint=best.ckpt")``.

    Raises:
        UserError: For what the command would print as an error.
    """
    return _run(pseudo_label_command.COMMAND, words, lambda composed: evaluation.pseudo_label(composed.settings))


def _run(command: Command[Settings], words: tuple[str, ...], job: Callable[[Composed[Settings]], Result]) -> Result:
    quiet_libraries()
    try:
        return job(compose_words(command, words))
    except Exception as error:
        message = user_message(error)
        if message is None or (isinstance(error, UserError) and message == str(error)):
            raise
        raise UserError(message) from error


def compose_words(command: Command[Settings], words: tuple[str, ...]) -> Composed[Settings]:
    """The settings of a command with these words, outside of Hydra's own runner.

    Raises:
        UserError: For what the command would print as an error.
    """
    with _COMPOSING:
        register(command.name, command.settings, command.parts)
        with _own_hydra(), initialize_config_dir(str(recipe_folder()), version_base="1.3"):
            config: Any = compose(command.name, overrides=as_hydra_wants(words))
        return settings_of(config, command.settings)


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Room for a Hydra of our own; the caller's is back at the end."""
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs
