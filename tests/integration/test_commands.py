"""The real commands on a small set: train, evaluate, predict, label, sweep, log."""

from __future__ import annotations

import csv
import math
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.commands import run_command, small_run
from tests.run_folder import STAGES, checkpoint, scores

from afa_wsss.cli import evaluate, predict, pseudo_label, tune
from afa_wsss.cli import train as training
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette

PALETTE = voc_palette(3)


def test_a_run_leaves_everything_in_its_folder(trained):
    found = scores(trained)
    wanted = {*STAGES, "val/cam_best_miou", "val/cam_best_background", "val/class_f1", "val/iou/background"}
    assert wanted <= set(found)
    assert all(0 <= found[name] <= 100 for name in STAGES)
    assert (trained / "report.html").is_file()
    assert yaml.safe_load((trained / "config.yaml").read_text())["trainer"]["max_steps"] == 4
    assert sorted(path.name for path in (trained / "montages").iterdir()) == ["step_000003.png", "step_000004.png"]


def test_the_log_holds_losses_rates_and_speed(trained):
    with (trained / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    terms = [f"train/{name}_loss" for name in ("classification", "segmentation", "affinity")]
    counts = [sum(bool(row[name]) for row in rows) for name in terms]
    assert counts == [4, 3, 3]  # labels begin at step 1
    for name in ("lr-AdamW/backbone", "lr-AdamW/heads", "train/images_per_second", "train/loss"):
        assert any(row[name] for row in rows)
    assert all(math.isfinite(float(row["train/loss"])) for row in rows if row["train/loss"])


def test_checkpoints_are_plain_data(trained, root):
    content = torch.load(checkpoint(trained), weights_only=True)
    assert content["global_step"] == 4
    assert content["config"]["data"]["root"] == str(root)
    assert len(content["config"]["class_names"]) + 1 == len(content["config"]["palette"])
    assert checkpoint(trained, "best").is_file()


def test_predictions_go_on_after_a_bad_photo_and_keep_photos_apart(trained, root, tmp_path, capfd):
    photos, photo = tmp_path / "photos", next((root / "JPEGImages").glob("val_*"))
    (photos / "outputs" / "run").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "c.jpg", "._c.jpg", "outputs/run/d.jpg"):
        shutil.copy(photo, photos / name)
    (photos / "b.jpg").write_bytes(b"no photo")
    words = [f"checkpoint={checkpoint(trained)}", f"input={photos}", f"output_dir={tmp_path / 'out'}"]
    assert run_command(predict.main, *words) == 1
    assert "error: need a photo that can be decoded" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out" / "masks").rglob("*")) == ["a.jpg.png", "a.png.png", "c.png"]


def test_predictions_of_a_folder_of_photos(trained, root, tmp_path):
    photos = tmp_path / "photos" / "inner"
    photos.mkdir(parents=True)
    shutil.copy(next((root / "JPEGImages").glob("val_*")), photos / "one.jpg")
    words = [f"checkpoint={checkpoint(trained)}", f"input={tmp_path / 'photos'}", f"output_dir={tmp_path / 'out'}"]
    assert run_command(predict.main, *words) == 0
    with Image.open(tmp_path / "out" / "masks" / "inner" / "one.png") as mask:
        assert (mask.mode, mask.size) == ("P", (48, 48))
    assert (tmp_path / "out" / "overlays" / "inner" / "one.jpg").is_file()


def test_photos_of_a_pixel_train_and_are_scored(tmp_path):
    for kind, size in (("cat", (1, 1)), ("dog", (80, 1))):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", size, (90 * number, 9, 9)).save(tmp_path / "set" / kind / f"{kind}{number}.png")
            write_mask(
                tmp_path / "set" / "masks" / kind / f"{kind}{number}.png", np.ones(size[::-1], np.uint8), PALETTE
            )
    words = [*small_run(tmp_path / "set"), "data=folder", f"output_dir={tmp_path / 'run'}"]
    words += ["data.train_split=all", "data.val_split=all"]
    assert run_command(training.main, *words) == 0
    assert 0 <= scores(tmp_path / "run")["val/walk_miou"] <= 100


def test_training_without_held_out_photos(root, tmp_path, capfd):
    words = [*small_run(root), "data.val_split=null", "trainer.max_steps=2", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]
    assert not any(name.startswith("val/") for name in scores(tmp_path / "run"))
    capfd.readouterr()
    for command in (evaluate.main, pseudo_label.main, tune.main):
        assert run_command(command, f"checkpoint={checkpoint(tmp_path / 'run')}", f"output_dir={tmp_path / 'on'}") == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line == "error: data.val_split: need a split of photos, the checkpoint names none; give one"


def test_a_short_run_is_validated_and_logged_once(root, tmp_path):
    words = ["trainer.max_steps=2", "trainer.val_check_interval=2000", "trainer.log_every_n_steps=50"]
    assert run_command(training.main, *small_run(root), *words, f"output_dir={tmp_path / 'run'}") == 0
    written = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert written == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert {"train/loss", "val/miou"} <= set(scores(tmp_path / "run"))


def test_equal_seeds_give_equal_runs(root, trained, tmp_path):
    assert run_command(training.main, *small_run(root), "callbacks=none", f"output_dir={tmp_path / 'again'}") == 0
    found, expected = scores(tmp_path / "again"), scores(trained)
    assert {name: found[name] for name in STAGES} == {name: expected[name] for name in STAGES}


def test_a_sweep_has_numbered_folders_and_returns_its_objective(root, tmp_path, monkeypatch):
    original, objectives = training.train, []

    def remember(*settings, **more):
        run = original(*settings, **more)
        objectives.append(run.metrics["val/miou"])
        return run

    monkeypatch.setattr(training, "train", remember)
    monkeypatch.chdir(tmp_path)
    words = ["-m", *small_run(root), "trainer.max_steps=2", "callbacks=none"]
    words += ["supervision.high=0.5,0.6", "supervision.low=0.3,0.4"]
    assert run_command(training.main, *words) == 0
    (sweep,) = (tmp_path / "outputs" / "demo").iterdir()
    folders = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == ["0", "1", "2", "3"]
    assert [scores(folder)["val/miou"] for folder in folders] == pytest.approx(objectives, abs=1e-5)
    thresholds = [yaml.safe_load((folder / "config.yaml").read_text())["supervision"] for folder in folders]
    assert [(one["high"], one["low"]) for one in thresholds] == [(0.5, 0.3), (0.5, 0.4), (0.6, 0.3), (0.6, 0.4)]


def test_wandb_stores_a_run_with_pictures_for_each_job(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["-m", *small_run(root), "trainer.max_steps=1", "logger=wandb", "seed=0,1", "callbacks.progress=null"]
    assert run_command(training.main, *words) == 0
    assert len(list(tmp_path.rglob("run-*.wandb"))) == 2
    assert len(list(tmp_path.rglob("media/images/val/montage_*.png"))) == 2
    assert len(list(tmp_path.rglob("media/table/val/iou_table_*.json"))) == 2


def test_tensorboard_is_one_override(root, tmp_path):
    words = [*small_run(root), "trainer.max_steps=1", "logger=tensorboard", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_needs_no_logger_and_no_callback(root, tmp_path):
    words = [*small_run(root), "trainer.max_steps=1", "logger.csv=null", "~callbacks", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert not (tmp_path / "run" / "logs").exists()


@pytest.mark.data
@pytest.mark.slow
def test_real_photos_go_through_all_phases(voc_mini, tmp_path):
    words = ["experiment=voc12_mit_b1", "model=mit_b0", "model.pretrained=null", f"data.root={voc_mini}"]
    words += ["data.train_split=train"]
    words += ["data.crop_size=64", "data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu"]
    words += ["supervision.first_step=1", "supervision.walk_first_step=2", "trainer.max_steps=3"]
    words += ["trainer.limit_val_batches=1", "inference.scales=[0.5,1]", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert math.isfinite(scores(tmp_path / "run")["train/segmentation_loss"])
