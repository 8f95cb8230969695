"""``supervision.auto_from=masks`` by the real command: what masks change, what they do not, and wrong use."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands import run_command, small_run
from tests.run_folder import checkpoint, read

from afa_wsss.api.segmenter import load
from afa_wsss.cli import evaluate
from afa_wsss.cli import train as training
from afa_wsss.supervision.thresholds import PAPER
from afa_wsss.training.module import AFAModule

WALK = [f"supervision.walk_{name}=null" for name in ("low", "high", "background")]
AUTO = [f"supervision.{name}=auto" for name in ("low", "high", "background")]
MASKS = [*AUTO, *WALK, "supervision.auto_from=masks"]


def words(root, folder, *more):
    return [*small_run(root), "trainer.max_steps=5", "callbacks=none", f"output_dir={folder}", *more]


def state_of(folder):
    return read(folder)["state_dict"]


def memory_of(folder):
    return {name: value for name, value in state_of(folder).items() if name.startswith("label_memory.")}


def weights_of(folder):
    return {name: value for name, value in state_of(folder).items() if not name.startswith("label_memory.")}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "masks"
    assert run_command(training.main, *words(root, folder, *MASKS, "model.dropout=0")) == 0
    return folder


def test_the_scores_are_found_logged_and_drawn(run):
    memory = memory_of(run)
    assert memory["label_memory.looks"].tolist() == [4, 3]  # at steps 1, 2, 3, 4; those from 2 on with the walk
    assert memory["label_memory.cam.moments"].count_nonzero() == 0  # no photo was looked at without its mask
    found = memory["label_memory.found"]
    assert ((found[:, 0] <= found[:, 2]) & (found[:, 2] <= found[:, 1])).all()
    header = (run / "logs" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"train/thresholds/low", "train/thresholds/walk_background"} <= set(header)
    assert "Background scores that were found" in (run / "report.html").read_text(encoding="utf-8")
    assert "auto_from: masks" in (run / "config.yaml").read_text(encoding="utf-8")


def test_a_checkpoint_keeps_what_was_found(run, root, tmp_path):
    """It is used again without any mask."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert load(checkpoint(run), device="cpu").label_maker.cam_thresholds != PAPER
    scored = [f"checkpoint={checkpoint(run)}", "trainer.accelerator=cpu", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *scored) == 0


def test_a_run_goes_on_without_masks_and_says_only_that(run, root, tmp_path, capsys):
    """Lightning warns of every callback whose state a checkpoint has and the run has not: an error in tests."""
    more = [*AUTO, *WALK, "model.dropout=0", f"resume={checkpoint(run)}", "trainer.max_steps=6"]
    assert run_command(training.main, *words(root, tmp_path / "photos", *more)) == 0
    assert "resumed with supervision.auto_from masks -> photos" in capsys.readouterr().out


def test_other_masks_find_other_scores(root, run, tmp_path):
    """Masks that call all of each photo an object ask for the lowest scores."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for path in (copy / "SegmentationClass").glob("val_*"):
        mask = Image.open(path)
        values = np.array(mask)
        full = Image.fromarray(np.full_like(values, values[values < 255].max()))
        full.putpalette(mask.getpalette())
        full.save(path)
    assert run_command(training.main, *words(copy, tmp_path / "full", *MASKS, "model.dropout=0")) == 0
    found, usual = (memory_of(folder)["label_memory.found"][0] for folder in (tmp_path / "full", run))
    assert found[2] < usual[2]


def test_training_is_not_disturbed(root, tmp_path):
    """With numbers for training and a score for validation alone from masks, every weight is equal to the bit."""
    fixed = [*WALK, "supervision.low=0.02", "supervision.high=0.05"]
    for name, more in (
        ("numbers", ["supervision.background=0.03"]),
        ("masks", ["supervision.background=auto", "supervision.auto_from=masks"]),
    ):
        assert run_command(training.main, *words(root, tmp_path / name, *fixed, *more, "model.dropout=0.5")) == 0
    assert memory_of(tmp_path / "masks")["label_memory.looks"].tolist() == [4, 3]
    assert_equal(weights_of(tmp_path / "masks"), weights_of(tmp_path / "numbers"))


@pytest.mark.parametrize("stopped", [1, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(root, run, tmp_path, monkeypatch, stopped):
    """Stopped between the look of a step and the step, which are both taken back, and resumed."""
    step = AFAModule.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == stopped:
            raise MemoryError("killed")
        return step(self, batch, batch_index)

    monkeypatch.setattr(AFAModule, "training_step", training_step)
    whole = [*MASKS, "model.dropout=0"]
    with pytest.raises(MemoryError):
        run_command(training.main, *words(root, tmp_path / "first", *whole))
    assert memory_of(tmp_path / "first")["label_memory.looks"][0] == stopped - 1
    monkeypatch.undo()
    again = words(root, tmp_path / "second", *whole, f"resume={checkpoint(tmp_path / 'first')}")
    assert run_command(training.main, *again) == 0
    assert_equal(memory_of(tmp_path / "second"), memory_of(run))
    assert_equal(weights_of(tmp_path / "second"), weights_of(run))


def test_the_photos_alone_decide_unless_masks_are_asked_for(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for path in (copy / "SegmentationClass").glob("val_*"):
        mask = Image.open(path)
        mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    for data, name in ((root, "one"), (copy, "other")):
        assert run_command(training.main, *words(data, tmp_path / name, *AUTO, *WALK)) == 0
    assert_equal(state_of(tmp_path / "one"), state_of(tmp_path / "other"))


def test_two_batches_a_step_have_one_look(root, tmp_path):
    more = [*MASKS, "trainer.accumulate_grad_batches=2", "trainer.max_steps=3"]
    assert run_command(training.main, *words(root, tmp_path / "run", *more)) == 0
    assert memory_of(tmp_path / "run")["label_memory.looks"].tolist() == [2, 1]


def without_masks(root, folder):
    """A folder of photos with labels, none with a mask."""
    folder.mkdir()
    rows = ["file,labels,split"]
    for index, path in enumerate(sorted((root / "JPEGImages").glob("*.jpg"))):
        shutil.copy(path, folder / path.name)
        rows.append(f"{path.name},{'cat' if index % 2 else 'dog'},{'val' if path.name.startswith('val') else 'train'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def line_of(capfd):
    (line,) = capfd.readouterr().err.strip().splitlines()
    return line


def test_without_masks_it_is_one_line(root, tmp_path, capfd):
    folder = without_masks(root, tmp_path / "photos")
    more = [*MASKS, "data=folder"]
    assert run_command(training.main, *words(folder, tmp_path / "run", *more)) == 1
    line = line_of(capfd)
    assert line.startswith(
        "error: supervision.auto_from, data.val_split: need held-out photos with masks, none of the 5"
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_without_a_validation_split_it_is_one_line(root, tmp_path, capfd):
    assert run_command(training.main, *words(root, tmp_path / "run", *MASKS, "data.val_split=null")) == 1
    line = line_of(capfd)
    assert "supervision.auto_from" in line
    assert "need held-out photos with masks, got no validation split" in line
    assert "leave supervision.auto_from at photos" in line


def test_with_numbers_alone_it_is_one_line(root, tmp_path, capfd):
    assert run_command(training.main, *words(root, tmp_path / "run", "supervision.auto_from=masks")) == 1
    line = line_of(capfd)
    assert line.startswith("error: supervision.auto_from: need a background score that is auto for auto_from=masks")
