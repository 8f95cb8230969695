"""torchrun starts the installed command, and a process that is killed ends all of them with one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import small_run, write_small_set

BIN = Path(sys.executable).parent
WITHIN = 60
"""Seconds that the others may go on for."""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Two processes that write to ``folder / "run"``; what they print is in ``folder / "printed"``."""
    root = write_small_set(folder / "partshapes")
    settings = [*small_run(root), "trainer.devices=2", "data.eval_batch_size=1", "callbacks=quiet"]
    command = [BIN / "torchrun", "--standalone", "--nproc_per_node=2", BIN / "afa-train"]
    with (folder / "printed").open("w") as printed:
        return subprocess.Popen(
            [*command, *settings, f"output_dir={folder / 'run'}", *words],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            text=True,
        )


def workers(parent: int) -> list[int]:
    """Processes that ``parent`` started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.ddp
@pytest.mark.slow
def test_torchrun_trains_one_run_in_one_folder(tmp_path):
    assert start(tmp_path).wait(timeout=300) == 0, (tmp_path / "printed").read_text()
    assert "val/miou" in json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (tmp_path / "printed").read_text().count("segmentation branch  ") == 1


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_killed_process_ends_all_with_one_message(tmp_path):
    running = start(tmp_path, "trainer.max_steps=4000", "trainer.val_check_interval=4000")
    try:
        curves = tmp_path / "run" / "logs" / "metrics.csv"
        until = time.monotonic() + 200
        while not curves.exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.5)
        assert curves.exists(), (tmp_path / "printed").read_text()
        started = workers(running.pid)
        os.kill(started[1], signal.SIGKILL)
        assert running.wait(timeout=WITHIN) == 1
        printed = (tmp_path / "printed").read_text()
        assert printed.count("error: another process of this run has stopped; its own message says why") == 1, printed
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    finally:
        running.terminate()
        running.wait()
