"""Photos of 12 bits with masks in colors, from the look over training and evaluation to prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.commands import run_command

import afa_wsss.cli.data
import afa_wsss.cli.evaluate
import afa_wsss.cli.predict
import afa_wsss.cli.train
from afa_wsss import load

COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], dtype=np.uint8)
SHORT = (
    "data=folder",
    "model.backbone=mit_nano",
    "model.decoder_width=16",
    "data.crop_size=64",
    "data.num_workers=0",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "callbacks=none",
    "logger=none",
)


def write_photos(root, *, top=4000):
    rng = np.random.default_rng(0)
    (root / "masks").mkdir(parents=True)
    rows = ["file,labels"]
    for number in range(8):
        label = np.zeros((64, 80), dtype=np.uint8)
        label[10:40, 10 + number : 50] = 1 + number % 2
        values = (rng.random(label.shape) * top / 4 + label * (top / 3)).astype(np.uint16)
        values[0, 0] = top if number == 0 else 0
        Image.fromarray(values).save(root / f"{number}.png")
        if number < 4:
            Image.fromarray(COLORS[label]).save(root / "masks" / f"{number}_mask.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2]}")
    (root / "labels.csv").write_text("\n".join(rows))
    (root / "classes.txt").write_text("background 0 0 0\ncat 255 0 0\ndog 0 255 0\n")
    return root


def test_12_bits_and_masks_in_colors_go_through_all_commands(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    root = write_photos(tmp_path / "photos")
    assert run_command(afa_wsss.cli.data.main, "check", "data=folder", f"data.root={root}", "output_dir=look") == 0
    problems = json.loads((tmp_path / "look" / "problems.json").read_text())["problems"]
    assert {problem["kind"] for problem in problems} == {"16 bits or more"}
    assert run_command(afa_wsss.cli.train.main, *SHORT, f"data.root={root}", "output_dir=run") == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    segmenter = load(checkpoint, "cpu")
    assert segmenter.range_of.setting == (0, 4000), "of all photos of the data set"
    np.testing.assert_array_equal(segmenter.palette, COLORS)
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 <= scores["val/iou/background"] <= 100
    words = [f"checkpoint={checkpoint}", "trainer.accelerator=cpu", "output_dir=scores"]
    assert run_command(afa_wsss.cli.evaluate.main, *words) == 0
    again = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert again["val/miou"] == pytest.approx(scores["val/miou"], abs=1e-3)
    words = [f"checkpoint={checkpoint}", f"input={root / '7.png'}", "device=cpu"]
    assert run_command(afa_wsss.cli.predict.main, *words, "output_dir=found") == 0
    assert run_command(afa_wsss.cli.predict.main, *words, "output_dir=dark", "data.value_range=[0,65535]") == 0
    seen = [np.asarray(Image.open(tmp_path / name / "overlays" / "7.jpg")).mean() for name in ("found", "dark")]
    assert seen[0] > seen[1] + 20


def test_photos_that_come_out_black_are_refused_before_training(tmp_path, capfd):
    root = write_photos(tmp_path / "photos")
    words = [*SHORT, f"data.root={root}", f"output_dir={tmp_path / 'run'}", "data.value_range=[0,10000000]"]
    assert run_command(afa_wsss.cli.train.main, *words) != 0
    assert "comes out black all over" in capfd.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()
