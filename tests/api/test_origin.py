from __future__ import annotations

import json
import subprocess

import lightning
import pytest
import torch
from tests.commands import write_small_set

from afa_wsss.api.origin import origin_of
from afa_wsss.data import VOCDataset
from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.training.callbacks import Origin
from afa_wsss.training.callbacks.origin import ORIGIN_KEY
from afa_wsss.training.datamodule import AFADataModule


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one's own as the working folder, with one change since its commit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "loss.py").write_text("weight = 1\n")
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "loss.py"], [*name, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    (tmp_path / "loss.py").write_text("weight = 2\n")
    return tmp_path


def opened(root, **settings):
    chosen = {
        "root": str(root),
        "dataset": VOCDataset,
        "train_split": "train",
        "val_split": "val",
        "crop_size": 48,
        "batch_size": 2,
        "num_workers": 0,
    }
    return AFADataModule(DataSettings(**{**chosen, **settings}))


def test_versions_code_command_seed_and_data(root, repository, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/afa-train", "name=my run", "seed=3"])
    origin = origin_of(opened(root), seed=3)
    assert origin["command"] == "afa-train 'name=my run' seed=3"
    assert (origin["seed"], origin["versions"]["torch"]) == (3, torch.__version__)
    assert type(origin["versions"]["torch"]) is str, "torch.load reads no other kinds of text"
    code = next(one for one in origin["code"] if one["name"] == repository.name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert code["commit"] == commit
    assert "-weight = 1\n+weight = 2\n" in code["diff"]
    assert {use: found["photos"] for use, found in origin["data"].items()} == {"train": 8, "val": 5}
    assert str(root) not in json.dumps(origin)


def test_without_git_there_is_no_code(root, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin_of(opened(root), seed=0)["code"] == []


def test_a_diff_that_git_cannot_give_is_not_an_empty_one(root, repository):
    (repository / "loss.py").write_bytes(b"weight = '\xff'\n")  # no text: git's answer cannot be read
    code = next(one for one in origin_of(opened(root), seed=0)["code"] if one["name"] == repository.name)
    assert code["diff"].startswith("left out: git diff failed")


def test_a_fingerprint_is_that_of_labels_and_pixels(root, tmp_path):
    one = fingerprint(opened(root).train_set.dataset)
    assert one == fingerprint(opened(root).train_set.dataset)
    assert one != fingerprint(opened(root).val_set.dataset)
    other = write_small_set(tmp_path / "other")
    assert fingerprint(opened(other).train_set.dataset) == one, "a folder that was moved keeps it"
    photo = next((other / "JPEGImages").glob("train_*"))
    photo.write_bytes(next((other / "JPEGImages").glob("val_*")).read_bytes())
    assert fingerprint(opened(other).train_set.dataset) != one
    held_out = opened(root).val_set.dataset
    assert fingerprint(held_out, masks=True) != fingerprint(held_out)


def test_a_resumed_run_knows_the_runs_before(tmp_path):
    first = Origin({"command": "one", "code": [{"name": "r", "commit": "c", "diff": "d"}]}, tmp_path)
    second, third = Origin({"command": "two", "code": []}, tmp_path), Origin({"command": "three", "code": []}, tmp_path)
    run = (lightning.Trainer(accelerator="cpu", logger=False, barebones=True), lightning.LightningModule())
    for earlier, later, step in ((first, second, 4), (second, third, 9)):
        checkpoint = {"global_step": step}
        earlier.on_save_checkpoint(*run, checkpoint)
        later.on_load_checkpoint(*run, checkpoint)
    shown = [{"name": "r", "commit": "c", "changed": True}]
    assert third.origin["resumed"] == [
        {"command": "one", "code": shown, "step": 4},
        {"command": "two", "code": [], "step": 9},
    ]
    assert checkpoint[ORIGIN_KEY]["resumed"] == third.origin["resumed"][:1]
