"""What the tests of the options share: a small batch, a small network, a small run of the real command."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks.options.table import OPTIONS
from tests.commands import run_command, small_run, write_small_set

from afa_wsss.cli import train as training
from afa_wsss.models import create_model
from afa_wsss.types import Batch

SIDE = 64


@pytest.fixture
def batch():
    """Two photos of three classes; the second is padded and has one class."""
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    boxes = torch.tensor([[0, SIDE, 0, SIDE], [3, SIDE - 2, 5, SIDE]])
    return Batch(images, torch.tensor([[1.0, 0, 1], [1, 0, 0]]), boxes, ("a", "b"), most_classes=2)


@pytest.fixture
def network():
    """In training mode, without dropped paths."""
    return create_model("mit_nano", 3, decoder_width=8, drop_path_rate=0.0).train()


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    """Root of a few pictures of PartShapes."""
    return write_small_set(tmp_path_factory.mktemp("partshapes"))


@pytest.fixture
def train_option(small_set, tmp_path, monkeypatch):
    """Trains a few steps with the words of an option of the table; gives its scores and its folder."""
    monkeypatch.chdir(tmp_path)

    def run(option, *more):
        folder = tmp_path / "run"
        words = [*small_run(small_set), "callbacks=quiet", *OPTIONS[option], *more, f"output_dir={folder}"]
        assert run_command(training.main, *words) == 0
        return json.loads((folder / "metrics.json").read_text()), folder

    return run
