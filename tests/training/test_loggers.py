from __future__ import annotations

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger
from tests.run_folder import rows

from afa_wsss.training.loggers import MetricsCSV, go_on_with, read_rows, wandb_ids


def logger(folder, *, done_steps=0):
    made = MetricsCSV(folder, name="", version="logs")
    made.done_steps = done_steps
    return made


def log(made, **values):
    step = values.pop("step")
    made.log_metrics(values, step=step)
    made.save()


def test_rows_of_several_columns(tmp_path):
    made = logger(tmp_path)
    log(made, step=0, loss=1.5)
    log(made, step=1, loss=0.5, miou=20.0)
    log(made, step=2, loss=0.25)
    assert rows(tmp_path) == [
        {"step": "0", "loss": "1.5"},
        {"step": "1", "loss": "0.5", "miou": "20.0"},
        {"step": "2", "loss": "0.25"},
    ]


def test_a_resumed_run_goes_on_after_the_steps_of_its_checkpoint(tmp_path):
    """Step 2 was logged after the checkpoint, and is done again; the line of step 3 was cut off."""
    first = logger(tmp_path)
    for step in range(3):
        log(first, step=step, loss=float(step))
    path = tmp_path / "logs" / "metrics.csv"
    path.write_text(path.read_text() + "3.")
    second = logger(tmp_path, done_steps=2)
    log(second, step=2, loss=7.0)
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [("0", "0.0"), ("1", "1.0"), ("2", "7.0")]


def test_what_is_logged_again_takes_the_place_of_what_was(tmp_path):
    """A validation that a run was killed in has the step of the training values before it."""
    first = logger(tmp_path)
    log(first, step=1, loss=1.0)
    log(first, step=1, miou=20.0)
    second = logger(tmp_path, done_steps=2)
    log(second, step=1, miou=30.0)
    assert rows(tmp_path) == [{"step": "1", "loss": "1.0"}, {"step": "1", "miou": "30.0"}]


def test_a_run_that_starts_anew_replaces_the_file(tmp_path):
    log(logger(tmp_path), step=5, loss=1.0)
    log(logger(tmp_path), step=0, loss=2.0)
    assert rows(tmp_path) == [{"step": "0", "loss": "2.0"}]


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.csv") == []


@pytest.mark.slow
def test_a_wandb_run_goes_on(tmp_path):
    first = WandbLogger(project="p", save_dir=tmp_path, offline=True)
    _ = first.experiment
    ids = wandb_ids([first])
    wandb.finish()
    second = WandbLogger(project="p", save_dir=tmp_path, offline=True)
    go_on_with([second], done_steps=3, ids=ids)
    assert second.experiment.id == ids[0]
    wandb.finish()
