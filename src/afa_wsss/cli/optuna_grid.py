"""Optuna's grid for Hydra; ``hydra/sweeper/sampler=grid`` names it. Needs the extra ``optuna``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.samplers import GridSampler


def grid_whose_last_trial_may_fail() -> functools.partial[GridSampler]:
    """The class of Optuna's grid, waiting for its search space; for this process it stops no study.

    After the last trial the sampler calls ``Study.stop``, which raises an error outside of ``Study.optimize``. Hydra's
    plugin expects the error of a trial that was done, but not of one that failed, and would end without its results. It
    counts the trials of a grid itself; and it knows a grid by this very class, so a subclass is of no use.
    """
    from optuna.samplers import GridSampler

    GridSampler.after_trial = _leave_running  # type: ignore[assignment]  # see above
    return functools.partial(GridSampler)


def _leave_running(*_: Any) -> None:
    """In place of ``GridSampler.after_trial``."""
