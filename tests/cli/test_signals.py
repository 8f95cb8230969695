"""Signals stop a run between two steps: saved, with the exit code that shells know, and one line on how to go on."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch
from tests.commands import run_command, small_run
from tests.run_folder import checkpoint

from afa_wsss.cli import train as training
from afa_wsss.training.module import AFAModule

SLURM = {
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "localhost",
}


@pytest.fixture(autouse=True)
def _handlers():
    """Whatever a run installs is taken away."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(signum) for signum in wanted]
    yield
    for signum, handler in zip(wanted, before, strict=True):
        signal.signal(signum, handler)


def words(root, folder, *more):
    steps = ["trainer.max_steps=6", "callbacks=none", "logger=csv"]
    return [*small_run(root), *steps, f"output_dir={folder}", *more]


@pytest.fixture
def send(monkeypatch):
    """Sends this process a signal in the middle of a step, or of a validation."""

    def send_at(signum, count, method="training_step"):
        original, seen = getattr(AFAModule, method), []

        def sending(self, batch, batch_index):
            seen.append(batch.names)
            if len(seen) == count:
                os.kill(os.getpid(), signum)
            return original(self, batch, batch_index)

        monkeypatch.setattr(AFAModule, method, sending)
        return seen

    return send_at


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_step_is_done_and_saved(root, tmp_path, send, capfd, signum):
    seen = send(signum, 2)
    assert run_command(training.main, *words(root, tmp_path)) == 128 + signum
    assert len(seen) == torch.load(checkpoint(tmp_path), weights_only=True)["global_step"] == 2
    said = capfd.readouterr()
    assert f"stopped; go on after step 2 with: resume={checkpoint(tmp_path)}" in said.out
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize(("count", "step"), [(1, 3), (4, 6)])
def test_a_validation_is_left_at_once(root, tmp_path, send, capfd, count, step):
    """Of three batches each; the fourth is the first of the validation after the last step."""
    seen = send(signal.SIGTERM, count, "validation_step")
    assert run_command(training.main, *words(root, tmp_path, "data.eval_batch_size=2")) == 143
    assert len(seen) == count
    assert torch.load(checkpoint(tmp_path), weights_only=True)["global_step"] == step
    assert "resume=" in capfd.readouterr().out


def test_a_sweep_ends_too(root, tmp_path, send, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = send(signal.SIGTERM, 2)
    given = [word for word in words(root, tmp_path) if not word.startswith("output_dir")]
    assert run_command(training.main, "-m", *given, "seed=0,1") == 143
    assert len(seen) == 2


@pytest.mark.parametrize("answer", [0, 1, None])
def test_slurm_starts_the_job_again(root, tmp_path, send, monkeypatch, capfd, answer):
    asked = tmp_path / "asked"
    if answer is not None:
        command = tmp_path / "bin" / "scontrol"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\necho "$@" > {asked}\nls {checkpoint(tmp_path)} >> {asked}\nexit {answer}\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    send(signal.SIGUSR1, 2)
    assert run_command(training.main, *words(root, tmp_path)) == 128 + signal.SIGUSR1
    said = capfd.readouterr().out
    assert f"resume={checkpoint(tmp_path)}" in said
    if answer is not None:
        saved = checkpoint(tmp_path)
        assert asked.read_text() == f"requeue 42\n{saved}\n", "the state is saved before the job is ended"
    expected = {
        0: "SLURM starts job 42 again",
        1: "warning: scontrol requeue 42 failed with exit code 1",
        None: "warning: SLURM was not asked to start job 42 again",
    }
    assert expected[answer] in said


SLOW_STEPS = """
import time
from afa_wsss.cli import train
from afa_wsss.training.module import AFAModule

step = AFAModule.training_step

def slow_step(self, batch, index):
    if self.global_rank == 0:
        print("step", index, flush=True)
    end = time.monotonic() + 2 * (index > 0)
    while time.monotonic() < end:
        time.sleep(0.01)
    return step(self, batch, index)

AFAModule.training_step = slow_step
train.main()
"""
"""The command, with steps after the first that take two seconds more."""


@pytest.fixture
def started(root, tmp_path):
    """Starts the command as a shell does, in a process group, and waits for its second step."""
    (tmp_path / "slow.py").write_text(SLOW_STEPS)

    def start(*more):
        run = subprocess.Popen(
            [sys.executable, tmp_path / "slow.py", *words(root, tmp_path, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            cwd=tmp_path,
        )
        begin = []
        for line in run.stdout:
            begin.append(line)
            if line.startswith("step 1"):
                break
        return run, "".join(begin)

    return start


@pytest.mark.slow
@pytest.mark.parametrize(("times", "saved"), [(1, True), (2, False)])
def test_ctrl_c_in_a_terminal(started, tmp_path, times, saved):
    """The loaders' workers get it too."""
    run, said = started("data.num_workers=1")
    for _ in range(times):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.3)
    said += run.communicate(timeout=120)[0]
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert "Ctrl-C again ends at once" in said
    assert checkpoint(tmp_path).exists() == saved
    assert ("go on after step 2 with" in said) == saved


def all_gone(group, seconds=30.0):
    """Whether no process of the group is left after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize(("send", "signum"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_two_processes_stop_at_the_same_step(started, tmp_path, send, signum):
    """Whether both get the signal or the first alone; the other one is gone with it."""
    run, said = started("trainer.devices=2", "data.eval_batch_size=1")
    send(run.pid, signum)
    said += run.communicate(timeout=120)[0]
    assert run.returncode == 128 + signum, said
    assert "Traceback" not in said
    assert said.count("go on after step 2 with") == 1
    assert torch.load(checkpoint(tmp_path), weights_only=True)["global_step"] == 2
    assert all_gone(run.pid)
