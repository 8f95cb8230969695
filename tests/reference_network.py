"""The network that the golden data was made with, and its weights in the layout of the official checkpoints."""

from __future__ import annotations

import json
import zlib
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from afa_wsss.models import AFA
from afa_wsss.models.reference import load_reference_checkpoint

KEYS = Path(__file__).parent / "golden" / "reference_keys_mit_b0.json"


def _tensor(name: str, shape: list[int]) -> Tensor:
    """Random numbers seeded by the tensor's name, at a scale that its role asks for."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@cache
def reference_weights() -> dict[str, Tensor]:
    """An official checkpoint of MiT-B0 and 20 classes, as DistributedDataParallel names its tensors."""
    return {f"module.{name}": _tensor(name, shape) for name, shape in json.loads(KEYS.read_text()).items()}


@cache
def _loaded_network() -> AFA:
    return load_reference_checkpoint(reference_weights()).eval()


def reference_network() -> AFA:
    """The network of that checkpoint, in evaluation mode; a copy that a test may change."""
    return deepcopy(_loaded_network())
