"""How the photos of one training step are dealt to devices and batches."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import UserError


class StepBatches(NamedTuple):
    """The batches of a training step.

    Attributes:
        crops: Crops of one batch, in one process.
        accumulated: Batches of one process whose gradients are added up.
        processes: Processes on all devices and nodes.
    """

    crops: int
    accumulated: int
    processes: int

    @property
    def total(self) -> int:
        """Crops of the step."""
        return self.crops * self.accumulated * self.processes

    def describe(self) -> str:
        """``16 crops (2 devices x 2 batches of 4)``, for people."""
        if self.crops == self.total:
            return f"{self.total} crops"
        devices = f"{self.processes} devices x " if self.processes > 1 else ""
        batches = f"{self.accumulated} batches of {self.crops}" if self.accumulated > 1 else f"{self.crops}"
        return f"{self.total} crops ({devices}{batches})"


def step_batches(data: DataSettings, *, accumulated: int, processes: int) -> StepBatches:
    """Deals ``data.total_batch`` in as few equal batches of at most ``data.batch_size`` as possible.

    Without a ``total_batch`` every process has ``accumulated`` batches of ``data.batch_size``.

    Raises:
        UserError: For a total that cannot be dealt equally, and for one beside a number of accumulated batches.
    """
    total, most = data.total_batch, data.batch_size
    if total is None:
        return StepBatches(most, accumulated, processes)
    if accumulated != 1:
        raise UserError(
            f"need total_batch or trainer.accumulate_grad_batches, got {total} and {accumulated}; leave out the "
            "second: it follows from total_batch and batch_size",
            arguments=("total_batch",),
        )
    if total % processes:
        near = _near(total, processes)
        raise UserError(
            f"need a total_batch that {processes} devices can share equally, got {total}; take {near}",
            arguments=("total_batch",),
        )
    own = total // processes
    batches = next(number for number in range(1, own + 1) if own % number == 0 and own // number <= most)
    return StepBatches(own // batches, batches, processes)


def _near(total: int, processes: int) -> str:
    """The multiples of ``processes`` around ``total``."""
    low = total - total % processes
    return f"{low} or {low + processes}" if low else f"{processes}"


def in_other_batches(progress: dict[str, Any], earlier: StepBatches, now: StepBatches) -> None:
    """Counts the batches of an epoch loop of Lightning, in place, as if they had been dealt as they are now.

    Steps stay steps, so validations stay in time. The epoch goes on at the last whole step of its photos: where the
    total has changed, less than a step of them comes again.

    Args:
        progress: ``total`` and ``current``, each with the numbers of batches ready, started, processed and completed.
        earlier: How the steps that were counted were dealt.
        now: How the next ones are.
    """
    if earlier == now:
        return
    total, current = progress["total"], progress["current"]
    steps = total["processed"] // earlier.accumulated
    _move(total, steps * now.accumulated)
    photos = current["processed"] * earlier.crops * earlier.processes
    _move(current, photos // now.total * now.accumulated)


def _move(counts: dict[str, int], processed: int) -> None:
    """Sets one count, the others as far from it as they were."""
    away = processed - counts["processed"]
    counts.update({name: count + away for name, count in counts.items()})
