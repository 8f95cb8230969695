"""What is measured: data sets and options by name, each as words of ``afa-train``."""

from __future__ import annotations

BASELINE = "baseline"
"""The recipe as it is."""

RECIPES = {
    "partshapes": ("experiment=demo",),
    "photos": ("experiment=photos",),
}
"""The recipe of each kind of data; ``photos`` needs ``data.root=...`` among the words that are added."""

OPTIONS = {
    BASELINE: (),
    "ema": ("supervision._target_=benchmarks.options.EMATeacherLabels", "supervision.decay=0.99"),
    "ptc": (
        "loss.ptc._target_=benchmarks.options.TokenContrastLoss",
        "loss.ptc.weight=0.2",
        "loss.ptc.first_step=${supervision.first_step}",
    ),
}
"""The words that each option adds; a README line shows the same."""
