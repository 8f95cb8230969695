"""A function in two processes that meet over gloo."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.multiprocessing
from torch import distributed


def in_two_processes(job: Callable[..., Any], folder: Path, *arguments: Any) -> tuple[Any, Any]:
    """What ``job(rank, *arguments)`` returns in each; the libraries are imported once for both."""
    multiprocessing.set_forkserver_preload(["torch", "torchmetrics", "lightning"])
    words = (job, str(folder), *arguments)
    torch.multiprocessing.start_processes(_meet, args=words, nprocs=2, start_method="forkserver")
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    return first, second


def _meet(rank: int, job: Callable[..., Any], folder: str, *arguments: Any) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(job(rank, *arguments), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
