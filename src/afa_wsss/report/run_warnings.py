"""All warnings about a run."""

from __future__ import annotations

from collections.abc import Mapping

from afa_wsss.report.checks import (
    affinity_warnings,
    branch_warnings,
    class_branch_warnings,
    phase_warnings,
    walk_warnings,
)
from afa_wsss.report.label_shares import label_warnings
from afa_wsss.report.run import RunInfo
from afa_wsss.report.warning import RunWarning


def run_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """What is wrong according to the flat ``metrics``, in the order of the method; docs/data.md has a table of all."""
    checks = (
        class_branch_warnings,
        affinity_warnings,
        label_warnings,
        walk_warnings,
        branch_warnings,
    )
    return [*phase_warnings(run), *(warning for check in checks for warning in check(metrics, run))]
