"""Processes that torchrun or the command itself starts; one that is killed ends all of them with one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.commands import small_run, write_small_set

BIN = Path(sys.executable).parent
WITHIN = 60
"""Seconds that the others may go on for."""

TORCHRUN = (BIN / "torchrun", "--standalone", "--nproc_per_node=2")


def start(folder: Path, *words: str, launcher: Sequence[str | Path] = TORCHRUN) -> subprocess.Popen[str]:
    """Two processes that write to ``folder / "run"``; what they print is in ``folder / "printed"``."""
    root = write_small_set(folder / "partshapes")
    settings = [*small_run(root), "trainer.devices=2", "data.eval_batch_size=1", "callbacks=quiet"]
    with (folder / "printed").open("w") as printed:
        return subprocess.Popen(
            [*launcher, BIN / "afa-train", *settings, f"output_dir={folder / 'run'}", *words],
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


def trains(running: subprocess.Popen[str], folder: Path) -> None:
    """Waits for the first steps."""
    curves, until = folder / "run" / "logs" / "metrics.csv", time.monotonic() + 200
    while not curves.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.5)
    assert curves.exists(), (folder / "printed").read_text()


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended, and that nobody has asked how, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize("killed", ["torchrun", "first", "second"])
def test_a_killed_process_ends_all_with_one_message(tmp_path, killed):
    """Of two that torchrun started, or of the command itself and the one that it started."""
    launcher = TORCHRUN if killed == "torchrun" else ()
    running = start(tmp_path, "trainer.max_steps=4000", "trainer.val_check_interval=4000", launcher=launcher)
    try:
        trains(running, tmp_path)
        started = workers(running.pid)
        processes = started if launcher else [running.pid, *started]
        os.kill(processes[0 if killed == "first" else 1], signal.SIGKILL)
        assert running.wait(timeout=WITHIN) == (-signal.SIGKILL if killed == "first" else 1)
        until = time.monotonic() + WITHIN
        while any(map(lives, processes)) and time.monotonic() < until:
            time.sleep(0.5)
        assert not any(map(lives, processes))
        printed = (tmp_path / "printed").read_text()
        assert printed.count("error: another process of this run has stopped; its own message says why") == 1, printed
        assert launcher or "Traceback" not in printed  # torchrun itself ends with one
    finally:
        running.terminate()
        running.wait()
