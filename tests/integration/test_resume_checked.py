"""A resumed run is one of the same classes, network and losses; what else changed is said, and files stay whole."""

from __future__ import annotations

import json
import os
import resource
import shutil

import pytest
import torch
import yaml
from tests.commands import run_command, small_run
from tests.run_folder import checkpoint, read, rows

from afa_wsss.api.other_settings import differences
from afa_wsss.cli import train as training
from afa_wsss.data.partshapes.write import write_partshapes

STEPS = 4


def words(root, folder, *more):
    return [*small_run(root), "callbacks=none", "logger=csv", f"output_dir={folder}", *more]


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    more = ["trainer.checkpoint_interval=2", "trainer.val_check_interval=2"]
    assert run_command(training.main, *words(root, folder, *more)) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy to go on in."""
    return shutil.copytree(finished, tmp_path / "run")


def go_on(root, run, *more):
    return run_command(training.main, *words(root, run, "resume=auto", "trainer.val_check_interval=2", *more))


def rewritten(folder, change):
    """The run as one with another configuration would have left it."""
    state = read(folder)
    change(state["config"])
    torch.save(state, checkpoint(folder))


REFUSED = {
    "order": (
        lambda config: config["class_names"].reverse(),
        ["data.root: need data of the classes of ", ": class 1, ", ", got "],
    ),
    "number": (
        lambda config: config["class_names"].pop(),
        ["data.root: need data of the classes of ", ": 4 classes, got 5"],
    ),
    "backbone": (
        lambda config: config["model"].update(backbone="mit_b0"),
        ["model.backbone: need the backbone of ", "which is mit_b0, got mit_nano"],
    ),
    "label maker": (
        lambda config: config.update(supervision={"_target_": "afa_wsss.supervision.OracleLabels"}),
        ["supervision: need the label maker of ", "which is OracleLabels, got AFALabels"],
    ),
    "losses": (
        lambda config: config["loss"].pop("affinity"),
        ["loss: need the loss table of ", "affinity (AffinityLoss)"],
    ),
    "frozen": (
        lambda config: config["optimizer"].update(freeze_backbone=True),
        ["optimizer.freeze_backbone: need the freezing of the backbone of ", "which is on, got off"],
    ),
    "frozen layers": (
        lambda config: config["optimizer"].update(freeze_layers=2),
        ["optimizer.freeze_layers: need the number of frozen layers of ", "which is 2, got 0"],
    ),
    "average": (
        lambda config: config["trainer"].update(ema_decay=0.9),
        ["trainer.ema_decay: need the average of weights of ", "which is on, got off"],
    ),
    "seed": (lambda config: config.update(seed=3), ["seed: need the seed of ", "which is 3, got 0"]),
}


@pytest.mark.parametrize(("change", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_another_run_is_refused_with_both_sides(root, run, capfd, change, told):
    rewritten(run, change)
    assert go_on(root, run) == 1
    line = capfd.readouterr().err
    assert line.startswith("error: " + told[0])
    for part in (*told, str(checkpoint(run))):
        assert part in line


def test_other_settings_are_applied_listed_and_stored(root, run, capfd):
    more = ["optimizer.lr=1e-5", "trainer.max_steps=6", "data.batch_size=4", "scheduler.warmup_steps=0"]
    assert go_on(root, run, *more) == 0
    told = capfd.readouterr().out
    for line in ("optimizer.lr 5e-4 -> 1e-5", "trainer.max_steps 4 -> 6", "data.batch_size 2 -> 4"):
        assert f"resumed with {line}" in told
    state = read(run)
    group = state["optimizer_states"][0]["param_groups"][0]
    assert group["initial_lr"] == 1e-5
    assert state["config"]["optimizer"]["lr"] == 1e-5
    assert yaml.safe_load((run / "config.yaml").read_text())["optimizer"]["lr"] == 1e-5
    rates = {int(row["step"]): float(row["lr-AdamW/backbone"]) for row in rows(run) if "lr-AdamW/backbone" in row}
    assert rates[5] == pytest.approx(1e-5 * (1 - 5 / 6))
    assert [int(row["step"]) for row in rows(run) if "train/loss" in row] == [0, 1, 2, 3, 4, 5]


def test_a_finished_run_is_scored_and_reported_again(root, run):
    before, report = json.loads((run / "metrics.json").read_text()), (run / "report.html").read_text(encoding="utf-8")
    for name in ("metrics.json", "report.html"):
        (run / name).unlink()
    assert go_on(root, run, "trainer.checkpoint_interval=2") == 0
    assert json.loads((run / "metrics.json").read_text()) == before
    again = (run / "report.html").read_text(encoding="utf-8")
    for part in ("What each stage adds", "IoU of each class", "mIoU"):
        assert again.count(part) == report.count(part) > 0


def test_nothing_to_go_on_with_starts_anew(root, tmp_path):
    assert go_on(root, tmp_path / "new", "trainer.max_steps=1") == 0
    assert torch.load(checkpoint(tmp_path / "new"), weights_only=True)["global_step"] == 1


def test_a_checkpoint_that_is_cut_off_is_told_and_the_one_before_taken(root, run, capfd):
    whole = checkpoint(run).read_bytes()
    checkpoint(run).write_bytes(whole[: len(whole) // 2])
    before = torch.load(run / "checkpoints" / "previous.ckpt", weights_only=True)["global_step"]
    assert go_on(root, run) == 0
    told = capfd.readouterr().out
    assert f"{checkpoint(run)} cannot be read" in told
    assert f"going on from {run / 'checkpoints' / 'previous.ckpt'}, step {before}" in told
    assert read(run)["global_step"] == STEPS


@pytest.mark.parametrize("kept", [0, 1000])
def test_a_best_checkpoint_that_is_missing_or_cut_off_is_begun_anew(root, run, capfd, kept):
    best = checkpoint(run, "best")
    cut = best.read_bytes()[:kept]
    best.unlink()
    if kept:
        best.write_bytes(cut)
    assert go_on(root, run, "trainer.max_steps=6", "trainer.val_check_interval=6") == 0
    assert "no whole best.ckpt is beside the checkpoint" in capfd.readouterr().out
    assert torch.load(best, weights_only=True)["global_step"] == 6


def test_a_run_that_went_back_to_its_best_goes_on_where_it_was_when_told_again(root, run, capfd):
    best = checkpoint(run, "best")
    before = best.read_bytes()
    assert go_on(root, run, f"resume={best}", "trainer.max_steps=6") == 0
    best.write_bytes(before)  # whatever was the best since
    capfd.readouterr()
    assert go_on(root, run, f"resume={best}", "trainer.max_steps=7") == 0
    assert [int(row["step"]) for row in rows(run) if "train/loss" in row] == [*range(7)]
    assert "of which 6 are done" in capfd.readouterr().out.replace("\n", " ")


def test_a_run_goes_back_to_its_best_without_held_out_photos(root, run):
    """The best loses its name then, since nothing of other data is compared with it."""
    best = checkpoint(run, "best")
    assert go_on(root, run, f"resume={best}", "trainer.max_steps=6", "data.val_split=null") == 0
    assert read(run)["global_step"] == 6
    assert (run / "checkpoints" / "best_of_other_data.ckpt").is_file()


def test_a_run_that_went_back_with_other_photos_can_be_told_so_again(root, run, capfd):
    """As a scheduler does, after the best has lost its name."""
    best = checkpoint(run, "best")
    words = [f"resume={best}", "data.val_split=null"]
    assert go_on(root, run, *words, "trainer.max_steps=6") == 0
    assert not best.exists()
    capfd.readouterr()
    assert go_on(root, run, *words, "trainer.max_steps=7") == 0
    assert "of which 6 are done" in capfd.readouterr().out.replace("\n", " ")


def test_best_of_other_data_is_not_the_best(root, run, tmp_path, capfd):
    other = write_partshapes(tmp_path / "other", train=8, val=5, size=48, seed=7)
    assert go_on(other, run, "trainer.max_steps=5") == 0
    assert f"resumed with data.root {root} -> {other}" in capfd.readouterr().out
    assert (run / "checkpoints" / "best_of_other_data.ckpt").is_file()
    best = read(run, "best")
    assert best["global_step"] == 5


def test_the_best_of_fewer_photos_is_not_the_best(root, run):
    assert go_on(root, run, "trainer.max_steps=5", "trainer.limit_val_batches=1", "data.eval_batch_size=2") == 0
    assert (run / "checkpoints" / "best_of_other_data.ckpt").is_file()
    assert read(run, "best")["global_step"] == 5


def test_a_folder_that_was_moved_keeps_its_best(root, run, tmp_path):
    moved = shutil.copytree(root, tmp_path / "moved")
    assert go_on(moved, run, "trainer.max_steps=5") == 0
    assert not (run / "checkpoints" / "best_of_other_data.ckpt").exists()


def test_a_full_disk_ends_with_one_line_and_damages_nothing(root, run, capfd):
    before = {path: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        assert go_on(root, run, "trainer.max_steps=6", "trainer.checkpoint_interval=1") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    errors = capfd.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("error: need to write a checkpoint of ")
    assert "what was there is kept" in errors[-1]
    assert {path: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


def test_a_folder_that_cannot_be_made_ends_with_one_line(root, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run_command(training.main, *words(root, tmp_path / "file" / "run")) == 1
    assert str(tmp_path / "file") in capfd.readouterr().err.strip().splitlines()[-1]


def test_the_newest_run_of_a_name(root, finished, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for age, name in ((100, "older"), (0, "newer")):
        folder = shutil.copytree(finished, tmp_path / "outputs" / "demo" / name)
        changed = checkpoint(folder).stat().st_mtime - age
        for file in (folder / "checkpoints").iterdir():
            os.utime(file, (changed, changed))
    some = [word for word in words(root, "") if not word.startswith("output_dir")]
    assert run_command(training.main, *some, "resume=auto", "trainer.max_steps=5") == 0
    assert torch.load(checkpoint(tmp_path / "outputs" / "demo" / "newer"), weights_only=True)["global_step"] == 5
    assert torch.load(checkpoint(tmp_path / "outputs" / "demo" / "older"), weights_only=True)["global_step"] == STEPS
    assert "resumed with trainer.max_steps 4 -> 5" in capfd.readouterr().out


def test_settings_that_only_one_run_has():
    before = {"loss": {"a": {"weight": 1.0}}, "trainer": {"devices": 1}, "output_dir": "a"}
    now = {"loss": {"a": {"weight": 1.0, "first_step": 5}}, "trainer": {"devices": 2}, "output_dir": "b"}
    assert list(differences(before, now)) == ["loss.a.first_step not set -> 5", "trainer.devices 1 -> 2"]


@pytest.mark.slow
def test_the_wandb_run_goes_on(root, tmp_path):
    run = tmp_path / "run"
    some = [
        word
        for word in words(root, run, "logger=wandb", "resume=auto")
        if word not in ("logger=csv", "trainer.max_steps=4")
    ]
    for steps in (2, 3):
        assert run_command(training.main, *some, f"trainer.max_steps={steps}") == 0
    ids = [folder.name.rpartition("-")[2] for folder in (run / "wandb").glob("offline-run-*")]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert [int(row["step"]) for row in rows(run) if "train/loss" in row] == [0, 1, 2]
