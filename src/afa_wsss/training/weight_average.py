"""A moving average of the network's weights over training steps, for validation, for labels, or for both.

Labels from it are those of a mean teacher (Tarvainen and Valpola, NeurIPS 2017), equation 2:
theta'_t = a_t theta'_(t-1) + (1 - a_t) theta_t, with a_t = min(decay, (1 + t) / (10 + t)), so that the first networks
are forgotten soon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from afa_wsss.models import AFA
from afa_wsss.types import AFAOutput

Tensors = tuple[Tensor, ...] | list[Tensor]

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
        decay: Share of the average that stays in a step, once it is warm.
        uses: ``VALIDATION``, ``LABELS`` or both.
    """

    def __init__(self, network: AFA, *, decay: float, uses: Sequence[str]) -> None:
        """Starts as a copy of ``network``, on its device."""
        self.decay, self.uses = decay, tuple(uses)
        self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True)
        self.averaged.requires_grad_(False).eval()
        self.left_out: Tensor | None = None

    @property
    def network(self) -> AFA:
        """The network with the averaged weights, in evaluation mode."""
        return cast(AFA, self.averaged.module)

    def update(self, network: AFA, *, left_out: Bool[Tensor, ""] | None = None) -> None:
        """Takes a step of training in, unless ``left_out``; that is read on its device alone."""
        self.left_out = left_out
        self.averaged.update_parameters(network)

    @torch.no_grad()
    def _average(self, averaged: Tensors, current: Tensors, _: Tensor | int) -> None:
        """The step of the average for tensors of one type, counters of batch norms among them."""
        if self.left_out is not None:
            left_out = self.left_out
            current = [torch.where(left_out, mean, own) for mean, own in zip(averaged, current, strict=True)]
        if averaged[0].is_floating_point():
            # The third argument lies on the device of the tensors: reading it would wait for that.
            decay = warm_decay(self.decay, int(self.averaged.n_averaged))
            get_ema_multi_avg_fn(decay)(averaged, current, 0)  # type: ignore[no-untyped-call]  # torch's own
        else:
            torch._foreach_copy_(averaged, current)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"network": self.network.state_dict(), "updates": int(self.averaged.n_averaged)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on with the average of a run that is resumed."""
        self.network.load_state_dict(state["network"])
        self.averaged.n_averaged.fill_(state["updates"])


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
