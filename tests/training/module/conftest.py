"""A batch, a module, and what the module logs."""

from __future__ import annotations

import pytest
import torch
from tests.training.module.modules import make_module

from afa_wsss.types import Batch


@pytest.fixture
def batch():
    masks = torch.randint(0, 3, (2, 32, 48), dtype=torch.uint8)
    return Batch(
        images=torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8),
        image_labels=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        boxes=torch.tensor([[0, 32, 0, 48], [4, 30, 8, 40]]),
        names=("a", "b"),
        masks=masks,
    )


@pytest.fixture
def module():
    return make_module()


@pytest.fixture
def logged(module, monkeypatch):
    """What the module logs, by name."""
    found = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: found.__setitem__(name, float(value)))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: found.update({k: float(v) for k, v in values.items()}))
    return found
