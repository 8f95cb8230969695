"""What a run leaves in its folder, as the tests read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

STAGES = ("val/cam_miou", "val/cam_par_miou", "val/walk_miou", "val/pseudo_label_miou", "val/miou")
"""Scores of a run that PAR refines."""


def scores(folder: Path, *, missing: float | None = None) -> dict[str, float | None]:
    """``metrics.json``, with ``missing`` in place of null."""
    found = json.loads((folder / "metrics.json").read_text())
    return {name: missing if value is None else value for name, value in found.items()}


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``, each with its own columns alone."""
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def checkpoint(folder: Path, kind: str = "last") -> Path:
    """``last.ckpt``, or another."""
    return folder / "checkpoints" / f"{kind}.ckpt"


def read(folder: Path, kind: str = "last") -> dict[str, Any]:
    """The content of a checkpoint."""
    content: dict[str, Any] = torch.load(checkpoint(folder, kind), weights_only=True)
    return content
