"""True masks as targets, by the real commands: the ceiling of a study, and that nothing else reads them."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tests.commands import run_command, small_run

from afa_wsss.cli import evaluate, pseudo_label, train

AFA_ALONE = ("supervision.walk_first_step=", "supervision.refinement.steps=")


def oracle_run(root, folder):
    words = [word for word in small_run(root) if not word.startswith(AFA_ALONE)]
    return [*words, "supervision=oracle", "callbacks=quiet", f"output_dir={folder}"]


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "oracle"
    assert run_command(train.main, *oracle_run(root, folder)) == 0
    return folder


def test_it_trains_and_the_branch_is_scored(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert 0 <= metrics["val/miou"] <= 100
    assert metrics["train/affinity_loss"] > 0
    stages = {name for name in metrics if name.endswith("_miou")}
    assert stages == {"val/par_miou"}  # the branch after PAR; no stage of a label maker is scored
    assert "true masks" in (trained / "report.html").read_text()


def test_its_labels_call_as_much_foreground_as_the_masks(root, tmp_path):
    """What the crops of four steps show: the masks of PartShapes have neither all nor nothing."""
    folder = tmp_path / "run"
    assert run_command(train.main, *oracle_run(root, folder)) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 5 < metrics["train/labels/foreground"] < 70


def test_its_checkpoint_is_evaluated_and_makes_no_pseudo_labels(trained, tmp_path, capfd):
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    assert run_command(evaluate.main, checkpoint, f"output_dir={tmp_path / 'scored'}") == 0
    assert len(list((tmp_path / "scored" / "masks").glob("*.png"))) == 5
    assert run_command(pseudo_label.main, checkpoint, f"output_dir={tmp_path / 'made'}") == 1
    assert "need a label maker with pixel labels of its own" in capfd.readouterr().err


def test_a_training_photo_without_a_mask_is_one_line(root, tmp_path, capfd):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    next((copy / "SegmentationClass").glob("train_*")).unlink()
    assert run_command(train.main, *oracle_run(copy, tmp_path / "run")) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "1 of 8 missing" in line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_afa_trains_the_same_whatever_the_training_masks_are(root, tmp_path):
    """Image labels alone: without any training mask, and with files that are no pictures, every weight is equal."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for number, mask in enumerate(sorted((copy / "SegmentationClass").glob("train_*"))):
        mask.write_bytes(b"no picture") if number % 2 else mask.unlink()
    weights = []
    for data, name in ((root, "with"), (copy, "without")):
        folder = tmp_path / name
        assert run_command(train.main, *small_run(data), "callbacks=quiet", f"output_dir={folder}") == 0
        weights.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    one, other = weights
    assert all(torch.equal(one[name], other[name]) for name in one)
