"""Batch norm over processes beside batch norm over the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.two_processes import in_two_processes
from torch import nn

from afa_wsss.training.sync_batchnorm import AnyDeviceSyncBatchNorm, SyncBatchNorm2d

SPLIT = 3
"""The first process has three of five images, the second two."""


def images():
    return torch.randn(5, 4, 6, 7, generator=torch.Generator().manual_seed(1)) * 3 + 40


def use(layer, maps):
    """Output and gradients, for a loss in which each value has a weight of its own."""
    maps = maps.clone().requires_grad_()
    output = layer(maps)
    (output * torch.linspace(-1, 1, output[0].numel()).view_as(output[0])).square().sum().backward()
    return {"output": output.detach(), "maps": maps.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}


def use_a_share(rank: int) -> dict[str, torch.Tensor]:
    layer = AnyDeviceSyncBatchNorm().apply(nn.BatchNorm2d(4))
    part = images()[:SPLIT] if rank == 0 else images()[SPLIT:]
    found = use(layer, part)
    return found | {"mean": layer.running_mean, "var": layer.running_var}


@pytest.mark.ddp
def test_two_processes_share_one_batch(tmp_path: Path):
    first, second = in_two_processes(use_a_share, tmp_path)
    oracle = nn.BatchNorm2d(4)
    whole = use(oracle, images())
    for name in ("output", "maps"):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), whole[name], atol=2e-4, rtol=1e-4)
    for name in ("weight", "bias"):  # each process has its share, and DDP adds them up
        torch.testing.assert_close(first[name] + second[name], whole[name], atol=1e-3, rtol=1e-4)
    for found in (first, second):
        torch.testing.assert_close(found["mean"], oracle.running_mean)
        torch.testing.assert_close(found["var"], oracle.running_var)


def test_alone_it_is_plain_batch_norm():
    layer = AnyDeviceSyncBatchNorm().apply(nn.BatchNorm2d(4))
    torch.testing.assert_close(layer(images()), nn.BatchNorm2d(4)(images()))


def test_the_plugin_keeps_tensors_and_names_and_can_be_undone():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4))
    weight, names = model[1].weight, list(model.state_dict())
    plugin = AnyDeviceSyncBatchNorm()
    plugin.apply(model)
    assert isinstance(model[1], SyncBatchNorm2d)
    assert model[1].weight is weight
    assert list(model.state_dict()) == names
    assert type(plugin.revert(model)[1]) is nn.BatchNorm2d
