"""Which photo comes when, in every process: shuffled for training, each once for validation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import Bool
from torch.utils.data import Sampler

from afa_wsss.data.base import Labels, Streamed
from afa_wsss.ops.processes import rank, world_size


def most_negatives(labels: Labels, share: float) -> int:
    """How many photos without a class, of those there are, make at most ``share`` of an epoch with all others.

    All of them where no photo has a class: an epoch needs photos.

    Args:
        labels: (N, k) multi-hot.
        share: In [0, 1).
    """
    positives = int(labels.any(axis=1).sum())
    return min(len(labels) - positives, round(positives * share / (1 - share))) if positives else len(labels)


class CropSampler(Sampler[tuple[int, int]]):
    """Shuffles photos anew each epoch and shards them over the processes; yields (epoch, index)."""

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        start: tuple[int, int] = (0, 0),
        streamed: Streamed | None = None,
        labels: Labels | None = None,
        max_negatives: float | None = None,
    ) -> None:
        """Every process gets as many of ``count`` photos, in whole steps: none ends with the epoch.

        ``batch_size``: crops of a step in this process, those of all batches that its gradients are accumulated over.
        ``start``: the first epoch, and how many of its photos this process had used before this run resumed another.
        ``streamed``: the photos, where they have an order of their own: each process has a part of it in one piece.
        ``max_negatives``: the largest share of photos without a class in an epoch, which has others each time; needs
        ``labels``, (count, k) multi-hot. None for all there are.
        """
        self.streamed, self.total = streamed, count
        self.seed, self.epoch = seed, start[0]
        self.first_epoch, self.had = start
        self.rank, self.world = rank(), world_size()
        self.negatives: Bool[np.ndarray, " count"] | None = None
        if labels is not None and max_negatives is not None:
            self.negatives, self.most = np.logical_not(labels.any(axis=1)), most_negatives(labels, max_negatives)
            count = int(labels.any(axis=1).sum()) + self.most
        share = count // self.world
        self.share = share - share % batch_size if share >= batch_size else batch_size

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Crops per epoch in this process."""
        return self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Another order each epoch, the same for equal seeds; photos repeat where there are fewer than a batch."""
        epoch, had = self.epoch, self.had if self.epoch == self.first_epoch else 0
        if self.streamed is not None:
            places = range(self.rank * self.share, (self.rank + 1) * self.share)
            return (
                (epoch, index) for index in islice(self.streamed.order(epoch, seed=self.seed, places=places), had, None)
            )
        order = np.random.default_rng([self.seed, epoch]).permutation(self.total)
        if self.negatives is not None:
            without = self.negatives[order]
            order = order[~without | (without.cumsum() <= self.most)]
        dealt = np.resize(order, self.share * self.world)[self.rank :: self.world]
        return ((epoch, int(index)) for index in dealt[had:])


class OnceSampler(Sampler[int]):
    """Shards photos over the processes, none twice: scores equal those of one process."""

    def __init__(self, count: int) -> None:
        """Takes every n-th of ``count`` photos for n processes."""
        self.indices = range(rank(), count, world_size())

    def __len__(self) -> int:
        """Photos of this process."""
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """In order."""
        return iter(self.indices)
