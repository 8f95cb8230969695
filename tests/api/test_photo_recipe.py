"""The recipe for one's own photos gives the paper's numbers on the paper's data, and sane ones elsewhere."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afa_wsss.api import photo_recipe as rules

VOC = {"photos": 10_582, "batch_size": 8, "max_steps": 20_000}


def test_the_papers_data_gives_the_papers_numbers():
    assert (rules.radius(512), rules.walk_radius(512)) == (8, 8)
    assert rules.dilations(512) == [1, 2, 4, 8, 12, 24]
    assert rules.cam_scales(512) == [1.0, 0.5, 1.5]
    assert rules.steps(10_582, 8, 15.0, 4_000, 20_000) == 19_840
    assert rules.first_step(**VOC) == 2_000
    assert rules.walk_first_step(2_000, 20_000) == 6_000
    assert rules.warmup_steps(20_000) == 1_500


def test_numbers_of_crops_of_256():
    assert (rules.radius(256), rules.walk_radius(256)) == (4, 8)
    assert (rules.radius(128), rules.walk_radius(128)) == (2, 4)
    assert rules.dilations(256) == [1, 2, 4, 6, 12]
    assert rules.cam_scales(256) == [1.25]
    assert rules.max_side(256) == 320
    assert rules.first_step(3_129, 16, 400) == 244
    assert rules.first_step(100, 16, 400) == 160


@given(st.integers(1, 10**7), st.integers(1, 256), st.integers(32, 2048))
def test_any_number_of_photos_gives_phases_in_order(photos, batch_size, crop_size):
    steps = rules.steps(photos, batch_size, 2.0, 400, 800)
    assert 400 <= steps <= 800
    first = rules.first_step(photos, batch_size, steps)
    walk = rules.walk_first_step(first, steps)
    assert 0 < rules.warmup_steps(steps) < first < walk < steps
    dilations = rules.dilations(crop_size)
    assert dilations[0] >= 1
    assert dilations == sorted(set(dilations))
    assert rules.radius(crop_size) >= 1
    assert 1 <= rules.walk_radius(crop_size) <= 8


@pytest.mark.parametrize(("accelerator", "gpus", "expected"), [("auto", 1, 512), ("cpu", 1, 256), ("auto", 0, 256)])
def test_the_machine_decides(monkeypatch, accelerator, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert rules.by_machine(accelerator, 256, 512) == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (4, 3), (64, 4)])
def test_a_core_is_left_to_the_training_process(monkeypatch, cores, expected):
    """Of those that the process may use, as on a cluster, not of all that the machine has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert rules.workers() == expected


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(1, 16), (4, 64), ("4", 64), ("auto", 128), (-1, 128), ([0, 2], 32), ("0,2", 32), ("0,", 16), ("none", 16)],
)
def test_a_step_has_the_crops_of_all_devices(monkeypatch, devices, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert rules.step_crops(8, None, 2, accelerator="auto", devices=devices, nodes=1) == expected
    assert rules.step_crops(8, None, 1, accelerator="gpu", devices=devices, nodes=2) == expected
    assert rules.step_crops(8, 24, 1, accelerator="auto", devices=devices, nodes=1) == 24


def test_a_cpu_is_one_device():
    assert rules.step_crops(8, None, 1, accelerator="cpu", devices="auto", nodes=1) == 8
    assert rules.step_crops(8, None, 1, accelerator="cpu", devices=2, nodes=1) == 16
