"""What can go wrong is told while it happens: runs that really go wrong, by the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.commands import run_command, small_run, write_small_set

from afa_wsss.cli import evaluate, train
from afa_wsss.data.partshapes.write import write_partshapes

SIDE, FRAME = 48, 5


def _write_backgrounds(root: Path) -> None:
    """Gray photos of a square; the class ``framed`` is a blue frame, the class ``tinted`` a red cast of the photo."""
    rng = np.random.default_rng(0)
    table = ["file,labels,split"]
    (root / "masks").mkdir(parents=True)
    for index in range(96):
        framed, tinted = rng.integers(0, 2, 2)
        photo = rng.integers(90, 150, (SIDE, SIDE, 3)).astype(np.float32)
        mask = np.full((SIDE, SIDE), 2 if tinted else 0, np.uint8)
        if tinted:
            photo += (60, -40, -40)
        top, left = rng.integers(FRAME, SIDE - FRAME - 12, 2)
        photo[top : top + 12, left : left + 12] = rng.integers(60, 200)
        if framed:
            inner = (slice(FRAME, -FRAME), slice(FRAME, -FRAME))
            kept, kept_mask = photo[inner].copy(), mask[inner].copy()
            photo[:], mask[:] = (30, 60, 220), 1
            photo[inner], mask[inner] = kept, kept_mask
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(root / f"p{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"p{index}.png")
        names = " ".join(name for name, there in (("framed", framed), ("tinted", tinted)) if there)
        table.append(f"p{index}.png,{names},{'train' if index < 56 else 'val'}")
    (root / "labels.csv").write_text("\n".join(table))


def lines_of(printed: str) -> list[str]:
    return [line.removeprefix("warning: ") for line in printed.splitlines() if line.startswith("warning: ")]


@pytest.mark.slow
def test_a_class_branch_that_looks_at_the_background_and_a_branch_and_affinity_that_learn_nothing(tmp_path, capsys):
    root, run = tmp_path / "photos", tmp_path / "run"
    _write_backgrounds(root)
    words = [
        "experiment=demo", "data=folder", f"data.root={root}", "data.crop_size=48", "data.scale=[1.0,1.0]",
        "data.batch_size=8", "data.num_workers=0", "model.pooling=max", "supervision.first_step=24",
        "supervision.walk_first_step=null", "loss.segmentation.weight=1e-9", "optimizer.logits_lr_factor=1000",
        "trainer.max_steps=32", "trainer.val_check_interval=24", "trainer.accelerator=cpu", "scheduler.warmup_steps=2",
        f"output_dir={run}",
    ]  # fmt: skip
    assert run_command(train.main, *words) == 0
    printed = lines_of(capsys.readouterr().out)
    border, told = (next(line for line in printed if line.startswith(f"step 24: {start}")) for start in ("CAM", "what"))
    assert "of the mass of framed;" in border
    assert "model.pooling (now max)" in border
    assert ": tinted (AUC 1.00, inside 1.00): add photos of the same background without the class" in told
    early = [line for line in printed if line.startswith("step ")]
    assert len(early) == 2  # labels are not in use yet, segmentation branch and affinity not trained
    late = "\n".join(printed[len(early) :])
    for found in (border, told):
        assert found.removeprefix("step 24: ")[:30] in late
    assert "the affinity is saturated at " in late
    assert "lower optimizer.logits_lr_factor (now 1000)" in late
    assert "the segmentation branch is far below the labels it learns from: " in late
    assert "raise loss.segmentation.weight (now 1e-09) or trainer.max_steps (now 32)" in late
    page = (run / "report.html").read_text()
    assert page.count("<b>Warning:</b>") == len(printed) - len(early)
    assert "Where the class branch looks" in page
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val/cam_border/framed"] > 50 > metrics["val/cam_border/tinted"]
    assert metrics["val/outside_evidence/tinted"] > 50 > metrics["val/outside_evidence/framed"]


@pytest.mark.slow
def test_classes_that_labels_never_show_are_told_once(tmp_path, capsys):
    root = write_partshapes(tmp_path / "partshapes", train=16, val=24, size=48)
    words = [
        *small_run(root), "data.batch_size=4", "supervision.low=0.99", "supervision.high=1.0",
        "supervision.background=1.0", "supervision.first_step=0", "supervision.walk_first_step=null",
        "loss.segmentation.weight=2", "scheduler.warmup_steps=1", "trainer.max_steps=24",
        "trainer.val_check_interval=8", f"output_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert run_command(train.main, *words) == 0
    printed = lines_of(capsys.readouterr().out)
    lower = "lower supervision.low (now 0.99), supervision.high (now 1) and supervision.background (now 1)"
    missed = [line for line in printed if line.endswith(f"; no label shows them either: {lower}")]
    starts = [line.split(" never predicts classes that held-out photos have: ")[0] for line in missed]
    assert starts[0] in ("step 8: the segmentation branch", "step 16: the segmentation branch")
    assert starts[-1] == "the segmentation branch"
    everything = [line for line in printed if "labels call 100 % of the pixels background" in line]
    assert [line.split(":")[0] for line in everything] == ["step 8", "labels call 100 % of the pixels background"]
    assert everything[0].endswith(lower.replace("lower", "train again with lower"))


def test_masks_that_disagree_with_labels_are_told_by_training_and_evaluation(tmp_path, capsys):
    root, run = write_small_set(tmp_path / "photos"), tmp_path / "run"
    exchanged = np.array([0, 2, 1, 3, 4, 5, *range(6, 256)], dtype=np.uint8)
    for path in (root / "SegmentationClass").glob("val_*.png"):
        with Image.open(path) as mask:
            palette, values = mask.getpalette(), exchanged[np.asarray(mask)]
        changed = Image.fromarray(values, mode="P")
        changed.putpalette(palette)
        changed.save(path)
    told = "need masks and labels that agree, masks show "
    assert run_command(train.main, *small_run(root), f"output_dir={run}") == 0
    assert any(line.startswith(told) for line in lines_of(capsys.readouterr().out))
    assert run_command(evaluate.main, f"checkpoint={run}/checkpoints/last.ckpt", f"output_dir={tmp_path}/scored") == 0
    assert any(line.startswith(told) for line in lines_of(capsys.readouterr().out))
