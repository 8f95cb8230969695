"""`data.total_batch`: the same steps on any number of devices, and when a run goes on with another number."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import run_command, small_run

from afa_wsss.cli import train as training
from afa_wsss.training.module import AFAModule

COMMAND = Path(sys.executable).parent / "afa-train"
STEPS = 5
"""Two steps of four crops are an epoch of the eight photos; validation is at steps 3 and 5."""


@pytest.fixture
def seen(monkeypatch):
    """Names of the photos of each step, and the steps after which there was a validation."""
    photos, validated = {}, []
    step = AFAModule.training_step

    def training_step(self, batch, batch_index):
        photos.setdefault(self.global_step, []).extend(batch.names)
        return step(self, batch, batch_index)

    monkeypatch.setattr(AFAModule, "training_step", training_step)
    monkeypatch.setattr(AFAModule, "on_validation_epoch_start", lambda self: validated.append(self.global_step))
    return photos, validated


def words(root, folder, *more):
    """The class loss alone, so that no mean over pixels depends on how a step is dealt."""
    steps = [f"trainer.max_steps={STEPS}", "supervision.first_step=100", "supervision.walk_first_step=200"]
    return [
        *small_run(root),
        *steps,
        "model.dropout=0",
        "model.drop_path_rate=0",
        "callbacks=none",
        "logger=csv",
        f"output_dir={folder}",
        *more,
    ]


def losses(folder):
    """Of each step, means over the whole batch."""
    rows = csv.DictReader((folder / "logs" / "metrics.csv").read_text().splitlines())
    return [float(row["train/loss"]) for row in rows if row["train/loss"]]


def test_accumulated_batches_make_the_same_steps(root, tmp_path, seen, capfd):
    photos, validated = seen
    assert run_command(training.main, *words(root, tmp_path / "whole", "data.batch_size=4")) == 0
    assert "5 steps of 4 crops" in " ".join(capfd.readouterr().out.split())
    whole = (dict(photos), list(validated))
    photos.clear(), validated.clear()
    assert run_command(training.main, *words(root, tmp_path / "dealt", "data.total_batch=4")) == 0
    assert "5 steps of 4 crops (2 batches of 2)" in " ".join(capfd.readouterr().out.split())
    assert (photos, validated) == whole
    assert validated == [3, 5]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("done", [1, 2, 4])
def test_a_run_goes_on_with_other_batches_at_the_same_photo(root, tmp_path, seen, done, batch_size):
    photos, validated = seen
    assert run_command(training.main, *words(root, tmp_path / "whole", "data.batch_size=4")) == 0
    whole, whole_validated = dict(photos), list(validated)
    photos.clear(), validated.clear()
    part = ["data.total_batch=4", f"trainer.max_steps={done}", f"scheduler.max_steps={STEPS}", "data.val_split=null"]
    assert run_command(training.main, *words(root, tmp_path / "run", *part)) == 0
    rest = ["data.total_batch=4", f"data.batch_size={batch_size}", "resume=auto"]
    assert run_command(training.main, *words(root, tmp_path / "run", *rest)) == 0
    assert photos == whole
    assert validated == [step for step in whole_validated if step > done]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.total_batch=0", "data.total_batch: need total_batch of at least 1, got 0"),
        ("trainer.accumulate_grad_batches=2", "data.total_batch: need total_batch or trainer.accumulate_grad_batches"),
    ],
)
def test_one_line_where_it_cannot_be(root, tmp_path, capfd, word, message):
    assert run_command(training.main, *words(root, tmp_path, "data.total_batch=4", word)) == 1
    assert capfd.readouterr().err.startswith(f"error: {message}")


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(root, tmp_path):
    surroundings = {**os.environ, "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1"}
    for name, devices in (("one", 1), ("two", 2)):
        dealt = ["data.total_batch=4", "data.batch_size=4", f"trainer.devices={devices}"]
        command = [COMMAND, *words(root, tmp_path / name, *dealt)]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
