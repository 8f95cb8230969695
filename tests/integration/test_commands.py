"""The real commands on a small set: train, evaluate, predict, label, sweep, log."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.commands import run_command, small_run, write_small_set

from afa_wsss.cli import evaluate, predict, pseudo_label, tune
from afa_wsss.cli import train as training
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette

PALETTE = voc_palette(3)
STAGES = ("val/cam_miou", "val/cam_par_miou", "val/walk_miou", "val/pseudo_label_miou", "val/miou")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("partshapes"))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """Folder of a run of 4 steps through all phases, validated at step 3 and after the last."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert run_command(training.main, *small_run(root), f"output_dir={folder}") == 0
    return folder


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())


def checkpoint(folder, kind="last"):
    return folder / "checkpoints" / f"{kind}.ckpt"


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


def test_evaluation_needs_the_checkpoint_alone(trained, tmp_path, monkeypatch):
    alone = tmp_path / "alone.ckpt"
    shutil.copy(checkpoint(trained), alone)
    monkeypatch.chdir(tmp_path)
    assert run_command(evaluate.main, "checkpoint=alone.ckpt", "output_dir=scored") == 0
    found, expected = scores(tmp_path / "scored"), scores(trained)
    assert found == {name: expected[name] for name in found}
    masks = sorted((tmp_path / "scored" / "masks").iterdir())
    assert len(masks) == 5
    with Image.open(masks[0]) as mask:
        assert mask.mode == "P"
        palette = torch.load(alone, weights_only=True)["config"]["palette"]
        assert mask.getpalette()[: 3 * len(palette)] == np.ravel(palette).tolist()
    assert {"report.html", "config.yaml", "montages"} <= {path.name for path in (tmp_path / "scored").iterdir()}
    assert [path.name for path in (tmp_path / "scored" / "montages").iterdir()] == ["held_out_photos.png"]
    assert "<figcaption>held out photos</figcaption>" in (tmp_path / "scored" / "report.html").read_text()


def test_evaluation_takes_other_scales_data_and_split(trained, root, tmp_path):
    words = ["data.val_split=train", "inference.scales=[1,0.5]", "inference.mirror=true", "data.eval_batch_size=4"]
    folder = tmp_path / "scored"
    words += [f"checkpoint={checkpoint(trained)}", f"data.root={root}", f"output_dir={folder}", "write_masks=false"]
    words += ["inference.cam_scales=[1,0.5,1.5]", "pictures=0"]
    assert run_command(evaluate.main, *words) == 0
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["inference"]["scales"] == [1.0, 0.5]
    assert settings["data"]["val_split"] == "train"
    assert settings["supervision"]["cam_scales"] == [1.0, 0.5, 1.5]
    assert not (folder / "masks").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("pictures=-1", "error: pictures: need pictures of at least 0, got -1"),
        ("trainer.accelerator=gpu", "error: trainer.accelerator: need a GPU for accelerator=gpu"),
    ],
)
def test_mistakes_of_an_evaluation_name_their_setting(trained, tmp_path, capfd, monkeypatch, word, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = [f"checkpoint={checkpoint(trained)}", f"output_dir={tmp_path / 'scored'}", word]
    assert run_command(evaluate.main, *words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(message)


def test_evaluation_refuses_data_of_other_classes(trained, root, tmp_path, capfd):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    listed = json.loads((other / "classes.json").read_text())
    (other / "classes.json").write_text(
        json.dumps({"classes": [*listed["classes"], "extra"], "palette": [*listed["palette"], [1, 2, 3]]})
    )
    for path in (other / "ImageSets").glob("Main"):
        shutil.rmtree(path)
    words = [f"checkpoint={checkpoint(trained)}", f"data.root={other}", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *words) == 1
    assert "need data of the checkpoint's 5 classes" in capfd.readouterr().err


def test_evaluation_refuses_classes_in_another_order(trained, root, tmp_path, capfd):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    listed = json.loads((other / "classes.json").read_text())
    first, second, *rest = listed["classes"]
    (other / "classes.json").write_text(json.dumps(listed | {"classes": [second, first, *rest]}))
    words = [f"checkpoint={checkpoint(trained)}", f"data.root={other}", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *words) == 1
    told = capfd.readouterr().err
    assert "need data of the checkpoint's classes in their order" in told
    assert f"has {second!r} where the checkpoint has {first!r}" in told


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


@pytest.mark.parametrize(("word", "name"), [("inference.refinement=par", "par"), ("inference.crf=true", "crf")])
def test_the_refinement_after_training_in_evaluation_and_prediction(root, tmp_path, word, name, capfd):
    run, scored, out = (tmp_path / folder for folder in ("run", "scored", "out"))
    assert run_command(training.main, *small_run(root), word, "inference.par.steps=2", f"output_dir={run}") == 0
    assert ("inference.crf=true is now called inference.refinement=crf\n" in capfd.readouterr().out) == (name == "crf")
    assert yaml.safe_load((run / "config.yaml").read_text())["inference"]["refinement"] == name
    words = [f"checkpoint={checkpoint(run)}", f"input={root / 'JPEGImages'}", f"output_dir={out}"]
    assert run_command(evaluate.main, words[0], f"output_dir={scored}") == 0
    assert run_command(predict.main, *words) == 0
    assert scores(run)[f"val/{name}_miou"] == pytest.approx(scores(scored)[f"val/{name}_miou"])
    for path in sorted((scored / "masks").iterdir()):
        with Image.open(path) as mask, Image.open(out / "masks" / path.name) as predicted:
            assert np.array_equal(np.array(mask), np.array(predicted))
    off = ["inference.crf=false", "inference.par.w1=0.5", f"output_dir={tmp_path / 'plain'}"]
    assert run_command(evaluate.main, words[0], *off) == 0
    assert f"val/{name}_miou" not in scores(tmp_path / "plain")
    settings = yaml.safe_load((tmp_path / "plain" / "config.yaml").read_text())["inference"]
    assert (settings["refinement"], settings["par"]["steps"], settings["par"]["w1"]) == ("none", 2, 0.5)


def test_the_gate_goes_by_the_last_validation(root, tmp_path, capfd):
    run, scored, out = (tmp_path / folder for folder in ("run", "scored", "out"))
    words = ["inference.gate=auto", "trainer.max_steps=1", "trainer.val_check_interval=9", f"output_dir={run}"]
    assert run_command(training.main, *small_run(root), *words) == 0
    assert capfd.readouterr().out.count("no validation has found a threshold of any class; 0.5 stands in") == 1
    names = (run / "classes.txt").read_text().split()
    wanted = {name: scores(run)[f"val/class_threshold/{name}"] for name in names}
    for kind in ("last", "best"):
        found = torch.load(checkpoint(run, kind), weights_only=True)["class_thresholds"]
        assert found == pytest.approx({name: value for name, value in wanted.items() if value is not None}, abs=1e-5)
    words = [f"checkpoint={checkpoint(run)}", f"input={root / 'JPEGImages'}", f"output_dir={out}"]
    assert run_command(evaluate.main, words[0], f"output_dir={scored}") == 0
    assert run_command(predict.main, *words) == 0
    told = capfd.readouterr().out
    assert scores(run)["val/miou"] == pytest.approx(scores(scored)["val/miou"], abs=1e-4)
    missing = [name for name in names if name not in found]
    assert told.count(f"a threshold of {', '.join(missing)}; 0.5 stands in") == (2 if missing else 0)
    for path in sorted((scored / "masks").iterdir()):
        with Image.open(path) as mask, Image.open(out / "masks" / path.name) as predicted:
            assert np.array_equal(np.array(mask), np.array(predicted))
    words = [words[0], "inference.gate=0.999", f"output_dir={tmp_path / 'closed'}"]
    assert run_command(evaluate.main, *words) == 0
    assert scores(tmp_path / "closed")["val/labels/segmentation/foreground"] == 0
    words = [words[0], "inference.gate=none", f"output_dir={tmp_path / 'off'}"]
    assert run_command(evaluate.main, *words) == 0
    assert yaml.safe_load((tmp_path / "off" / "config.yaml").read_text())["inference"]["gate"] == "none"
    assert run_command(evaluate.main, words[0], "inference.gate=2") == 1
    assert "inference.gate: need none, auto or a probability between 0 and 1, got 2" in capfd.readouterr().err


def test_pseudo_labels_of_photos_without_masks(trained, root, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(root, bare)
    shutil.rmtree(bare / "SegmentationClass")
    words = [f"checkpoint={checkpoint(trained)}", f"data.root={bare}", "data.val_split=train"]
    assert run_command(pseudo_label.main, *words, f"output_dir={tmp_path / 'labels'}") == 0
    assert len(list((tmp_path / "labels" / "pseudo_labels").glob("*.png"))) == 8
    assert not set(STAGES) & set(scores(tmp_path / "labels"))


def test_pseudo_labels_can_be_scored(trained, tmp_path):
    words = [f"checkpoint={checkpoint(trained)}", "score=true", f"output_dir={tmp_path / 'labels'}"]
    assert run_command(pseudo_label.main, *words) == 0
    assert scores(tmp_path / "labels")["val/pseudo_label_miou"] == scores(trained)["val/pseudo_label_miou"]


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
