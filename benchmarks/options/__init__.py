"""Options of the method that are measured before any of them moves into the package: README.md has the commands."""

from benchmarks.options.ema_teacher import EMATeacherLabels
from benchmarks.options.token_contrast import TokenContrastLoss

__all__ = ["EMATeacherLabels", "TokenContrastLoss"]
