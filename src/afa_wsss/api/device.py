"""Where a network runs, by the name that the user gives."""

from __future__ import annotations

import torch

from afa_wsss.errors import UserError


def find_device(name: str) -> torch.device:
    """``auto`` for a GPU where there is one; else the device of that name.

    Raises:
        UserError: For a device that is not there, or an unknown name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"need a device of auto, cpu, cuda or cuda:N, got {name!r}", arguments=("device",)) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"need a GPU for device={name}, torch {torch.__version__} sees none; use device=cpu", arguments=("device",)
        )
    if not _is_there(device):
        raise UserError(
            f"need a device that torch {torch.__version__} can use, got {name}; use device=auto", arguments=("device",)
        )
    return device


def _is_there(device: torch.device) -> bool:
    """Whether a value can be written to a device and read back: not on ``meta``, nor on a GPU of a number too high."""
    try:
        return float(torch.ones((), device=device)) == 1.0
    except (RuntimeError, AssertionError):
        return False
