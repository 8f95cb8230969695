from __future__ import annotations

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.training.optim import afa_optimizer, warmup_poly


@pytest.fixture(scope="module")
def network():
    return create_model("mit_nano", num_classes=2, decoder_width=16)


def rates(optimizer):
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def test_every_parameter_is_in_one_group(network):
    grouped = [id(parameter) for group in afa_optimizer(network).param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())


def test_rates_are_the_papers(network):
    optimizer = afa_optimizer(network)
    found = rates(optimizer)
    assert (found["backbone"], found["heads"], found["norms"]) == pytest.approx((6e-5, 6e-4, 0.0))
    assert {group["name"]: group["weight_decay"] for group in optimizer.param_groups}["backbone"] == 0.01


def test_the_heads_are_all_that_is_not_backbone(network):
    heads = next(group for group in afa_optimizer(network).param_groups if group["name"] == "heads")
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    assert not encoder & {id(parameter) for parameter in heads["params"]}


def test_schedule_warms_up_and_then_falls_as_if_from_the_start(network):
    optimizer = afa_optimizer(network)
    scheduler = warmup_poly(optimizer, max_steps=100, warmup_steps=10, warmup_lr=6e-6, power=0.9)
    seen = []
    for _ in range(101):
        seen.append(rates(optimizer)["backbone"])
        optimizer.step()
        scheduler.step()
    assert seen[0] == pytest.approx(6e-6)
    assert seen[5] == pytest.approx((6e-6 + 6e-5) / 2)
    assert seen[10] == pytest.approx(6e-5 * 0.9**0.9)
    assert seen[50] == pytest.approx(6e-5 * 0.5**0.9)
    assert seen[100] == 0


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"betas": (0.9,)}, {"betas": (0.9, 1.0)}])
def test_wrong_settings_are_refused(network, wrong):
    with pytest.raises(UserError, match="need optimizer"):
        afa_optimizer(network, **wrong)


def test_a_schedule_needs_steps():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match="max_steps"):
        warmup_poly(optimizer, max_steps=0)
