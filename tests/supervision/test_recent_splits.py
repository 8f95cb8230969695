"""Weighted moments of splits: means, differences and their standard errors, against NumPy's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.two_processes import in_two_processes
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.supervision.found_thresholds import FoundThresholds, Look
from afa_wsss.supervision.recent_splits import DECAY, LOOKED_AT, RecentSplits
from afa_wsss.supervision.score_curves import CANDIDATES


def test_means_and_leads_are_those_of_weighted_photos() -> None:
    random, recent = np.random.default_rng(0), RecentSplits(5)
    looks = [random.random((photos, 5)) for photos in (16, 3, 0, 40)]
    for look in looks:
        recent.add(torch.from_numpy(look).float())
    splits = np.concatenate(looks)
    later = np.cumsum([len(look) for look in looks][::-1])[::-1] - [len(look) for look in looks]
    weights = np.repeat(DECAY ** (later / LOOKED_AT), [len(look) for look in looks])
    means = np.average(splits, axis=0, weights=weights)
    assert recent.means.numpy() == pytest.approx(means, rel=1e-5)
    rows = np.array([[1.0, -1, 0, 0, 0], [0, 0, 0.25, 0.75, -1], [0, 0, 0, 0, 0]])
    differences = splits @ rows.T
    mean = np.average(differences, axis=0, weights=weights)
    variance = np.average((differences - mean) ** 2, axis=0, weights=weights)
    lead = recent.lead(torch.from_numpy(rows).float())
    assert lead.mean.numpy() == pytest.approx(mean, abs=1e-6)
    assert lead.error.numpy() == pytest.approx(np.sqrt(variance / (weights.sum() - 1)), abs=1e-4)


def test_photos_of_one_look_have_the_usual_standard_error() -> None:
    recent, splits = RecentSplits(2), torch.rand(30, 2)
    recent.add(splits)
    lead = recent.lead(torch.tensor([[1.0, -1.0]]))
    differences = splits[:, 0] - splits[:, 1]
    assert float(lead.error) == pytest.approx(float(differences.std() / 30**0.5), rel=1e-3)


class TF32(TorchDispatchMode):
    """Products of matrices as on a GPU after ``torch.set_float32_matmul_precision("high")``: 10 bits of each value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            args = [((value.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for value in args]
        return func(*args, **(kwargs or {}))


def test_small_differences_have_their_errors_with_products_in_tf32_too() -> None:
    generator = torch.Generator().manual_seed(0)
    exact, rounded = RecentSplits(8), RecentSplits(8)
    rows = torch.eye(8)[1:] - torch.eye(8)[0]
    for _ in range(20):
        splits = 0.4 * torch.rand(16, 1, generator=generator) + 0.003 * torch.randn(16, 8, generator=generator)
        exact.add(splits)
        with TF32():
            rounded.add(splits)
    with TF32():
        lead = rounded.lead(rows)
    torch.testing.assert_close(lead.error, exact.lead(rows).error, rtol=0.05, atol=0)


def test_nothing_is_sure_of_one_photo_or_none() -> None:
    recent = RecentSplits(2)
    for _ in range(2):
        assert recent.lead(torch.tensor([[1.0, -1.0]])).error.isinf().all()
        recent.add(torch.rand(1, 2))


def looks(rank: int | None) -> list[tuple[Look, Look]]:
    """Three looks at nine photos of both kinds of labels; a process has its share, that of the second look is empty."""
    generator, shares = torch.Generator().manual_seed(0), (slice(0, 4), slice(4, 9))
    seen = []
    for number in range(3):
        kinds = torch.rand(2, 2, 9, len(CANDIDATES), generator=generator)
        part = slice(0, 9) if rank is None else shares[rank] if number != 1 else (slice(0, 0), slice(0, 9))[rank]
        cam, walk = (Look(*kind[:, part], left_out=3 if rank is None else 2 - rank) for kind in kinds)
        seen.append((cam, walk))
    return seen


def found_in(rank: int | None) -> dict[str, torch.Tensor]:
    found = FoundThresholds(compares_walk=True)
    for cam, walk in looks(rank):
        found.update(cam, walk)
    return dict(found.state_dict())


@pytest.mark.ddp
def test_two_processes_find_what_one_finds_in_all_photos(tmp_path: Path) -> None:
    wanted = found_in(None)
    for found in in_two_processes(found_in, tmp_path):
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")
