"""``trainer.ema_decay`` by the real command: who reads the average, what moves it, and what does not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.commands import composed, quiet_libraries, run_command, small_run
from tests.run_folder import read, scores

from afa_wsss import load
from afa_wsss.api.train import train as train_run
from afa_wsss.cli import evaluate
from afa_wsss.cli import train as training
from afa_wsss.losses import SegmentationLoss
from afa_wsss.training.module import AFAModule
from afa_wsss.training.weight_average import WeightAverage

AUTO = [f"supervision.{name}=auto" for name in ("low", "high", "background")]
WALK = [f"supervision.walk_{name}=null" for name in ("low", "high", "background")]


def words(root, folder, *more):
    return [*small_run(root), "callbacks=none", "logger=none", "trainer.ema_decay=0.9", f"output_dir={folder}", *more]


def trained(root, folder, *more):
    """The content of the last checkpoint of a run."""
    assert run_command(training.main, *words(root, folder, *more)) == 0
    return read(folder)


def network_of(state):
    return {
        name.removeprefix("network."): value
        for name, value in state["state_dict"].items()
        if name.startswith("network.")
    }


def differing(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def test_who_opens_a_checkpoint_gets_the_average_that_was_scored(root, tmp_path):
    state = trained(root, tmp_path / "run")
    assert not differing(network_of(state), state["weight_average"]["network"])
    assert "classifier.weight" in differing(network_of(state), state["weight_average"]["trained"])
    assert any("running_mean" in name for name in differing(network_of(state), state["weight_average"]["trained"]))
    assert "decay 0.9, for validation" in (tmp_path / "run" / "report.html").read_text()
    opened = load(tmp_path / "run" / "checkpoints" / "last.ckpt", device="cpu").network.state_dict()
    assert not differing(opened, state["weight_average"]["network"])
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    assert run_command(evaluate.main, checkpoint, f"output_dir={tmp_path / 'eval'}") == 0
    alone, found = (scores(tmp_path / name, missing=math.nan) for name in ("eval", "run"))
    assert alone == pytest.approx({name: found[name] for name in alone}, rel=1e-6, nan_ok=True)


def test_with_labels_alone_the_trained_weights_are_kept(root, tmp_path):
    state = trained(root, tmp_path / "run", "trainer.ema_for=[labels]")
    assert not differing(network_of(state), state["weight_average"]["trained"])
    assert "classifier.weight" in differing(network_of(state), state["weight_average"]["network"])


def test_validation_by_the_average_changes_nothing_of_training(root, tmp_path):
    state = trained(root, tmp_path / "run")
    plain = trained(root, tmp_path / "plain", "trainer.ema_decay=null")
    assert "weight_average" not in plain
    assert not differing(state["weight_average"]["trained"], network_of(plain))


def test_a_finished_run_predicts_with_the_average(root, tmp_path):
    quiet_libraries()
    composed_run = composed(*words(root, tmp_path / "run"))
    run = train_run(composed_run.settings, composed_run.config)
    state = read(run.folder)
    assert not differing(run.segmenter.network.state_dict(), state["weight_average"]["network"])


def test_gathered_gradients_move_it_once(root, tmp_path):
    state = trained(root, tmp_path / "run", "trainer.accumulate_grad_batches=2", "data.batch_size=1")
    assert state["weight_average"]["updates"] == state["global_step"] == 4


def test_a_step_that_is_left_out_moves_nothing(root, tmp_path, monkeypatch):
    forward, update, step, now, seen = SegmentationLoss.forward, WeightAverage.update, AFAModule.training_step, [], []

    def count(self, batch, batch_index):
        now[:] = [self.global_step + 1]
        return step(self, batch, batch_index)

    def spoil(self, output, targets):
        return forward(self, output, targets) * (math.nan if now == [3] else 1.0)

    def record(self, network, *, left_out=None):
        update(self, network, left_out=left_out)
        seen.append({name: value.clone() for name, value in self.network.state_dict().items()})

    monkeypatch.setattr(AFAModule, "training_step", count)
    monkeypatch.setattr(SegmentationLoss, "forward", spoil)
    monkeypatch.setattr(WeightAverage, "update", record)
    trained(root, tmp_path / "run", "trainer.skip_nonfinite=1")
    assert len(seen) == 4
    assert differing(seen[1], seen[0])
    assert not differing(seen[2], seen[1])
    assert differing(seen[3], seen[2])


@pytest.mark.parametrize("source", ["photos", "masks"])
def test_thresholds_are_found_from_the_labels_of_the_average(root, tmp_path, source):
    label = ["trainer.ema_for=[labels]", *AUTO, *WALK, f"supervision.auto_from={source}"]
    state = trained(root, tmp_path / "run", *label)
    (looks,) = (value for name, value in state["state_dict"].items() if name == "label_memory.looks")
    assert looks.sum() > 0


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_have_one_average(root, tmp_path):
    """Each validates a share of the photos; one alone gets the same scores from the average of the first."""
    more = ["trainer.devices=2", "trainer.ema_for=[validation,labels]", "data.eval_batch_size=1"]
    done = subprocess.run(
        [Path(sys.executable).parent / "afa-train", *words(root, tmp_path / "run", *more)],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two processes: a pixel's label may hang on the order of a sum
    assert run_command(evaluate.main, checkpoint, f"output_dir={tmp_path / 'alone'}") == 0
    torch.set_num_threads(threads)
    together, alone = (scores(tmp_path / name, missing=math.nan) for name in ("run", "alone"))
    assert alone == pytest.approx({name: together[name] for name in alone}, rel=1e-6, nan_ok=True)
