"""The three parts of DuPL (Wu et al., CVPR 2024) that one network can have, together."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.options.consistency import ConsistencyLabels
from benchmarks.options.falling_threshold import FallingThresholdLabels
from benchmarks.options.noise_filter import NoiseFilteredLabels


@dataclass(frozen=True)
class DuPLLabels(ConsistencyLabels, NoiseFilteredLabels, FallingThresholdLabels):
    """Labels at falling background scores, then filtered; consistency on all pixels that have none after that."""
