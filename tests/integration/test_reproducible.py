"""Two runs are equal to the bit, and say what they were made of."""

from __future__ import annotations

import json

import pytest
import torch
from tests.commands import run_command, small_run
from tests.run_folder import read

from afa_wsss.cli import train as training


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """Two with dropout, DropPath and a loader of its own process."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("first", "second")]
    more = ["trainer.deterministic=true", "data.num_workers=1", "callbacks=none", "seed=3"]
    for folder in folders:
        assert run_command(training.main, *small_run(root), *more, f"output_dir={folder}") == 0
    return folders


def test_two_runs_are_equal_to_the_bit(runs):
    first, second = map(read, runs)
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    for one, other in zip(*(run["optimizer_states"][0]["state"].values() for run in (first, second)), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in runs]
    timed = {"train/images_per_second"}
    assert {k: v for k, v in scores[0].items() if k not in timed} == {
        k: v for k, v in scores[1].items() if k not in timed
    }


def test_folder_and_checkpoint_say_what_a_run_was_made_of(runs):
    shown, stored = json.loads((runs[0] / "run.json").read_text()), read(runs[0])["origin"]
    for origin in (shown, stored):
        assert "trainer.deterministic=true" in origin["command"]
        assert origin["seed"] == 3
        assert origin["versions"]["torch"] == torch.__version__
        assert {use: data["photos"] for use, data in origin["data"].items()} == {"train": 8, "val": 5}
    for code, whole in zip(shown["code"], stored["code"], strict=True):
        assert code["changed"] == bool(whole["diff"]) == (runs[0] / f"code_{code['name']}.diff").exists()
