"""The order of an epoch over shards: each photo once over all processes, a few shards at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies

from afa_wsss.data.shards.order import epoch_order

SIZES = strategies.lists(strategies.integers(0, 9), min_size=1, max_size=12).filter(any)


def order(sizes, places, *, epoch=0, seed=0, mixed=2):
    portions = list(epoch_order(np.array(sizes), epoch, seed=seed, places=places, mixed=mixed))
    return np.concatenate(portions).tolist() if portions else []


@given(SIZES, strategies.integers(1, 5), strategies.integers(1, 4))
def test_processes_share_an_epoch(sizes, processes, mixed):
    total = sum(sizes)
    ends = [total * rank // processes for rank in range(processes + 1)]
    found = [order(sizes, range(*ends[rank : rank + 2]), mixed=mixed) for rank in range(processes)]
    assert [len(own) for own in found] == [ends[rank + 1] - ends[rank] for rank in range(processes)]
    assert sorted(index for own in found for index in own) == list(range(total))


@given(SIZES)
def test_more_places_than_photos_repeat_them(sizes):
    total = sum(sizes)
    found = order(sizes, range(3 * total))
    assert sorted(found) == sorted(list(range(total)) * 3)


def test_a_few_shards_are_read_at_a_time():
    sizes = [10] * 20
    found = np.array(order(sizes, range(200), mixed=4)) // 10
    portions = found.reshape(5, 40)
    assert all(len(set(portion)) == 4 for portion in portions.tolist())
    assert all(len(set(portion[:10])) > 1 for portion in portions.tolist()), "their photos are shuffled together"


def test_epochs_and_seeds_have_orders_of_their_own():
    sizes, places = [5] * 10, range(50)
    first = order(sizes, places)
    assert first == order(sizes, places)
    assert first != order(sizes, places, epoch=1) != order(sizes, places, seed=1) != first
