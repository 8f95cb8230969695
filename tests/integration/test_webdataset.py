"""`data=webdataset`: training on shards with the real command, resumed, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tests.commands import run_command, small_run, write_small_set
from tests.data.shards.shards import write_partshapes_shards, write_shard

from afa_wsss.cli import evaluate
from afa_wsss.cli import train as training
from afa_wsss.training.module import AFAModule


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    partshapes = write_small_set(tmp_path_factory.mktemp("partshapes"))
    return write_partshapes_shards(tmp_path_factory.mktemp("shards"), partshapes)


def words(root, folder, *more):
    chosen = ["data=webdataset", "callbacks=none", "logger=none", "trainer.checkpoint_interval=1"]
    return [*small_run(root), *chosen, f"output_dir={folder}", *more]


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def seen(monkeypatch):
    """Names of the photos by step."""
    names, step = {}, AFAModule.training_step

    def training_step(self, batch, batch_index):
        names.setdefault(self.global_step, []).append(batch.names)
        return step(self, batch, batch_index)

    monkeypatch.setattr(AFAModule, "training_step", training_step)
    return names


def test_a_run_on_shards_is_trained_scored_and_evaluated(root, tmp_path, seen, capsys):
    assert run_command(training.main, *words(root, tmp_path / "run")) == 0
    assert "8 photos to train, 5 photos to validate" in capsys.readouterr().out
    epoch = [name for step in range(4) for batch in seen[step] for name in batch]
    assert len(set(epoch)) == len(epoch) == 8
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"val/miou", "val/class_f1"} <= metrics.keys()
    checkpoint = f"checkpoint={tmp_path}/run/checkpoints/last.ckpt"
    assert run_command(evaluate.main, checkpoint, f"output_dir={tmp_path}/scores", "trainer.accelerator=cpu") == 0
    again = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert again["val/miou"] == pytest.approx(metrics["val/miou"])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(root, tmp_path, seen, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_command(training.main, *words(root, whole, "trainer.max_steps=6")) == 0
    expected = {step: list(names) for step, names in seen.items()}
    seen.clear()
    step, killed = AFAModule.training_step, []

    def stop_once(self, batch, batch_index):
        if self.global_step == 2 and not killed:
            killed.append(True)
            raise RuntimeError("killed")
        return step(self, batch, batch_index)

    monkeypatch.setattr(AFAModule, "training_step", stop_once)
    with pytest.raises(RuntimeError, match="killed"):
        run_command(training.main, *words(root, stopped, "trainer.max_steps=6"))
    assert run_command(training.main, *words(root, stopped, "trainer.max_steps=6", "resume=auto")) == 0
    assert seen == expected
    ours, theirs = state(stopped), state(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def no_val(root):
    shutil.rmtree(root / "val")


def no_class_list(root):
    (root / "val" / "classes.txt").unlink()
    rows = [f"{path.name},zebra" for path in (root / "val").glob("*.jpg")]
    (root / "val" / "labels.csv").write_text("\n".join(["file,labels", *rows]))


def captions(root):
    for path in root.glob("*.tar"):
        write_shard(path, [{"jpg": b"", "txt": b"a dog on grass"}] * 4)


def cut_off(root):
    path = next(root.glob("*.tar"))
    path.write_bytes(path.read_bytes()[:2048])


@pytest.mark.parametrize(
    ("spoil", "more", "message"),
    [
        (no_val, [], "need a folder of photos to validate with"),
        (no_class_list, [], "need the same classes to train and to validate with"),
        (captions, [], "need labels that name classes such as"),
        (cut_off, [], "need whole tar files"),
        (None, ["data.root=/none"], "need tar files in /none, found none"),
        (None, ["data.dataset.mixed=99"], "need mixed in [1, 16], got 99"),
        (None, ["supervision=oracle"], "need masks of the photos to train on"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(root, tmp_path, capsys, spoil, more, message):
    copy = shutil.copytree(root, tmp_path / "data")
    if spoil is not None:
        spoil(copy)
    given = words(copy, tmp_path / "run", *more)
    if "supervision=oracle" in more:
        given = [word for word in given if not word.startswith("supervision.")]
    code = run_command(training.main, *given)
    errors = capsys.readouterr().err.splitlines()
    assert (code, len(errors)) == (1, 1), errors
    assert message in errors[0]
