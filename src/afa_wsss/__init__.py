"""AFA: weakly-supervised semantic segmentation with transformers, from image labels alone.

The names below are imported on first use, so that ``import afa_wsss`` needs neither torch nor Lightning.

Example:
    >>> import afa_wsss
    >>> segmenter = afa_wsss.load("best.ckpt")  # doctest: +SKIP
    >>> segmenter.predict("photo.jpg").overlay().save("overlay.png")  # doctest: +SKIP
    >>> run = afa_wsss.train("experiment=demo", "trainer.max_steps=20")  # doctest: +SKIP
    >>> run.metrics["val/miou"], run.folder, run.segmenter  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afa_wsss.api.segmentation import Segmentation
    from afa_wsss.api.segmenter import Segmenter, load
    from afa_wsss.cli.front import evaluate, predict, pseudo_label, train
    from afa_wsss.errors import UserError

__version__ = "0.2.0"

__all__ = ["Segmentation", "Segmenter", "UserError", "evaluate", "load", "predict", "pseudo_label", "train"]

_HOMES = {
    "afa_wsss.api.segmentation": ("Segmentation",),
    "afa_wsss.api.segmenter": ("Segmenter", "load"),
    "afa_wsss.cli.front": ("evaluate", "predict", "pseudo_label", "train"),
    "afa_wsss.errors": ("UserError",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
