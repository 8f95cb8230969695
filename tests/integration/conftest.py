"""A small run that several tests look at; loads the commands before they do: ``tests/commands.py`` on the warning."""

from __future__ import annotations

import pytest
from tests.commands import run_command, small_run

from afa_wsss.cli import train as training


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """Folder of a run of 4 steps through all phases, validated at step 3 and after the last."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert run_command(training.main, *small_run(root), f"output_dir={folder}") == 0
    return folder
