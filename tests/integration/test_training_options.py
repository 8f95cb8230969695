"""Each way to train that is one word: it trains, alone and together with others, to finite losses and weights."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from tests.commands import run_command, small_run
from tests.run_folder import read, rows

from afa_wsss.cli import train
from afa_wsss.training.callbacks import Checkpoints

WORDS = {
    "bf16": ["trainer.precision=bf16-mixed"],
    "fp16": ["trainer.precision=16-mixed"],
    "accumulation": ["trainer.accumulate_grad_batches=2"],
    "clipping": ["trainer.gradient_clip_val=0.1"],
    "average for validation": ["trainer.ema_decay=0.9"],
    "average for labels": ["trainer.ema_decay=0.9", "trainer.ema_for=[labels]"],
    "average for both": ["trainer.ema_decay=0.9", "trainer.ema_for=[validation,labels]"],
    "frozen": ["optimizer.freeze_backbone=true", "model.pretrained=nano"],
    "frozen layers": ["optimizer.freeze_layers=2", "model.pretrained=nano"],
    "8 bits": ["optimizer.eight_bit=true"],
    "checkpointing": ["model.gradient_checkpointing=true"],
    "layer decay": ["optimizer.layer_decay=0.75"],
}
"""One override each."""

TOGETHER = [("average for both", "layer decay", "frozen layers", "checkpointing", "fp16", "accumulation", "clipping")]
"""All that can be."""


def losses(folder):
    return [float(row["train/loss"]) for row in rows(folder) if "train/loss" in row]


def small(root, folder, names):
    """Words of a run with dropout and DropPath that validates after its third step; ``names`` are of ``WORDS``."""
    usual = [*small_run(root), "callbacks=none", "logger=csv", "trainer.checkpoint_interval=1", "model.dropout=0.3"]
    return [*usual, *(word for name in names for word in WORDS[name]), f"output_dir={folder}"]


def run_with_copy(root, folder, names, copy, *, step):
    """A run, and a copy of its folder after ``step`` steps."""
    save = Checkpoints.save

    def save_and_copy(self, trainer, path=None):
        save(self, trainer, path)
        if trainer.global_step == step and not copy.exists():
            shutil.copytree(folder, copy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_copy)
        assert run_command(train.main, *small(root, folder, names)) == 0


def assert_same(found, expected, place="checkpoint"):
    """Equal to the bit, tensors in nested tables and lists, but for what tells when and where a run was."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for name in expected.keys() - {"origin", "config"}:
            assert_same(found[name], expected[name], f"{place}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), place
        for index, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{place}.{index}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), place


@pytest.mark.parametrize("names", [*[(name,) for name in WORDS], *TOGETHER], ids="+".join)
def test_it_trains_to_finite_values_and_goes_on_as_if_never_stopped(names, root, tmp_path):
    if "8 bits" in names:
        pytest.importorskip("bitsandbytes", reason="needs the extra eight-bit")
    run_with_copy(root, tmp_path / "whole", names, tmp_path / "stopped", step=2)
    found, whole = losses(tmp_path / "whole"), read(tmp_path / "whole")
    assert len(found) == 4
    assert all(math.isfinite(loss) for loss in found)
    assert all(bool(value.isfinite().all()) for value in whole["state_dict"].values())
    assert run_command(train.main, *small(root, tmp_path / "stopped", names), "resume=auto") == 0
    assert_same(read(tmp_path / "stopped"), whole)
    assert losses(tmp_path / "stopped") == found


def test_gradient_checkpointing_changes_nothing_of_a_run_with_batch_norms(root, tmp_path):
    """Blocks of an EfficientNet run twice in a step; their batch norms count its batch once."""
    states = []
    for name, more in {"plain": [], "saving": WORDS["checkpointing"]}.items():
        words = [*small(root, tmp_path / name, []), "model=efficientnet_lite0", "model.pretrained=null", *more]
        assert run_command(train.main, *words, "trainer.max_steps=2", "trainer.val_check_interval=2") == 0
        states.append(read(tmp_path / name)["state_dict"])
    plain, saving = states
    (counter, *_) = (name for name in plain if name.startswith("network.encoder.") and name.endswith("batches_tracked"))
    assert int(saving[counter]) == 2
    for name, value in plain.items():
        torch.testing.assert_close(saving[name], value, msg=lambda text, name=name: name + text)


def test_a_frozen_backbone_is_told_and_needs_pretrained_weights(root, tmp_path, capfd):
    words = [*small(root, tmp_path / "run", ["frozen"]), "trainer.max_steps=1"]
    assert run_command(train.main, *words) == 0
    rows = [line.split() for line in capfd.readouterr().out.splitlines()]
    (encoder,) = [row for row in rows if row[:1] == ["encoder"]]
    (head,) = [row for row in rows if row[:2] == ["segmentation", "head"]]
    assert encoder[2] == "0"
    assert head[2] == head[3]
    assert [row[0] for row in rows if row[-1:] == ["trained"]] == ["part"]
    assert run_command(train.main, *words, "model.pretrained=null", f"output_dir={tmp_path / 'random'}") == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: optimizer.freeze_backbone, model.pretrained: need pretrained weights for a backbone")
    first = [*small(root, tmp_path / "random", ["frozen layers"]), "model.pretrained=null"]
    assert run_command(train.main, *first) == 1
    assert "error: optimizer.freeze_layers, model.pretrained: need pretrained weights" in capfd.readouterr().err
