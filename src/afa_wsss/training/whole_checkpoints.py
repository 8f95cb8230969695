"""Writes checkpoints whole, and keeps the one before: where one is cut off all the same, the other is there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.training.run_files import LAST, PREVIOUS

PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
"""Types of values that a checkpoint may hold beside tensors."""


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
        UserError: Of kind ``not_written``, where the disk is full or the folder may not be written to; and for a state
            that cannot be read again without running code of its file. What was at ``path`` stays as it is.
    """
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    _check_readable(content, checkpoint)
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


def _check_readable(content: io.BytesIO, checkpoint: Mapping[str, Any]) -> None:
    """Refuses what ``torch.load(weights_only=True)`` would refuse, as a NumPy number in the state of a callback."""
    try:
        content.seek(0)
        torch.load(content, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        found = next(_odd_values(checkpoint, "checkpoint"), None)
        where, what = found or ("checkpoint", str(error).partition("\n")[0])
        raise UserError(
            f"need numbers, text, tensors, lists and dicts of them in states that are stored, got {what} in {where}; "
            "convert it in that state_dict or get_extra_state, as by float() or torch.as_tensor()",
            kind="not_written",
        ) from error


def _odd_values(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Places and types of values that are neither plain nor tensors."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _odd_values(inner, f"{where}[{name!r}]")
    elif isinstance(value, list | tuple | set):
        for index, inner in enumerate(value):
            yield from _odd_values(inner, f"{where}[{index}]")
    elif not (value is None or type(value) in PLAIN or isinstance(value, Tensor)):
        yield where, f"{type(value).__module__}.{type(value).__qualname__}"
