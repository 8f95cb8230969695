"""Two processes over gloo, started by the installed command itself."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.commands import run_command, small_run, write_small_set
from tests.run_folder import scores

from afa_wsss.cli import evaluate

COMMAND = Path(sys.executable).parent / "afa-train"


@pytest.mark.ddp
@pytest.mark.slow
def test_a_sweep_over_two_processes_scores_as_one_process_does(tmp_path):
    root = write_small_set(tmp_path / "partshapes")
    words = ["-m", *small_run(root), "trainer.devices=2", "data.eval_batch_size=1", "seed=0,1", "callbacks=quiet"]
    surroundings = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [COMMAND, *words], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "afa_wsss" not in done.stderr, done.stderr  # no warning that points at this package
    (sweep,) = (tmp_path / "outputs" / "demo").iterdir()
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1"]
    checkpoint = sweep / "1" / "checkpoints" / "last.ckpt"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two processes: a pixel's label may hang on the order of a sum
    assert run_command(evaluate.main, f"checkpoint={checkpoint}", f"output_dir={tmp_path / 'alone'}") == 0
    torch.set_num_threads(threads)
    together, alone = (scores(path, missing=math.nan) for path in (sweep / "1", tmp_path / "alone"))
    assert alone == pytest.approx({name: together[name] for name in alone}, rel=1e-6, nan_ok=True)


FAILING = """
from lightning.pytorch.callbacks import Callback


class FailsOnce(Callback):
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer, pl_module):
        if self.seed == 0 and trainer.global_rank == 0:
            raise ValueError("the first process of job 0")
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_a_job_that_fails_in_one_process_does_not_end_the_sweep(tmp_path):
    """Nor does the other process need anything but the words that find a recipe of one's own."""
    root = write_small_set(tmp_path / "partshapes")
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\ndefaults:\n  - demo\nname: own\n")
    words = [word for word in small_run(root) if not word.startswith("experiment=")]
    words = ["-m", "--config-dir", "mine", "experiment=own", *words, "trainer.devices=2", "seed=0,1", "callbacks=quiet"]
    words += ["callbacks.fails._target_=failing.FailsOnce", "callbacks.fails.seed=${seed}", "hydra.sweep.dir=sweep"]
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [COMMAND, *words], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "job 0: ValueError: the first process of job 0" in done.stderr
    assert "sweep: 1 of 2 jobs done, 1 failed" in done.stdout
    assert scores(tmp_path / "sweep" / "1")
