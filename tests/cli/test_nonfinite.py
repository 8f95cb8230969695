"""Values that are not finite: the step is left out, the run ends or goes on, and nothing of it is kept."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from tests.commands import run_command, small_run
from tests.run_folder import checkpoint, read

from afa_wsss.cli import shell
from afa_wsss.cli import train as training
from afa_wsss.losses import SegmentationLoss
from afa_wsss.training.module import AFAModule

STEPS = 6


def words(root, folder, *more):
    steps = [f"trainer.max_steps={STEPS}", "callbacks=none", "logger=csv"]
    return [*small_run(root), *steps, f"output_dir={folder}", *more]


def assert_equal(found, expected):
    """To the bit, whatever is inside."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_equal(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


@pytest.fixture
def spoil(monkeypatch):
    """Makes the segmentation loss of some training steps, counted from 1, what is given."""

    def spoil_steps(steps, value=math.nan):
        forward, step, now = SegmentationLoss.forward, AFAModule.training_step, []

        def training_step(self, batch, batch_index):
            now[:] = [self.global_step + 1]
            return step(self, batch, batch_index)

        def spoilt(self, output, targets):
            return forward(self, output, targets) * (value if now[0] in steps else 1.0)

        monkeypatch.setattr(AFAModule, "training_step", training_step)
        monkeypatch.setattr(SegmentationLoss, "forward", spoilt)

    return spoil_steps


@pytest.mark.parametrize("step", [3, 4, 5, 6])
def test_the_run_ends_with_the_state_before_the_step(root, tmp_path, spoil, monkeypatch, capfd, step):
    """Validation is at step 3 and 6, and an epoch ends after step 4."""
    assert run_command(training.main, *words(root, tmp_path / "whole")) == 0
    spoil([step])
    assert run_command(training.main, *words(root, tmp_path / "run")) == 1
    said = capfd.readouterr()
    assert f"at step {step}: segmentation loss is nan (photos train_" in said.err
    assert f"go on after step {step - 1} with: resume={checkpoint(tmp_path / 'run')}" in said.out
    assert read(tmp_path / "run")["global_step"] == step - 1
    monkeypatch.undo()
    assert run_command(training.main, *words(root, tmp_path / "again", f"resume={checkpoint(tmp_path / 'run')}")) == 0
    found, expected = read(tmp_path / "again"), read(tmp_path / "whole")
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert_equal(found[name], expected[name])


def test_steps_that_are_allowed_are_left_out_and_told(root, tmp_path, spoil, capfd):
    spoil([3, 5], math.inf)
    assert run_command(training.main, *words(root, tmp_path, "trainer.skip_nonfinite=1")) == 0
    said = capfd.readouterr().out
    for step in (3, 5):
        assert f"step {step} is left out (1 in a row, trainer.skip_nonfinite=1 are allowed): segmentation loss" in said
    state = read(tmp_path)
    steps = {float(one["step"]) for one in state["optimizer_states"][0]["state"].values()}
    assert (state["global_step"], steps) == (STEPS, {STEPS - 2.0})
    assert [step for step, _ in state["callbacks"]["NonFinite"]["found"]] == [3, 5]
    page = (tmp_path / "report.html").read_text()
    assert "2, the first is step 3: segmentation loss is " in page
    assert ">not finite<" in page


def test_more_in_a_row_end_the_run_and_the_report_shows_where(root, tmp_path, spoil, capfd):
    spoil([4, 5])
    assert run_command(training.main, *words(root, tmp_path, "trainer.skip_nonfinite=1")) == 1
    assert "in 2 steps in a row at step 5: segmentation loss is nan" in capfd.readouterr().err
    assert read(tmp_path)["global_step"] == 4
    page = (tmp_path / "report.html").read_text()
    assert "2, the first is step 4: segmentation loss is nan" in page
    assert ">not finite<" in page


def test_gathered_gradients_are_one_step(root, tmp_path, spoil, capfd):
    """Of two batches; the loss of both is spoilt, and the next step is good again."""
    spoil([2])
    given = words(
        root, tmp_path, "trainer.accumulate_grad_batches=2", "trainer.max_steps=3", "trainer.skip_nonfinite=1"
    )
    assert run_command(training.main, *given) == 0
    assert capfd.readouterr().out.count("is left out") == 1
    state = read(tmp_path)
    assert {float(one["step"]) for one in state["optimizer_states"][0]["state"].values()} == {2.0}


def test_weights_that_are_not_finite_are_not_written_and_not_resumed_from(root, tmp_path, monkeypatch, capfd):
    """The gradient was finite, and the step made them so."""

    def spoil_weights(self, *_):
        with torch.no_grad():
            self.network.classifier.weight[0, 0] = math.nan

    run = tmp_path / "run"
    assert run_command(training.main, *words(root, run, "trainer.max_steps=2")) == 0
    monkeypatch.setattr(AFAModule, "on_train_batch_end", spoil_weights)
    kept = {path: path.read_bytes() for path in (run / "checkpoints").glob("*.ckpt")}
    assert run_command(training.main, *words(root, run, f"resume={checkpoint(run)}")) == 1
    assert "need finite weights, got others in network.classifier.weight after step 3" in capfd.readouterr().err
    assert kept == {path: path.read_bytes() for path in (run / "checkpoints").glob("*.ckpt")}
    monkeypatch.undo()
    state = read(run)
    state["state_dict"]["network.classifier.weight"][0, 0] = math.nan
    torch.save(state, spoilt := tmp_path / "spoilt.ckpt")
    assert run_command(training.main, *words(root, tmp_path / "again", f"resume={spoilt}")) == 1
    assert "need finite weights" in capfd.readouterr().err


def test_a_job_of_a_sweep_has_no_score(root, tmp_path, spoil, monkeypatch):
    swept, scores = shell.swept, []
    monkeypatch.setattr(shell, "swept", lambda run: scores.append(swept(run)) or scores[-1])
    monkeypatch.chdir(tmp_path)
    spoil([2])
    given = [word for word in words(root, tmp_path) if not word.startswith("output_dir")]
    assert run_command(training.main, "-m", *given, "trainer.skip_nonfinite=0,1") == 1
    assert math.isnan(scores[0])
    assert 0 <= scores[1] <= 100


SPOILT_IN_ONE = """
from afa_wsss.cli import train
from afa_wsss.losses import SegmentationLoss

forward, calls = SegmentationLoss.forward, []

def spoilt(self, output, targets):
    import torch.distributed
    calls.append(1)
    wrong = torch.distributed.get_rank() == 1 and len(calls) == 2
    return forward(self, output, targets) * (float("nan") if wrong else 1.0)

SegmentationLoss.forward = spoilt
train.main()
"""
"""The command; the third step's segmentation loss, which begins at the second step, is NaN in the second process."""


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_end_alike(root, tmp_path):
    (tmp_path / "spoilt.py").write_text(SPOILT_IN_ONE)
    given = words(root, tmp_path, "trainer.devices=2", "data.eval_batch_size=1", "trainer.val_check_interval=6")
    run = subprocess.run(
        [sys.executable, tmp_path / "spoilt.py", *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert run.stderr.count("error: ") == 1
    assert "at step 3: segmentation loss is nan (photos train_" in run.stderr
    assert "Traceback" not in run.stderr
    assert "go on after step 2 with" in run.stdout
    assert read(tmp_path)["global_step"] == 2


def test_steps_in_a_row_are_counted_over_a_resume(root, tmp_path, spoil, capfd):
    """Step 4 is left out, and the run stopped; after it step 5 is the second in a row, as without the stop."""
    spoil([4, 5])
    allowed = "trainer.skip_nonfinite=1"
    assert run_command(training.main, *words(root, tmp_path / "run", allowed, "trainer.max_steps=4")) == 0
    assert read(tmp_path / "run")["callbacks"]["NonFinite"]["streak"] == 1
    go_on = f"resume={checkpoint(tmp_path / 'run')}"
    for _ in range(2):  # the state is that before step 5, and stays so
        assert run_command(training.main, *words(root, tmp_path / "run", allowed, go_on)) == 1
        assert "in 2 steps in a row at step 5: segmentation loss is nan" in capfd.readouterr().err
        found = read(tmp_path / "run")["callbacks"]["NonFinite"]
        assert ([step for step, _ in found["found"]], found["streak"]) == ([4], 1)
