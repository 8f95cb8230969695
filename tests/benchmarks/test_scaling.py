"""Figures of docs/scaling.md: each formula against a value by hand, and the page against the script."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from benchmarks.flops import Flops
from benchmarks.scaling import Machine

from benchmarks import scaling

ROOT = Path(__file__).parents[2]
ROUND = Machine("round numbers", flops=100e12, gpus=8, cores=16, inside=100e9, between=10e9)


def test_a_step_takes_its_arithmetic_at_a_share_of_the_gpu():
    assert scaling.step_seconds(50e12, ROUND, 0.25) == pytest.approx(2.0)


def test_a_ring_sends_nearly_twice_the_gradients():
    assert scaling.sent_bytes(1_000_000, 1) == 0
    assert scaling.sent_bytes(1_000_000, 2) == 4_000_000
    assert scaling.sent_bytes(1_000_000, 8) == 7_000_000


def test_a_ring_takes_as_long_as_its_slowest_link():
    assert scaling.reduce_seconds(1_000_000, 8, ROUND) == pytest.approx(70e-6)
    assert scaling.reduce_seconds(1_000_000, 16, ROUND) == pytest.approx(750e-6)


def test_other_figures():
    assert scaling.label_bytes(9_000_000, 254) == 2_286_000_000
    assert scaling.steps_per_epoch(82_081, 64, 8) == 160
    assert scaling.loader_cores(0.01, 0.002) == pytest.approx(5.0)
    assert scaling.gpu_bytes(1_000_000, 700e6, 8) == 16e6 + 5.6e9


@pytest.mark.parametrize(
    ("values", "said"),
    [((27.24, 9.81), "9.8 to 27"), ((0.0118,), "0.012"), ((2.0, 2.0), "2.0"), ((1962, 654), "654 to 1,962")],
)
def test_spans_have_two_digits(values, said):
    assert scaling.span(values) == said


def test_flops_are_two_for_each_product_forward_and_for_each_gradient():
    photos = torch.rand(2, 8, 6, 6, requires_grad=True)
    weight = torch.rand(8, 1, 3, 3, requires_grad=True)
    with Flops() as flops:
        out = F.conv2d(photos, weight, padding=1, groups=8)
    once = 2 * 2 * 8 * 36 * 9
    assert flops.total == once
    with Flops() as flops:
        out.sum().backward()
    assert flops.total == 2 * once
    with Flops() as flops:
        torch.rand(3, 4) @ torch.rand(4, 5)
        torch.rand(2, 3, 5).baddbmm_(torch.rand(2, 3, 4), torch.rand(2, 4, 5))
    assert flops.total == 2 * 3 * 4 * 5 + 2 * 2 * 3 * 4 * 5


def test_the_page_has_the_tables_that_the_script_computes():
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    for table in scaling.all_tables(ROOT / "benchmarks"):
        assert table in page
