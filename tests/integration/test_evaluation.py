"""``afa-eval`` and ``afa-pseudo-label`` by the real commands: scores, other data, refinement, gate, warnings."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.commands import run_command, small_run
from tests.run_folder import STAGES, checkpoint, scores

from afa_wsss.cli import evaluate, predict, pseudo_label
from afa_wsss.cli import train as training
from afa_wsss.data.formats.classes import voc_palette

PALETTE = voc_palette(3)


def judged(monkeypatch, *words):
    """What the warnings of an evaluation knew of the training."""
    seen = []
    monkeypatch.setattr("afa_wsss.api.evaluate.run_warnings", lambda metrics, run: seen.append(run) or [])
    assert run_command(evaluate.main, *words, "write_masks=false") == 0
    return seen[-1]


def test_warnings_of_an_evaluation_judge_what_was_trained(trained, root, tmp_path, monkeypatch):
    scored = f"output_dir={tmp_path / 'scored'}"
    whole = judged(monkeypatch, f"checkpoint={checkpoint(trained)}", scored)
    assert set(whole.trained) >= {"image_labels", "pseudo_label", "affinity_label"}
    words = [*small_run(root), "trainer.max_steps=1", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    early = judged(monkeypatch, f"checkpoint={checkpoint(tmp_path / 'run')}", scored)
    assert set(early.trained) == {"image_labels"}
    assert early.pending == {"pseudo_label", "affinity_label"} | set(whole.trained) - {"image_labels"}


def test_a_loss_that_cannot_be_imported_is_told(trained, tmp_path, monkeypatch, capfd):
    state = torch.load(checkpoint(trained), weights_only=True)
    state["config"]["loss"]["segmentation"]["_target_"] = "gone.Loss"
    torch.save(state, tmp_path / "moved.ckpt")
    found = judged(monkeypatch, f"checkpoint={tmp_path / 'moved.ckpt'}", f"output_dir={tmp_path / 'scored'}")
    assert found.trained is None
    assert "warnings judge all, also what was not trained: the loss table of" in capfd.readouterr().out


def test_the_folder_of_a_run_is_not_written_over(trained, capfd):
    before = {path: path.read_bytes() for path in (trained / "config.yaml", trained / "metrics.json")}
    for command in (evaluate, pseudo_label):
        assert run_command(command.main, f"checkpoint={checkpoint(trained)}", f"output_dir={trained}") == 1
        assert (
            "error: output_dir: need an output_dir that is not the folder of a training run" in capfd.readouterr().err
        )
    assert {path: path.read_bytes() for path in before} == before


def test_masks_of_an_earlier_evaluation_are_told(trained, tmp_path, capfd):
    words = [f"checkpoint={checkpoint(trained)}", f"output_dir={tmp_path}"]
    for command, folder in ((evaluate, "masks"), (pseudo_label, "pseudo_labels")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "another.png").touch()
        for _ in range(2):
            assert run_command(command.main, *words) == 0
            assert f"warning: 1 of the masks in {tmp_path / folder} is of an earlier" in capfd.readouterr().out


def test_ctrl_c_stops_an_evaluation(trained, tmp_path, monkeypatch, capfd):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("afa_wsss.training.module.AFAModule.validation_step", stop)
    words = [f"checkpoint={checkpoint(trained)}", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *words) == 130
    assert capfd.readouterr().err.endswith("stopped\n")


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
    told = capfd.readouterr().err
    assert "need data of the checkpoint's 5 classes" in told
    assert "put the classes.txt of its run there" in told


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
