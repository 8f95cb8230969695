"""A run that is killed at any moment ends as one that never was: the same weights, bit for bit, and the same scores."""

from __future__ import annotations

import shutil

import pytest
import torch
from tests.commands import run_command, small_run
from tests.run_folder import read, rows, scores

from afa_wsss.cli import train as training
from afa_wsss.training.callbacks import Checkpoints

STEPS = 6
"""Four steps are an epoch; validation is at step 3 and 6, values are logged at step 2, 4 and 6."""


def words(root, folder, *more):
    """Dropout and DropPath are on, labels are counted over two steps."""
    chosen = ["callbacks=none", "logger=csv", "trainer.log_every_n_steps=2", "trainer.checkpoint_interval=1"]
    return [*small_run(root), *chosen, "model.dropout=0.3", f"trainer.max_steps={STEPS}", f"output_dir={folder}", *more]


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A run that is never killed, and copies of its folder after each write of a checkpoint."""
    folder, moments = tmp_path_factory.mktemp("runs") / "whole", tmp_path_factory.mktemp("moments")
    save = Checkpoints.save

    def save_and_copy(self, trainer, path=None):
        save(self, trainer, path)
        shutil.copytree(folder, moments / f"{len(list(moments.iterdir())):02}_step_{trainer.global_step}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_copy)
        assert run_command(training.main, *words(root, folder)) == 0
    return folder, sorted(moments.iterdir())


def assert_equal_runs(found, expected):
    first, second = read(found), read(expected)
    for name, value in second["state_dict"].items():
        assert torch.equal(first["state_dict"][name], value), name
    moments = [one["optimizer_states"][0]["state"] for one in (first, second)]
    for index, values in moments[1].items():
        assert all(torch.equal(moments[0][index][name], value) for name, value in values.items()), index
    generators = [one["callbacks"]["Checkpoints"]["processes"] for one in (first, second)]
    for one, other in zip(*generators, strict=True):
        assert torch.equal(one["torch"], other["torch"])
        assert torch.equal(one["numpy"][1], other["numpy"][1])
    assert scores(found) == scores(expected)
    assert sorted(map(str, rows(found))) == sorted(map(str, rows(expected)))
    best = [read(one, "best") for one in (found, expected)]
    assert best[0]["global_step"] == best[1]["global_step"]


@pytest.mark.slow
def test_loaders_in_processes_begin_the_next_epoch(root, whole, tmp_path):
    """They fetch photos before Lightning says which epoch it is; step 4 is the last of the first."""
    expected, moments = whole
    (moment,) = [folder for folder in moments if folder.name.endswith("step_4")]
    run = shutil.copytree(moment, tmp_path / "run")
    assert run_command(training.main, *words(root, run, "resume=auto", "data.num_workers=2")) == 0
    assert_equal_runs(run, expected)


def test_from_every_checkpoint_the_same_run(root, whole, tmp_path):
    expected, moments = whole
    steps = [int(folder.name.rpartition("_")[2]) for folder in moments]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, STEPS + 1))
    for moment in moments:
        run = tmp_path / moment.name
        shutil.copytree(moment, run)
        assert run_command(training.main, *words(root, run, "resume=auto")) == 0, moment.name
        assert_equal_runs(run, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("interval", "validation"), [(1, 3), (2, 2), (2, 8)])
def test_killed_after_every_checkpoint_it_is_the_same_run(root, tmp_path, monkeypatch, interval, validation):
    """Two steps are an epoch here: with an interval of two, every checkpoint is written at the end of one."""
    more = ["data.batch_size=4", "trainer.max_steps=8", f"trainer.val_check_interval={validation}"]
    more.append(f"trainer.checkpoint_interval={interval}")
    expected, run = tmp_path / "whole", tmp_path / "run"
    assert run_command(training.main, *words(root, expected, *more)) == 0
    save, written = Checkpoints.save, []

    def save_and_die(self, trainer, path=None):
        save(self, trainer, path)
        moment = trainer.global_step, self.validates, path
        if moment not in written:  # else it would never get past a validation, which begins with a checkpoint
            written.append(moment)
            shutil.copytree(run, tmp_path / "killed")
            raise SystemExit(9)

    kills = 0
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_die)
        while run_command(training.main, *words(root, run, *more, "resume=auto")) != 0:
            shutil.rmtree(run)
            (tmp_path / "killed").rename(run)
            kills += 1
    assert kills >= 8 // interval
    assert_equal_runs(run, expected)
