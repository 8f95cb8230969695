"""What a process has to remember beside weights and optimizer so that a resumed run repeats it bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed

from afa_wsss.ops.processes import is_distributed, world_size
from afa_wsss.training.module import AFAModule

ProcessState = dict[str, Any]
"""Plain data and tensors, as ``torch.load(..., weights_only=True)`` reads them."""


def process_state(module: AFAModule) -> ProcessState:
    """Generators of Python, NumPy and torch, and the labels counted since they were last logged.

    Nothing here waits for the device: the counts are a copy on it.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  whoever draws from it goes on
    shares = module.label_shares
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).view(np.int32).copy()), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(module.device) if module.device.type == "cuda" else None,
        "label_shares": (shares.counts.clone(), shares.update_count),
    }


def restore(module: AFAModule, state: ProcessState) -> None:
    """Puts this process where ``process_state`` found it; a device that was not there then goes on as it is."""
    name, keys, position, has_gauss, gauss = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().view(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and module.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), module.device)
    counts, updates = state["label_shares"]
    module.label_shares.counts.copy_(counts)
    module.label_shares._update_count = updates


def start_anew(*, seed: int, step: int, rank: int) -> None:
    """Generators of a process that the checkpoint knows nothing of, other than those of any step or process before."""
    drawn = np.random.SeedSequence([seed, step, rank]).generate_state(3)
    random.seed(int(drawn[0]))
    np.random.seed(int(drawn[1]))  # noqa: NPY002
    torch.manual_seed(int(drawn[2]))


def of_all_processes(state: ProcessState) -> list[ProcessState]:
    """The states of all processes by rank, on the CPU; has to be called in each of them."""
    own = {**state, "label_shares": (state["label_shares"][0].cpu(), state["label_shares"][1])}
    if not is_distributed():
        return [own]
    states: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(states, own)
    return states
