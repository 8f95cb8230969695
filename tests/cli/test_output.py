from __future__ import annotations

import pytest

from afa_wsss.cli.output import say, say_files, say_scores


@pytest.fixture(params=["40", "80"])
def width(request, monkeypatch):
    """Of the terminal, in columns."""
    monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param)


def test_paths_are_never_broken(width, tmp_path, capsys):
    path = tmp_path / ("a folder with a long name " * 5).strip() / "report.html"
    path.parent.mkdir()
    path.touch()
    say_files({"report": path})
    say(f"go on with: output_dir={path}")
    assert capsys.readouterr().out.splitlines() == ["written", f"report  {path}", f"go on with: output_dir={path}"]


def test_scores_are_never_cut(width, capsys):
    metrics = {"val/class_f1": 91.25}
    for name in ("inclusion", "a class with a longer name"):
        scores = {"photos": 1234.0, "f1": 91.25, "precision": 87.5, "recall": 95.0, "threshold": 0.37, "best_f1": 93.0}
        metrics |= {f"val/class_{what}/{name}": score for what, score in scores.items()}
    say_scores(metrics, ("cam", "segmentation"), ["labels call 96 % of the pixels inclusion: " + "look at them " * 9])
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["inclusion", "1234", "91.2", "87.5", "95.0", "0.37", "93.0"] in lines
    assert "IoU" not in out
    assert any(
        line.startswith("warning: labels call 96 % of the pixels inclusion: look at") for line in out.splitlines()
    )
    assert len([line for line in out.splitlines() if "look at them" in line]) == 1


def test_masks_bring_the_scores_of_the_stages(width, capsys):
    metrics = {"val/miou": 50.0, "val/cam_miou": 40.0, "val/iou/cat": 50.0, "val/iou/dog": float("nan")}
    say_scores(metrics, ("cam", "segmentation"), [], classes=True)
    out = capsys.readouterr().out
    assert "segmentation branch" in out
    assert out.splitlines()[-1] == "mIoU leaves out dog: no held-out mask shows it"
