"""The order of an epoch over shards: near each other in files, and known at any place without counting up to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64


def epoch_order(
    sizes: Int64[np.ndarray, " s"], epoch: int, *, seed: int, places: range, mixed: int
) -> Iterator[Int64[np.ndarray, " n"]]:
    """Photos of some places of an epoch, in portions; photos are numbered through all shards.

    Shards are shuffled, and ``places`` cuts their row: shares of processes that do not overlap have no photo twice.
    The photos of ``mixed`` shards in a row are then shuffled together. The same for equal seed, epoch and places.

    Args:
        sizes: Photos of each shard, at least one in all.
        epoch: From 0.
        seed: At least 0.
        places: Of this process, without gaps; after the last place of the epoch comes its first again.
        mixed: Shards that are open at a time.
    """
    shards = np.random.default_rng([seed, epoch]).permutation(len(sizes))
    ends = np.cumsum(sizes[shards])
    firsts = np.cumsum(sizes) - sizes  # number of each shard's first photo
    parts: list[Int64[np.ndarray, " m"]] = []
    place = places.start
    while place < places.stop:
        within = place % int(ends[-1])
        row = int(np.searchsorted(ends, within, side="right"))
        shard = shards[row]
        skipped = int(within - (ends[row] - sizes[shard]))
        count = int(min(sizes[shard] - skipped, places.stop - place))
        parts.append(firsts[shard] + np.arange(skipped, skipped + count))
        place += count
        if len(parts) == mixed or place == places.stop:
            portion = np.concatenate(parts)
            np.random.default_rng([seed, epoch, place]).shuffle(portion)
            yield portion
            parts = []
