"""Writes checkpoints whole, and keeps the one before: where one is cut off all the same, the other is there."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.training.run_files import LAST, PREVIOUS


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside and moves; Lightning's own writes to the system's temporary folder, often another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes ``checkpoint`` to ``path``.

        Raises:
            UserError: See ``write_checkpoint``.
        """
        written = Path(path)
        write_checkpoint(checkpoint, written, previous=written.with_name(PREVIOUS) if written.name == LAST else None)


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Writes ``checkpoint`` to ``path``; what was there is called ``previous`` from then on, if that is given.

    Raises:
        UserError: Of kind ``not_written``, where the disk is full or the folder may not be written to; what was at
            ``path`` stays as it is.
    """
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    try:
        with whole_file(path, previous=previous) as part:
            part.write_bytes(content.getbuffer())
    except OSError as error:
        megabytes = len(content.getbuffer()) / 1e6
        raise UserError(
            f"need to write a checkpoint of {megabytes:.1f} MB to {path}, got: {error.strerror}; what was there is "
            "kept",
            kind="not_written",
        ) from error
