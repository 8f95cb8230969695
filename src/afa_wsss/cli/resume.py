"""Going on with a training run that was cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

from afa_wsss.cli import build
from afa_wsss.errors import UserError
from afa_wsss.models import AFA
from afa_wsss.models.weights.files import load_strictly


def done_steps(path: str | None, network: AFA, *, max_steps: int) -> int:
    """Checks the checkpoint of an earlier run before Lightning loads it.

    Args:
        path: Its ``last.ckpt``; None to start anew.
        network: Has to be of the checkpoint's sizes.
        max_steps: Of this run, those before it included.

    Returns:
        Steps that are done already.

    Raises:
        UserError: For a checkpoint that is none of ours, fits another network, or has no step left to do.
    """
    if path is None:
        return 0
    content = build.read_checkpoint(path)
    load_strictly(network, build.network_weights(content), source=path)
    step = int(content["global_step"])
    if step >= max_steps:
        raise UserError(f"need trainer.max_steps above the {step} steps of {path}, got {max_steps}")
    return step


def bring_best(path: str | None, folder: Path) -> None:
    """Copies the ``best.ckpt`` beside ``path`` to ``folder``: the run has to beat it before it writes one itself."""
    best, kept = Path(path or "").parent / "best.ckpt", folder / "best.ckpt"
    if path is not None and best.is_file() and not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, kept)
