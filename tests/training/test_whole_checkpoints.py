from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from afa_wsss.api.checkpoints import store_validation
from afa_wsss.errors import UserError
from afa_wsss.training.callbacks.plain_config import CONFIG_KEY
from afa_wsss.training.run_files import newest_run
from afa_wsss.training.whole_checkpoints import WholeCheckpoints


def content(path):
    return torch.load(path, weights_only=True)["step"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_one_before_is_kept(tmp_path):
    files = WholeCheckpoints()
    for step in range(3):
        files.save_checkpoint({"step": step}, tmp_path / "run" / "last.ckpt")
    files.save_checkpoint({"step": 7}, tmp_path / "run" / "best.ckpt")
    files.save_checkpoint({"step": 8}, tmp_path / "run" / "best.ckpt")
    assert names(tmp_path / "run") == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert [content(tmp_path / "run" / name) for name in names(tmp_path / "run")] == [8, 2, 1]


def test_what_cannot_be_written_leaves_what_is_there(tmp_path, monkeypatch):
    files = WholeCheckpoints()
    files.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=r"need to write a checkpoint of .* MB to .*last.ckpt, got: No space") as error:
        files.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert error.value.kind == "not_written"
    assert names(tmp_path) == ["last.ckpt"]
    assert content(tmp_path / "last.ckpt") == 1


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"callbacks": {"Mine": {"n": np.float64(1)}}}, "got numpy.float64 in checkpoint['callbacks']['Mine']['n']"),
        ({"state_dict": {"loss._extra_state": [0, Path("a")]}}, "in checkpoint['state_dict']['loss._extra_state'][1]"),
    ],
)
def test_a_state_that_could_not_be_read_again_is_refused_and_named(tmp_path, state, told):
    files = WholeCheckpoints()
    files.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=re.escape(told)) as error:
        files.save_checkpoint({"step": 2} | state, tmp_path / "last.ckpt")
    assert error.value.kind == "not_written"
    assert content(tmp_path / "last.ckpt") == 1


def test_the_newest_run_is_that_of_the_newest_checkpoint(tmp_path):
    assert newest_run(tmp_path) == tmp_path / "auto"
    (tmp_path / "without").mkdir()
    for name in ("b", "a"):
        WholeCheckpoints().save_checkpoint({"step": 1}, tmp_path / name / "checkpoints" / "last.ckpt")
    assert newest_run(tmp_path) == tmp_path / "a"


def test_a_disk_that_refuses_at_the_end_leaves_what_is_there(tmp_path, monkeypatch):
    """Quotas and network disks say so when the content is to be on the disk, after it was written."""
    files = WholeCheckpoints()
    for step in range(2):
        files.save_checkpoint({"step": step}, tmp_path / "last.ckpt")

    def over_quota(_):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("os.fsync", over_quota)
    with pytest.raises(UserError, match="Disk quota exceeded; what was there is kept"):
        files.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert [content(tmp_path / name) for name in names(tmp_path)] == [1, 0]
    with pytest.raises(UserError, match="Disk quota exceeded"):
        store_validation(written(tmp_path / "whole.ckpt"), {"a": 0.5}, best_score=None, step=1)


def written(path):
    torch.save({"step": 1, "global_step": 1, "state_dict": {}, CONFIG_KEY: {}}, path)
    return path
