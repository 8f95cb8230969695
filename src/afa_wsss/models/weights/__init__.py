"""Weights from files and from the hub, recognized by the names of their tensors. No module here imports a network.

``load_reference_checkpoint`` builds one, so it lives in ``afa_wsss.models.reference`` and is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load_reference_checkpoint":
        return getattr(importlib.import_module("afa_wsss.models.reference"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
