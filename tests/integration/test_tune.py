"""afa-tune finds at the checkpoint's own settings what validation found, and trains nothing."""

from __future__ import annotations

import json

import pytest
from tests.commands import run_command, small_run, trained_run

from afa_wsss.cli import train as training
from afa_wsss.cli import tune


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    words = ["supervision.background=0.4", "supervision.walk_background=0.6"]
    return trained_run(root, tmp_path_factory.mktemp("runs") / "trained", *words)


def tuned(trained, folder, *words):
    checkpoint = trained / "checkpoints" / "last.ckpt"
    assert run_command(tune.main, f"checkpoint={checkpoint}", f"output_dir={folder}", *words) == 0
    return json.loads((folder / "tune.json").read_text())


def test_it_finds_the_best_walk_and_prints_words_to_paste(trained, root, tmp_path, capsys):
    found = tuned(trained, tmp_path / "tuned", f"data={root}", "alpha=[2,8]", "walk_steps=[1]", "masks=[2,3,10]")
    metrics = json.loads((trained / "metrics.json").read_text())
    cam, walk = found["before"]
    assert cam["miou"] == pytest.approx(metrics["val/cam_par_miou"], abs=0.01)
    assert walk["miou"] == pytest.approx(metrics["val/pseudo_label_miou"], abs=0.01)
    assert (cam["background"], walk["background"]) == (0.4, 0.6)
    best = found["best"][1]
    walks = [stage for name, stage in found["stages"].items() if name.startswith("walk_radius")]
    assert best["miou"] == pytest.approx(max(max(stage["miou"]) for stage in walks), abs=1e-3)
    assert [each["photos"] for each in found["expected"]] == [2, 3]  # 10 are more than there are
    said = capsys.readouterr().out
    words = " ".join(found["words"])
    assert words in said
    assert {word.partition("=")[0] for word in found["words"]} >= {
        f"supervision.{name}" for name in ("low", "high", "background", "walk_low", "walk_high", "alpha", "walk_radius")
    }


def test_its_words_train(trained, root, tmp_path):
    found = tuned(trained, tmp_path / "tuned", "limit=3", "masks=[1]", "alpha=[2]", "walk_steps=[1,2]")
    words = [*small_run(root), *found["words"], "trainer.max_steps=1", "callbacks=none", "logger=none"]
    words = [word for word in words if not word.startswith("supervision.refinement.steps")]
    assert run_command(training.main, *words, f"output_dir={tmp_path / 'run'}") == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scores=[1.5]", "scores: need scores between 0 and 1, got [1.5]"),
        ("keep=0", "keep: need keep of at least 1, got 0"),
        ("labeled=0", "labeled: need a share above 0 and at most 100, got 0"),
        ("data=/nope", "/nope, which does not exist"),
        ("data.max_side=20", "error: data.max_side: need max_side of at least 32, got 20"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, word, message, capfd):
    checkpoint = trained / "checkpoints" / "last.ckpt"
    assert run_command(tune.main, f"checkpoint={checkpoint}", f"output_dir={tmp_path}", word) == 1
    assert message in capfd.readouterr().err
