"""What users of wandb find in the runs of a sweep, read back from the offline files."""

from __future__ import annotations

import csv
import json

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import WandbLogger
from tests.commands import run_command, small_run, write_small_set
from tests.offline_wandb import offline_runs

import afa_wsss
from afa_wsss.cli import train as training
from afa_wsss.errors import UserError
from afa_wsss.training.module import AFAModule


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Folder of a sweep of two jobs, validated at steps 1 and 2; and how often each logged its settings."""
    folder, calls = tmp_path_factory.mktemp("sweep"), []
    root = write_small_set(tmp_path_factory.mktemp("partshapes"))
    logs = WandbLogger.log_hyperparams

    def counted(self, params):
        calls.append(self.version)
        logs(self, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        patch.setattr(WandbLogger, "log_hyperparams", counted)
        words = ["-m", *small_run(root), "trainer.max_steps=2", "trainer.val_check_interval=1", "callbacks=none"]
        words += ["supervision.first_step=0", "supervision.walk_first_step=0", "logger=wandb", "seed=0,1"]
        assert run_command(training.main, *words, "hydra.sweep.dir=runs/sweep_a") == 0
    return folder / "runs" / "sweep_a", calls


@pytest.fixture(scope="module")
def runs(sweep):
    return offline_runs(sweep[0])


def test_jobs_of_a_sweep_are_a_group(runs):
    assert [one.run.run_group for one in runs] == ["sweep_a", "sweep_a"]
    assert [one.run.job_type for one in runs] == ["sweep", "sweep"]
    assert [one.run.display_name for one in runs] == ["demo_0", "demo_1"]
    assert runs[0].run.run_id != runs[1].run.run_id


def test_the_config_is_nested_and_logged_once(sweep, runs):
    folder, calls = sweep
    assert len(calls) == 2
    assert [one.config["seed"] for one in runs] == [0, 1]
    written = yaml.safe_load((folder / "0" / "config.yaml").read_text())
    assert runs[0].config["supervision"]["refinement"]["steps"] == written["supervision"]["refinement"]["steps"] == 2
    assert runs[0].config["model"]["backbone"] == "mit_nano"


def test_the_summary_has_the_highest_miou(sweep, runs):
    with (sweep[0] / "0" / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("val/miou", "val/cam_miou", "val/cam_best_miou", "val/walk_miou"):
        values = [float(row[name]) for row in rows if row[name]]
        assert len(values) == 2
        assert runs[0].summary[name] == {"max": pytest.approx(max(values), rel=1e-5)}


def test_the_confusion_matrix_gives_the_iou_that_was_logged(sweep, runs):
    """IoU of each class from the cells: hits / (row + column - hits)."""
    scores = json.loads((sweep[0] / "0" / "metrics.json").read_text())
    table = runs[0].table("val/confusion_matrix_table")
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    names = [key.removeprefix("val/iou/") for key in scores if key.startswith("val/iou/")]
    cells = {(actual, predicted): count for actual, predicted, count in table["data"]}
    assert len(cells) == len(names) ** 2
    for name in names:
        row, column = (sum(n for key, n in cells.items() if key[side] == name) for side in (0, 1))
        if row:
            iou = 100 * cells[name, name] / (row + column - cells[name, name])
            assert scores[f"val/iou/{name}"] == pytest.approx(iou, abs=0.01)


def test_bars_have_each_class(runs):
    bars, table = runs[0].table("val/iou_bars_table"), runs[0].table("val/iou_table")
    assert bars["columns"] == ["class", "IoU"]
    assert bars["data"] == table["data"]
    assert bars["data"][0][0] == "background"


def test_photos_have_masks_of_every_stage_by_name(runs):
    for one in runs:
        assert sum("val/photo_table" in row for row in one.history) == 2
    table = runs[0].media_table("val/photo_table")
    assert table["columns"][:3] == ["photo", "classes", "masks"]
    assert "cam scores" in table["columns"]
    assert len(table["data"]) == 5
    name, classes, picture, *_ = table["data"][0]
    assert name
    assert classes
    assert {"cam", "walk", "pseudo_label", "segmentation", "target"} <= set(picture["masks"])


def test_best_checkpoint_and_report_are_artifacts(sweep, runs):
    scores = json.loads((sweep[0] / "0" / "metrics.json").read_text())
    found = {one.type: one for one in runs[0].artifacts if one.type in ("model", "report")}
    assert set(found["model"].aliases) == {"best", "latest"}
    assert list(found["report"].aliases) == ["latest"]
    files = {kind: [content.path for content in one.manifest.contents] for kind, one in found.items()}
    assert files == {"model": ["best.ckpt"], "report": ["report.html"]}
    assert json.loads(found["model"].metadata)["val/miou"] == pytest.approx(runs[0].summary["val/miou"]["max"])
    assert runs[0].summary["objective"] == pytest.approx(scores["val/miou"])


def test_calls_from_python_have_a_run_each(tmp_path, monkeypatch):
    """Also after one that failed."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    root = write_small_set(tmp_path / "partshapes")
    words = [*small_run(root), "trainer.max_steps=1", "callbacks=none", "logger=wandb", "data.val_split=null"]

    def refuses(*_):
        raise UserError("need another step")

    for name in ("first", "second"):
        afa_wsss.train(*words, f"output_dir={tmp_path / name}")
        assert wandb.run is None
    monkeypatch.setattr(AFAModule, "training_step", refuses)
    with pytest.raises(UserError, match="need another step"):
        afa_wsss.train(*words, f"output_dir={tmp_path / 'failed'}")
    assert wandb.run is None
    found = [
        sorted(folder.name for folder in tmp_path.glob(f"{name}/**/offline-run-*-*") if folder.is_dir())
        for name in ("first", "second", "failed")
    ]
    assert [len(names) for names in found] == [1, 1, 1]
    assert len({name.rpartition("-")[2] for names in found for name in names}) == 3, "ids of runs"
