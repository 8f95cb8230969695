"""Scores that find themselves, in runs of the real commands."""

from __future__ import annotations

import json

import pytest
import torch
from tests.commands import run_command, write_small_set

from afa_wsss.api.segmenter import load
from afa_wsss.cli import evaluate
from afa_wsss.cli import train as training
from afa_wsss.supervision.found_thresholds import KINDS
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.supervision.thresholds import PAPER


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the real command that looks at the CAM, then at the walk."""
    folder = tmp_path_factory.mktemp("auto")
    root = write_small_set(folder / "partshapes")
    words = ["experiment=demo", f"data.root={root}", "data.crop_size=48", "data.batch_size=2", "data.num_workers=0"]
    words += ["model.pretrained=null", "supervision.first_step=1", "supervision.walk_first_step=3"]
    words += [f"supervision.{name}=auto" for name in ("low", "high", "background")]
    words += [f"supervision.walk_{name}=null" for name in ("low", "high", "background")]
    words += ["trainer.max_steps=6", "trainer.val_check_interval=6", "trainer.log_every_n_steps=1"]
    words += ["trainer.accelerator=cpu", "callbacks=none", f"output_dir={folder / 'run'}"]
    assert run_command(training.main, *words) == 0
    return folder / "run"


def test_the_scores_are_logged_and_drawn(run):
    header = (run / "logs" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"train/thresholds/low", "train/thresholds/walk_background"} <= set(header)
    assert "Background scores that were found" in (run / "report.html").read_text(encoding="utf-8")


def test_a_checkpoint_keeps_what_was_found(run, tmp_path):
    labels = load(run / "checkpoints" / "last.ckpt", device="cpu").label_maker
    assert labels.memory.looks[1] > 0
    assert labels.walk_thresholds != PAPER
    words = [f"checkpoint={run / 'checkpoints' / 'last.ckpt'}", "trainer.accelerator=cpu", f"output_dir={tmp_path}"]
    assert run_command(evaluate.main, *words) == 0
    trained, scored = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path))
    for stage in ("cam", "cam_par", "walk", "pseudo_label"):
        assert scored[f"val/{stage}_miou"] == pytest.approx(trained[f"val/{stage}_miou"], abs=1e-4)


def test_a_resumed_run_goes_on_with_what_was_found(run, tmp_path):
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    words = ["config=" + str(run / "config.yaml"), f"resume={run / 'checkpoints' / 'last.ckpt'}", "callbacks=none"]
    assert run_command(training.main, *words, "trainer.max_steps=7", f"output_dir={tmp_path / 'run'}") == 0
    again = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert again["label_memory.looks"][0] >= state["label_memory.looks"][0] > 1


def older(path, checkpoint):
    """The checkpoint as older versions wrote it, with sums alone; see ``_as_stored_now``."""
    content = torch.load(checkpoint, weights_only=True)
    state, kinds, number = content["state_dict"], len(KINDS), len(CANDIDATES)
    for name in [name for name in state if name.startswith("label_memory.")]:
        if name.split(".")[1] not in ("looks", "found", "best"):
            del state[name]
    state |= {"label_memory.sums": torch.ones(kinds, 2, number), "label_memory.weights": torch.ones(kinds)}
    state["label_memory.beside"] = torch.ones(2, number)
    path.parent.mkdir()
    torch.save(content, path)
    return path


def test_checkpoints_of_an_older_memory_are_read_and_resumed(run, tmp_path):
    path = older(tmp_path / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt")
    again, now = load(path, device="cpu"), load(run / "checkpoints" / "last.ckpt", device="cpu")
    assert again.label_maker.walk_thresholds == now.label_maker.walk_thresholds
    words = ["config=" + str(run / "config.yaml"), f"resume={path}", "callbacks=none", "trainer.max_steps=7"]
    assert run_command(training.main, *words, f"output_dir={tmp_path / 'run'}") == 0


def test_a_memory_that_does_not_fit_is_one_line(run, tmp_path, capfd):
    path = older(tmp_path / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt")
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["label_memory.found"]
    torch.save(content, path)
    assert (
        run_command(evaluate.main, f"checkpoint={path}", "trainer.accelerator=cpu", f"output_dir={tmp_path / 'scored'}")
        == 1
    )
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: supervision: need an AFALabels that can read what that of ") or "AFALabels" in line
    assert 'Missing key(s) in state_dict: "found"' in line


def test_a_run_is_not_resumed_with_numbers_in_place_of_auto(run, tmp_path, capfd):
    words = ["config=" + str(run / "config.yaml"), f"resume={run / 'checkpoints' / 'last.ckpt'}", "callbacks=none"]
    words += [f"supervision.{name}={value}" for name, value in (("low", 0.3), ("high", 0.5), ("background", 0.4))]
    assert run_command(training.main, *words, "trainer.max_steps=7", f"output_dir={tmp_path / 'run'}") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: resume: need background scores as those of ")
    assert "which are auto, got numbers" in line
