r"""Means over the pairs or pixels of the global batch, in training with several processes.

A loss divides a sum by a count that differs from process to process: :math:`S_r / C_r` in process :math:`r` of
:math:`W`. DDP takes the mean of the processes' gradients, so training minimizes the mean of these quotients, in which
a pixel of a process with few labeled pixels weighs more than one of a process with many. One process with the whole
batch minimizes

.. math:: \frac{\sum_r S_r}{\sum_r C_r} = \frac{1}{W} \sum_r \frac{W S_r}{\sum_q C_q} .

So each process divides by the sum of all counts and multiplies by the number of processes; the mean of the gradients,
and of the losses, is then that of the whole batch. Counts have no gradient. A constant added to the count (the 1 of the
affinity loss) is added once, to the sum of the counts.

Batches that gradients are accumulated over are reduced each on its own: their counts are not known in advance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from afa_wsss.errors import UserError
from afa_wsss.ops.processes import sum_over_processes, world_size

REDUCTIONS = ("global", "process")
"""Over whose pairs or pixels a mean goes: those of all processes, or those of each process as in the official code."""


class Counts(NamedTuple):
    """Counts to divide by, and the factor on each sum.

    Attributes:
        counts: One per set, in the order given.
        factor: 1, or the number of processes.
    """

    counts: tuple[Tensor, ...]
    factor: int


def check_reduction(reduction: str) -> str:
    """``reduction``, if there is such a one.

    Raises:
        UserError: If there is not.
    """
    if reduction not in REDUCTIONS:
        raise UserError(
            f"need reduction to be {' or '.join(REDUCTIONS)}, got {reduction!r}",
            arguments=("reduction",),
        )
    return reduction


@torch.no_grad()
def reduced_counts(*counts: Tensor, reduction: str) -> Counts:
    """The counts of all processes for ``global``, else ``counts`` themselves; a tensor, so no wait for a GPU.

    Args:
        counts: Scalars of one type. In every process the same number of them, in the same order.
        reduction: One of ``REDUCTIONS``.
    """
    together = world_size() if reduction == "global" else 1
    if together == 1:
        return Counts(counts, 1)
    total = torch.stack(counts)
    return Counts(sum_over_processes(total).unbind(), together)


@torch.no_grad()
def mean_over_processes(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each scalar over all processes, for logs; the names are the same in every process."""
    together = world_size()
    if together == 1:
        return {name: value.detach() for name, value in values.items()}
    total = torch.stack([value.detach().float() for value in values.values()]) / together
    return dict(zip(values, sum_over_processes(total).unbind(), strict=True))
