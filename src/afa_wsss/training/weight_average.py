"""A moving average of the network's weights over training steps, for validation, for labels, or for both.

Labels from it are those of a mean teacher (Tarvainen and Valpola, NeurIPS 2017), equation 2:
theta'_t = a_t theta'_(t-1) + (1 - a_t) theta_t, with a_t = min(decay, (1 + t) / (10 + t)), so that the first networks
are forgotten soon.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from afa_wsss.errors import UserError
from afa_wsss.models import AFA
from afa_wsss.types import AFAOutput

VALIDATION, LABELS = "validation", "labels"
"""What an average can be used for: validation and the weights of checkpoints; maps and affinity of labels."""


def warm_decay(decay: float, updates: int) -> float:
    """a_t = min(decay, (1 + t) / (10 + t)) after t updates.

    Example:
        >>> [round(warm_decay(0.9, updates), 2) for updates in (1, 10, 1000)]
        [0.18, 0.55, 0.9]
    """
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage:
    """The average of a network's parameters and buffers; itself no part of a module, so that nobody trains it.

    Attributes:
        network: The network with the averaged weights, in evaluation mode, without gradient.
        decay: Share of the average that stays in a step, once it is warm.
        uses: ``VALIDATION``, ``LABELS`` or both.
        updates: Steps so far.
    """

    def __init__(self, network: AFA, *, decay: float, uses: Sequence[str]) -> None:
        """Starts as a copy of ``network``, on its device.

        Raises:
            UserError: For a network that cannot be copied, as one that keeps a tensor with its gradient's history.
        """
        try:
            self.network = copy.deepcopy(network).requires_grad_(False).eval()
        except (RuntimeError, TypeError) as error:
            why = " ".join(str(error).split())
            raise UserError(
                f"need a network that can be copied for an average of its weights, got: {why}; let "
                f"{type(network.encoder).__name__} keep no tensors of a forward pass, or leave ema_decay null",
                arguments=("trainer.ema_decay",),
            ) from error
        self.decay, self.uses, self.updates = decay, tuple(uses), 0

    @torch.no_grad()
    def update(self, network: AFA, *, left_out: Bool[Tensor, ""] | None = None) -> None:
        """Moves the average by one training step; it stays as it is where the step was ``left_out``.

        Counters of batch norms are those of ``network``. ``left_out`` is read on its device: no sync. torch's
        ``AveragedModel`` computes the same average, but makes the host wait for a GPU in every step.
        """
        self.updates += 1
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        if left_out is not None:
            pairs = [(mean, torch.where(left_out, mean, own)) for mean, own in pairs]
        values = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        average = get_ema_multi_avg_fn(warm_decay(self.decay, self.updates))  # type: ignore[no-untyped-call]  # torch's own
        average([mean for mean, _ in values], [own for _, own in values], self.updates)
        for kept, own in counters:
            kept.copy_(own)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on with the average of a run that is resumed."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]


def _tensors(network: AFA) -> Iterator[Tensor]:
    """Parameters and buffers, without gradient."""
    return (tensor.detach() for tensor in chain(network.parameters(), network.buffers()))


@contextmanager
def teacher(
    average: WeightAverage | None, network: AFA, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, decoded: bool
) -> Iterator[tuple[AFA, AFAOutput]]:
    """What labels are made with: the average and its output where it makes labels, else ``network`` and ``output``.

    The average says that it is in training mode, as label makers learn from training alone; its parts are not.

    Args:
        average: None where there is none.
        network: In training.
        images: Normalized.
        output: ``network(images)``.
        decoded: Whether segmentation logits are wanted.
    """
    if average is None or LABELS not in average.uses:
        yield network, output
        return
    averaged = average.network
    with torch.no_grad():
        own: AFAOutput = averaged(images, decoded=decoded)
    averaged.training = True
    try:
        yield averaged, own
    finally:
        averaged.training = False
