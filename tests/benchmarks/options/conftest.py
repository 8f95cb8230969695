"""What the tests of the options share: a small batch, a small network, a small run of the real command."""

from __future__ import annotations

import json

import pytest
from benchmarks.options.table import OPTIONS
from tests.commands import run_command, small_run, write_small_set
from tests.photos import two_photos

from afa_wsss.cli import train as training
from afa_wsss.models import create_model

SIDE = 64


@pytest.fixture
def batch():
    """See ``two_photos``."""
    return two_photos(SIDE)


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
