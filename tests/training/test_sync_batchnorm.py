"""Batch norm over processes beside batch norm over the whole batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.two_processes import in_two_processes
from timm.layers import BatchNormAct2d
from torch import nn

from afa_wsss.models import create_model
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


KINDS = {"torch": nn.BatchNorm2d, "timm": partial(BatchNormAct2d, act_layer=nn.SiLU, inplace=False)}


def use_a_share(rank: int, kind: str) -> dict[str, torch.Tensor]:
    layer = AnyDeviceSyncBatchNorm().apply(KINDS[kind](4))
    part = images()[:SPLIT] if rank == 0 else images()[SPLIT:]
    found = use(layer, part)
    return found | {"mean": layer.running_mean, "var": layer.running_var}


@pytest.mark.ddp
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_share_one_batch(tmp_path: Path, kind: str):
    first, second = in_two_processes(use_a_share, tmp_path, kind)
    oracle = KINDS[kind](4)
    whole = use(oracle, images())
    for name in ("output", "maps"):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), whole[name], atol=2e-4, rtol=1e-4)
    for name in ("weight", "bias"):  # each process has its share, and DDP adds them up
        torch.testing.assert_close(first[name] + second[name], whole[name], atol=1e-3, rtol=1e-4)
    for found in (first, second):
        torch.testing.assert_close(found["mean"], oracle.running_mean)
        torch.testing.assert_close(found["var"], oracle.running_var)


@pytest.mark.parametrize("kind", KINDS)
def test_alone_it_is_plain_batch_norm(kind: str):
    layer = AnyDeviceSyncBatchNorm().apply(KINDS[kind](4))
    torch.testing.assert_close(layer(images()), KINDS[kind](4)(images()))


def test_every_batch_norm_of_the_recipe_for_photos_is_synchronized():
    network = create_model("tf_efficientnet_lite0", 2, pretrained=None)
    names = {name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    kinds = {type(part) for part in network.modules()}
    plugin = AnyDeviceSyncBatchNorm()
    plugin.apply(network)
    found = {name for name, part in network.named_modules() if isinstance(part, SyncBatchNorm2d)}
    assert found == names
    assert len(found) > 40
    plugin.revert(network)
    assert {type(part) for part in network.modules()} == kinds


def test_a_batch_norm_with_a_forward_pass_of_its_own_is_left_and_told(caplog):
    class Odd(nn.BatchNorm2d):
        def forward(self, maps):
            return super().forward(maps) + 1

    with caplog.at_level("INFO"):
        model = AnyDeviceSyncBatchNorm().apply(nn.Sequential(Odd(4), nn.BatchNorm2d(4, affine=False)))
    assert [type(part).__name__ for part in model] == ["Odd", "SyncBatchNorm2d"]
    assert "Odd computes more than BatchNorm2d" in caplog.text


def test_the_plugin_keeps_tensors_and_names_and_can_be_undone():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4))
    weight, names = model[1].weight, list(model.state_dict())
    plugin = AnyDeviceSyncBatchNorm()
    plugin.apply(model)
    assert isinstance(model[1], SyncBatchNorm2d)
    assert model[1].weight is weight
    assert list(model.state_dict()) == names
    assert type(plugin.revert(model)[1]) is nn.BatchNorm2d
