"""The processes of a distributed run; a single one where ``torch.distributed`` is not initialized."""

from __future__ import annotations

import torch.distributed
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process belongs to a distributed run."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def world_size() -> int:
    """How many processes run together."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return torch.distributed.get_rank() if is_distributed() else 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Adds up ``values`` of all processes in place and returns them, without gradient; called in each process."""
    if is_distributed():
        torch.distributed.all_reduce(values)
    return values
