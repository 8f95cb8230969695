"""Photos without any class: they are trained on, scored, and everywhere background."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.commands import run_command

from afa_wsss.cli import data, predict, pseudo_label, train
from afa_wsss.data.files.masks import read_mask


def _write_disks(root: Path, *, train_photos: int = 32, val_photos: int = 8) -> None:
    """Every other photo shows a red disk; all show a gray square."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    table = ["file,labels,split"]
    (root / "masks").mkdir(parents=True)
    for index in range(train_photos + val_photos):
        photo = rng.integers(60, 120, (48, 48, 3)).astype(np.uint8)
        top, left = rng.integers(0, 34, 2)
        photo[top : top + 14, left : left + 14] = 180
        y, x = rng.integers(12, 36, 2)
        disk = ((rows - y) ** 2 + (columns - x) ** 2 < 100) & (index % 2 == 0)
        photo[disk] = (200, 40, 40)
        Image.fromarray(photo).save(root / f"p{index}.png")
        split = "train" if index < train_photos else "val"
        table.append(f"p{index}.png,{'disk' if index % 2 == 0 else ''},{split}")
        if split == "val":
            Image.fromarray(disk.astype(np.uint8)).save(root / "masks" / f"p{index}.png")
    (root / "labels.csv").write_text("\n".join(table))


def test_one_class_learns_to_separate_from_negatives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the look at the data to report, pseudo labels and prediction."""
    root, run = tmp_path / "photos", tmp_path / "run"
    _write_disks(root)
    assert run_command(data.main, "folder", f"root={root}", f"output_dir={tmp_path / 'look'}") == 0
    assert "20 photos without any class: all background" in capsys.readouterr().out
    words = [
        "experiment=demo", "data=folder", f"data.root={root}", "data.crop_size=48", "data.batch_size=8",
        "data.num_workers=0", "supervision.first_step=50", "supervision.walk_first_step=54", "trainer.max_steps=56",
        "trainer.val_check_interval=56", "trainer.accelerator=cpu", "scheduler.warmup_steps=5",
        f"output_dir={run}",
    ]  # fmt: skip
    assert run_command(train.main, *words) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val/class_f1"] > 90
    assert metrics["val/cam_best_miou"] > 60
    assert metrics["val/iou/background"] > 50
    assert (run / "report.html").is_file()
    assert (run / "classes.txt").read_text() == "disk\n"

    checkpoint = f"checkpoint={run / 'checkpoints' / 'last.ckpt'}"
    assert run_command(pseudo_label.main, checkpoint, f"output_dir={tmp_path / 'made'}") == 0
    made = sorted((tmp_path / "made" / "pseudo_labels").rglob("*.png"))
    assert len(made) == 8
    shown = {path.stem: set(np.unique(read_mask(path, 2)).tolist()) for path in made}
    assert all(shown[f"p{index}"] == {0} for index in range(33, 40, 2))
    assert any(1 in shown[f"p{index}"] for index in range(32, 40, 2))
    assert run_command(predict.main, checkpoint, f"input={root}", f"output_dir={tmp_path / 'out'}") == 0
