"""Options of the method that are measured before any of them moves into the package: README.md has the commands."""

from benchmarks.options.class_distribution import ClassDistributionLabels
from benchmarks.options.consistency import ConsistencyLabels, ConsistencyLoss
from benchmarks.options.dupl import DuPLLabels
from benchmarks.options.falling_threshold import FallingThresholdLabels
from benchmarks.options.gated_walk import GatedWalkLabels
from benchmarks.options.noise_filter import NoiseFilteredLabels
from benchmarks.options.token_contrast import TokenContrastLoss

__all__ = [
    "ClassDistributionLabels",
    "ConsistencyLabels",
    "ConsistencyLoss",
    "DuPLLabels",
    "FallingThresholdLabels",
    "GatedWalkLabels",
    "NoiseFilteredLabels",
    "TokenContrastLoss",
]
