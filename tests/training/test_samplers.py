"""Shuffling, sharding, and the share of photos without a class."""

from __future__ import annotations

import numpy as np
import pytest

from afa_wsss.training import samplers
from afa_wsss.training.samplers import CropSampler, OnceSampler, most_negatives

FEW, MANY = range(6), range(6, 30)
"""Photos with a class, and those without any."""


@pytest.fixture
def labels():
    labels = np.zeros((30, 2), dtype=np.uint8)
    labels[FEW, np.arange(len(FEW)) % 2] = 1
    return labels


def as_process(monkeypatch, rank, world):
    monkeypatch.setattr(samplers, "rank", lambda: rank)
    monkeypatch.setattr(samplers, "world_size", lambda: world)


def test_crops_are_shuffled_anew_each_epoch_and_equally_for_equal_seeds():
    sampler, twin = (CropSampler(20, batch_size=4, seed=3) for _ in range(2))
    first = list(sampler)
    assert first == list(twin)
    assert sorted(index for _, index in first) == list(range(20))
    sampler.set_epoch(1)
    assert [index for _, index in sampler] != [index for _, index in first]
    assert {epoch for epoch, _ in sampler} == {1}


def test_processes_get_different_photos_and_equally_many(monkeypatch):
    dealt = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        dealt.append([index for _, index in CropSampler(21, batch_size=4, seed=0)])
    assert len(dealt[0]) == len(dealt[1]) == 8
    assert not set(dealt[0]) & set(dealt[1])


def test_fewer_photos_than_a_batch_repeat():
    assert len(list(CropSampler(3, batch_size=8, seed=0))) == 8


def test_each_photo_is_validated_once_over_all_processes(monkeypatch):
    dealt = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        dealt += list(OnceSampler(7))
    assert sorted(dealt) == list(range(7))


@pytest.mark.parametrize(("share", "most"), [(0, 0), (0.25, 2), (0.5, 6), (2 / 3, 12), (0.8, 24), (0.99, 24)])
def test_most_negatives_make_that_share_of_an_epoch(labels, share, most):
    assert most_negatives(labels, share) == most


def test_photos_without_a_class_alone_are_all_kept(labels):
    photos = [index for _, index in CropSampler(30, batch_size=3, seed=0, labels=labels * 0, max_negatives=0.5)]
    assert sorted(photos) == list(range(30))


def test_an_epoch_has_all_photos_with_a_class_and_a_share_of_the_others(labels):
    sampler = CropSampler(30, batch_size=3, seed=0, labels=labels, max_negatives=0.5)
    seen = set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        photos = [index for _, index in sampler]
        assert len(photos) == len(set(photos)) == len(sampler) == 12
        assert set(FEW) <= set(photos)
        seen |= set(photos)
    assert seen == set(range(30))


def test_a_share_that_leaves_none_out_changes_no_order(labels):
    usual = CropSampler(30, batch_size=4, seed=0)
    for share in (None, 0.8, 0.95):
        assert list(CropSampler(30, batch_size=4, seed=0, labels=labels, max_negatives=share)) == list(usual)


def test_processes_share_the_chosen_negatives(labels, monkeypatch):
    alone = [index for _, index in CropSampler(30, batch_size=2, seed=0, labels=labels, max_negatives=0.5)]
    dealt = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        own = [index for _, index in CropSampler(30, batch_size=2, seed=0, labels=labels, max_negatives=0.5)]
        assert len(own) == 6
        dealt += own
    assert sorted(dealt) == sorted(alone)


def test_a_resumed_run_goes_on_with_the_same_negatives(labels):
    whole = CropSampler(30, batch_size=2, seed=0, labels=labels, max_negatives=0.5)
    whole.set_epoch(2)
    rest = CropSampler(30, batch_size=2, seed=0, start=(2, 4), labels=labels, max_negatives=0.5)
    assert list(rest) == list(whole)[4:]
