"""What is measured: data sets and options by name, each as words of ``afa-train``."""

from __future__ import annotations

BASELINE = "baseline"
"""The recipe as it is."""

RECIPES = {
    "partshapes": ("experiment=demo",),
    "photos": ("experiment=photos",),
}
"""The recipe of each kind of data; ``photos`` needs ``data.root=...`` among the words that are added."""

_CONSISTENCY = (
    "loss.consistency._target_=benchmarks.options.ConsistencyLoss",
    "loss.consistency.weight=0.1",
    "loss.consistency.first_step=${supervision.first_step}",
)

OPTIONS = {
    BASELINE: (),
    "ema": ("trainer.ema_decay=0.99", "trainer.ema_for=[labels]"),
    "ptc": (
        "loss.ptc._target_=benchmarks.options.TokenContrastLoss",
        "loss.ptc.weight=0.2",
        "loss.ptc.first_step=${supervision.first_step}",
    ),
    "noise": ("supervision._target_=benchmarks.options.NoiseFilteredLabels", "supervision.filter_after=100"),
    "consistency": ("supervision._target_=benchmarks.options.ConsistencyLabels", *_CONSISTENCY),
    "falling": (
        "supervision._target_=benchmarks.options.FallingThresholdLabels",
        "supervision.start=2",
        "supervision.falls_until=${trainer.max_steps}",
    ),
    "dupl": (
        "supervision._target_=benchmarks.options.DuPLLabels",
        "supervision.filter_after=100",
        "supervision.start=2",
        "supervision.falls_until=${trainer.max_steps}",
        *_CONSISTENCY,
    ),
    "classes": ("supervision._target_=benchmarks.options.ClassDistributionLabels",),
    "gate": ("supervision._target_=benchmarks.options.GatedWalkLabels", "supervision.gate=0.5"),
    "steps3": (
        "supervision._target_=benchmarks.options.GatedWalkLabels",
        "supervision.gate=0.5",
        "supervision.walk_steps=3",
    ),
    "steps16": (
        "supervision._target_=benchmarks.options.GatedWalkLabels",
        "supervision.gate=0.5",
        "supervision.walk_steps=16",
    ),
}
"""The words that each option adds; README.md shows the same."""
