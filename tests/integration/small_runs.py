"""What a run leaves, as the tests read it."""

from __future__ import annotations

import json
from pathlib import Path

STAGES = ("val/cam_miou", "val/cam_par_miou", "val/walk_miou", "val/pseudo_label_miou", "val/miou")
"""Scores of a run that PAR refines."""


def scores(folder: Path) -> dict[str, float | None]:
    """``metrics.json``."""
    found: dict[str, float | None] = json.loads((folder / "metrics.json").read_text())
    return found


def checkpoint(folder: Path, kind: str = "last") -> Path:
    """``last.ckpt``, or another."""
    return folder / "checkpoints" / f"{kind}.ckpt"
