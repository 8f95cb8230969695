"""A run with parts of one's own is resumed, or refused in one line; nothing that it has written is lost."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from tests.commands import run_command, small_run
from torch import nn

import afa_wsss
from afa_wsss.cli import train as training
from afa_wsss.losses import LossTerm
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.found_thresholds import FoundThresholds
from afa_wsss.types import Labels, Targets

HERE = "tests.integration.test_resume_own_parts"


class Centers(LossTerm):
    """A loss whose parameters have a setting's size."""

    needs = ()

    def __init__(self, *, width: int = 4, **others: float) -> None:
        super().__init__(**others)
        self.centers = nn.Parameter(torch.ones(width))

    def forward(self, output, targets):
        return (output.class_logits.mean() * self.centers).square().mean()


class Means(FoundThresholds):
    """Running means of a setting's number."""

    def __init__(self, size: int) -> None:
        super().__init__(compares_walk=False)
        self.register_buffer("means", torch.zeros(size))


@dataclass(frozen=True)
class Remembering(AFALabels):
    """Labels of background, and a memory."""

    size: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "memory", Means(self.size))

    def targets(self, network, batch, images, output, *, step):
        self.memory.means += 1
        return Targets.of(batch, pseudo_label=torch.zeros_like(images[:, 0], dtype=torch.uint8))

    def stages(self, network, batch, images, output):
        return {"nothing": Labels(torch.zeros_like(images[:, 0], dtype=torch.uint8))}


def words(root, folder, *more):
    return [
        *small_run(root),
        "callbacks=none",
        "logger=csv",
        "trainer.checkpoint_interval=2",
        f"output_dir={folder}",
        *more,
    ]


LOSS = [f"loss.centers._target_={HERE}.Centers", "loss.centers.width=5", "loss.centers.weight=0.1"]
MAKER = [f"supervision._target_={HERE}.Remembering", "supervision.size=3", "loss.affinity.weight=0"]


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run_command(training.main, *words(root, folder, *LOSS)) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_other_settings_of_a_loss_that_change_its_parameters_are_refused(root, run, capfd):
    assert run_command(training.main, *words(root, run, *LOSS, "loss.centers.width=7", "resume=auto")) == 1
    line = capfd.readouterr().err
    assert line.startswith("error: resume.loss: need weights that fit the model, ")
    assert "centers.centers (5,) for (7,)" in line


def test_a_loss_of_the_same_name_that_is_another_class_is_refused(root, run, tmp_path, monkeypatch, capfd):
    (tmp_path / "other_losses.py").write_text(f"from {HERE} import Centers as Base\nclass Centers(Base):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    other = [word.replace(HERE, "other_losses") for word in LOSS]
    assert run_command(training.main, *words(root, run, *other, "resume=auto")) == 1
    told = f"which is {HERE}.Centers, got other_losses.Centers; set it as there"
    assert told in capfd.readouterr().err


def test_other_settings_of_a_label_maker_that_change_its_memory_are_refused(root, tmp_path, capfd):
    run = tmp_path / "run"
    assert run_command(training.main, *words(root, run, *MAKER)) == 0
    assert run_command(training.main, *words(root, run, *MAKER, "trainer.max_steps=5", "resume=auto")) == 0
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state["label_memory.means"].tolist() == [4.0] * 3  # labels are asked for from the second step on
    capfd.readouterr()
    assert run_command(training.main, *words(root, run, *MAKER, "supervision.size=4", "resume=auto")) == 1
    assert "need a Remembering that can read what that of " in capfd.readouterr().err


def test_going_back_to_the_previous_checkpoint_keeps_the_newer_one(root, run, capfd):
    kept = run / "checkpoints"
    newer = torch.load(kept / "last.ckpt", weights_only=True)
    before = torch.load(kept / "previous.ckpt", weights_only=True)["global_step"]
    assert before < newer["global_step"] == 4
    assert run_command(training.main, *words(root, run, *LOSS, f"resume={kept / 'previous.ckpt'}")) == 0
    there = torch.load(kept / "last_of_step_4.ckpt", weights_only=True)
    assert all(torch.equal(value, newer["state_dict"][name]) for name, value in there["state_dict"].items())
    told = f"going on from step {before}; the checkpoint of step 4 is kept as {kept / 'last_of_step_4.ckpt'}"
    assert len((run / "logs" / "metrics_to_step_4.csv").read_text().splitlines()) > 4
    assert told in capfd.readouterr().out
    assert torch.load(kept / "last.ckpt", weights_only=True)["global_step"] == 4


def test_train_from_python_says_what_a_resume_changes_and_leaves_the_callers_hydra(root, run, capfd, tmp_path):
    theirs = object()
    GlobalHydra.instance().hydra = theirs
    try:
        (run / "checkpoints" / "last.ckpt").write_bytes(b"cut")
        afa_wsss.train(*words(root, run, *LOSS, "resume=auto", "optimizer.lr=1e-5"))
        assert GlobalHydra.instance().hydra is theirs
    finally:
        GlobalHydra.instance().hydra = None
    told = capfd.readouterr().out
    assert "resumed with optimizer.lr 5e-4 -> 1e-5" in told
    assert "last.ckpt cannot be read" in told


class Forgetful(nn.Module):
    """A buffer that checkpoints leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(3), persistent=False)


@dataclass(frozen=True)
class LabelsThatForget(AFALabels):
    """A memory that is not saved."""

    memory = Forgetful()


def test_a_memory_that_checkpoints_leave_out_is_refused(root, tmp_path, capfd):
    word = f"supervision._target_={HERE}.LabelsThatForget"
    assert run_command(training.main, *words(root, tmp_path / "run", word)) == 1
    line = capfd.readouterr().err
    assert "need buffers that checkpoints keep for memory of LabelsThatForget, got none; register" in line
