"""The short form of ``make soak``: real processes, killed at random times."""

from __future__ import annotations

import pytest
import torch
from benchmarks.soak import differing, soak


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("kind", [(0, 1), (2, 2)], ids=["alone", "loaders and two processes"])
def test_a_killed_run_equals_one_that_never_was(tmp_path, kind, capsys):
    assert soak(tmp_path / "soak", runs=1, steps=12, most_kills=2, kinds=[kind]) == []
    assert "equal" in capsys.readouterr().out


def test_what_differs_is_named():
    one = {"weights": {"a": torch.zeros(2)}, "scores": {"val/miou": 1.0}, "rows": []}
    other = {"weights": {"a": torch.ones(2)}, "scores": {"val/miou": 2.0}, "rows": []}
    assert differing(one, one) == []
    assert differing(one, other) == ["a", "scores"]
