"""Parameter groups and schedule."""

from __future__ import annotations

import importlib.util
import math
import sys

import pytest
import torch
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings, adamw_8bit, afa_optimizer, warmup_poly


@pytest.fixture(scope="module")
def network():
    return create_model("mit_nano", num_classes=2, decoder_width=16)


def by_name(optimizer, key):
    return {group["name"]: group[key] for group in optimizer.param_groups}


def test_every_parameter_is_in_one_group(network):
    optimizer = afa_optimizer(network, OptimizerSettings())
    assert list(by_name(optimizer, "lr")) == ["backbone", "attention_logits", "norms", "heads"]
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())


def test_rates_are_the_papers(network):
    optimizer = afa_optimizer(network, OptimizerSettings())
    found = by_name(optimizer, "lr")
    assert (found["backbone"], found["heads"], found["norms"]) == pytest.approx((6e-5, 6e-4, 0.0))
    assert by_name(optimizer, "weight_decay")["backbone"] == 0.01


def test_settings_reach_their_groups(network):
    settings = OptimizerSettings(
        lr=1e-3, head_lr_factor=5.0, norm_lr_factor=2.0, logits_lr_factor=3.0, weight_decay=0.1, betas=(0.8, 0.9)
    )
    optimizer = afa_optimizer(network, settings, others=[nn.Parameter(torch.zeros(2))])
    rates = {"backbone": 1e-3, "attention_logits": 3e-3, "norms": 2e-3, "heads": 5e-3, "losses": 5e-3}
    assert by_name(optimizer, "lr") == pytest.approx(rates)
    decays = {"backbone": 0.1, "attention_logits": 0.1, "norms": 0.0, "heads": 0.1, "losses": 0.0}
    assert by_name(optimizer, "weight_decay") == decays
    assert set(by_name(optimizer, "betas").values()) == {(0.8, 0.9)}


def test_the_heads_are_all_that_is_not_backbone(network):
    heads = by_name(afa_optimizer(network, OptimizerSettings()), "params")["heads"]
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    assert not encoder & {id(parameter) for parameter in heads}


def test_parameters_of_losses_are_a_group_of_their_own(network):
    own = [nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(3))]
    optimizer = afa_optimizer(network, OptimizerSettings(weight_decay=0.5), others=iter(own))
    last = optimizer.param_groups[4]
    assert (last["name"], last["weight_decay"]) == ("losses", 0.0)
    assert [id(parameter) for parameter in last["params"]] == [id(parameter) for parameter in own]
    for parameter in own:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all((parameter < 1).all() for parameter in own)


def test_the_schedule_warms_up_and_then_falls_as_if_from_the_start(network):
    optimizer = afa_optimizer(network, OptimizerSettings())
    settings = SchedulerSettings(warmup_steps=10, warmup_lr=6e-6, power=0.9)
    scheduler = warmup_poly(optimizer, settings, max_steps=100)
    seen = []
    for _ in range(101):
        seen.append(by_name(optimizer, "lr")["backbone"])
        optimizer.step()
        scheduler.step()
    assert seen[0] == pytest.approx(6e-6)
    assert seen[5] == pytest.approx((6e-6 + 6e-5) / 2)
    assert seen[10] == pytest.approx(6e-5 * 0.9**0.9)
    assert seen[50] == pytest.approx(6e-5 * 0.5**0.9)
    assert seen[100] == 0


def test_the_end_of_the_schedule_is_that_of_training_unless_set():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    for own, end in ((None, 100), (50, 50)):
        schedule = warmup_poly(optimizer, SchedulerSettings(max_steps=own, warmup_steps=0), max_steps=100)
        (factor,) = schedule.lr_lambdas
        assert factor(end // 2) == pytest.approx(0.5)
        assert factor(end) == 0


@pytest.mark.parametrize(
    ("settings", "message", "argument"),
    [
        ({"lr": 0.0}, "need lr above 0, got 0.0", "lr"),
        ({"lr": math.nan}, "need lr above 0, got nan", "lr"),
        ({"head_lr_factor": -1.0}, "need head_lr_factor of at least 0, got -1.0", "head_lr_factor"),
        ({"norm_lr_factor": math.nan}, "need norm_lr_factor of at least 0, got nan", "norm_lr_factor"),
        ({"logits_lr_factor": math.inf}, "need logits_lr_factor of at least 0, got inf", "logits_lr_factor"),
        ({"weight_decay": -1.0}, "need weight_decay of at least 0, got -1.0", "weight_decay"),
        ({"betas": (0.9,)}, "need two betas of at least 0 and below 1", "betas"),
        ({"layer_decay": 0.0}, "need a layer_decay above 0 and of at most 1, got 0.0", "layer_decay"),
        ({"betas": (0.9, 1.0)}, "need two betas of at least 0 and below 1", "betas"),
    ],
)
def test_impossible_settings_of_the_optimizer_name_their_argument(settings, message, argument):
    with pytest.raises(UserError, match=message) as error:
        OptimizerSettings(**settings)
    assert error.value.arguments == (argument,)


@pytest.mark.parametrize(
    ("name", "value"), [("max_steps", 0), ("warmup_steps", -1), ("warmup_lr", math.nan), ("power", -1.0)]
)
def test_impossible_settings_of_the_schedule_name_their_argument(name, value):
    with pytest.raises(UserError, match=f"need {name} of at least") as error:
        SchedulerSettings(**{name: value})
    assert error.value.arguments == (name,)


@pytest.mark.parametrize("backbone", ["mit_b0", "deit_tiny_patch16_224", "tf_efficientnet_lite0", "convnext_atto"])
def test_rates_fall_from_the_top_of_the_backbone_to_the_photo(backbone):
    network = create_model(backbone, num_classes=2, decoder_width=16)
    settings = OptimizerSettings(lr=1e-3, norm_lr_factor=0.5, layer_decay=0.5)
    optimizer = afa_optimizer(network, settings)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())
    count = len(network.encoder.layers())
    rates = by_name(optimizer, "lr")
    assert len(rates) == len(optimizer.param_groups)
    assert rates[f"backbone_layer_{count - 1:02}"] == 1e-3
    for name, rate in rates.items():
        kind, _, layer = name.partition("_layer_")
        if layer:
            full = {"backbone": 1e-3, "norms": 5e-4, "attention_logits": 1e-3}[kind]
            assert rate == pytest.approx(full * 0.5 ** (count - 1 - int(layer)))
    assert rates["heads"] == pytest.approx(1e-2)


def test_new_parts_on_a_backbone_keep_the_rate_of_the_heads():
    network = create_model("tf_efficientnet_lite0", num_classes=2, decoder_width=16)
    optimizer = afa_optimizer(network, OptimizerSettings(layer_decay=0.5))
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    logits = {id(parameter) for parameter in network.encoder.attention_inputs()}
    for parameter in network.encoder.new_parameters():
        assert rates[id(parameter)] == pytest.approx(6e-5 if id(parameter) in logits else 6e-4)


def test_layers_of_a_mix_transformer_are_its_blocks_in_order(network):
    places = {id(one): index for index, layer in enumerate(network.encoder.layers()) for one in layer}
    assert places.keys() == {id(parameter) for parameter in network.encoder.parameters()}
    blocks = [block for stage in network.encoder.stages for block in stage.blocks]
    for index, block in enumerate(blocks):
        assert {places[id(parameter)] for parameter in block.parameters()} == {index}


def test_layers_warm_up_alike(network):
    optimizer = afa_optimizer(network, OptimizerSettings(lr=1e-3, layer_decay=0.5))
    warmup_poly(optimizer, SchedulerSettings(warmup_steps=10, warmup_lr=1e-5), max_steps=100)
    shares = [group["lr"] / group["initial_lr"] for group in optimizer.param_groups if group["initial_lr"]]
    assert shares == pytest.approx([0.01] * len(shares))


def test_a_backbone_without_layers_is_refused():
    network = create_model("mit_nano", num_classes=2, decoder_width=16)
    network.encoder.layers = list
    with pytest.raises(UserError, match=r"need a backbone with layers for layer_decay=0\.5, MitNano names none"):
        afa_optimizer(network, OptimizerSettings(layer_decay=0.5))


def test_more_frozen_layers_than_there_are_and_a_frozen_backbone_with_frozen_layers_are_refused(network):
    count = len(network.encoder.layers())
    afa_optimizer(network, OptimizerSettings(freeze_layers=count))
    with pytest.raises(UserError, match=f"need freeze_layers of at most {count}, .* got {count + 1}"):
        afa_optimizer(network, OptimizerSettings(freeze_layers=count + 1))
    with pytest.raises(UserError, match="need freeze_layers of at least 0, got -1"):
        OptimizerSettings(freeze_layers=-1)
    with pytest.raises(UserError, match="need either freeze_backbone=true"):
        OptimizerSettings(freeze_layers=1, freeze_backbone=True)


def test_a_frozen_backbone_has_no_rates_to_decay():
    with pytest.raises(UserError, match=r"need a backbone that learns for layer_decay=0\.5"):
        OptimizerSettings(layer_decay=0.5, freeze_backbone=True)


installed = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra eight-bit")


@installed
def test_averages_of_8_bits_take_a_quarter_of_the_memory_and_train_alike():
    steps = []
    for eight_bit in (False, True):
        torch.manual_seed(0)
        one = create_model("mit_nano", num_classes=2, decoder_width=16)
        settings = OptimizerSettings(lr=1e-3, norm_lr_factor=1.0, eight_bit=eight_bit)
        optimizer = afa_optimizer(one, settings)
        before = torch.cat([parameter.detach().flatten() for parameter in one.parameters()])
        for _ in range(3):
            optimizer.zero_grad()
            one(torch.randn(2, 3, 32, 32)).seg_logits.square().mean().backward()
            optimizer.step()
        after = torch.cat([parameter.detach().flatten() for parameter in one.parameters()])
        tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
        shared = {value.data_ptr(): value.nbytes for value in tensors}
        steps.append((after - before, sum(shared.values())))
    (plain, whole), (found, quarter) = steps
    assert quarter < 0.35 * whole
    assert torch.nn.functional.cosine_similarity(plain, found, dim=0) > 0.98


@installed
def test_8_bits_on_another_device_are_refused():
    with pytest.raises(UserError, match="need a CPU or a GPU for eight_bit=true, got mps"):
        adamw_8bit({"cpu", "mps"})


def test_8_bits_without_the_package_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(UserError, match=r"pip install .afa-wsss\[eight-bit\]") as error:
        adamw_8bit()
    assert error.value.arguments == ("eight_bit",)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_backbone_may_name_parameters_by_iterators(network, monkeypatch, decay):
    settings, encoder = OptimizerSettings(layer_decay=decay), network.encoder
    lists = afa_optimizer(network, settings)
    logits, layers = encoder.attention_inputs(), encoder.layers()
    monkeypatch.setattr(encoder, "attention_inputs", lambda: iter(logits))
    monkeypatch.setattr(encoder, "layers", lambda: [iter(layer) for layer in layers])
    once = afa_optimizer(network, settings)
    assert by_name(once, "lr") == by_name(lists, "lr")
    for name, parameters in by_name(lists, "params").items():
        assert list(map(id, by_name(once, "params")[name])) == list(map(id, parameters))
