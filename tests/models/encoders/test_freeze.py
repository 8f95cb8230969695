"""A frozen backbone: no gradient, no optimizer state, evaluation mode; what is new on top of it trains."""

from __future__ import annotations

import pytest
import torch

from afa_wsss.models import create_model
from afa_wsss.training.optim import OptimizerSettings, afa_optimizer

BACKBONES = ["mit_nano", "deit_tiny_patch16_224", "tf_efficientnet_lite0"]


def frozen_network(backbone):
    network = create_model(backbone, num_classes=2, decoder_width=16, drop_path_rate=0.5)
    network.encoder.freeze()
    return network.train()


def step(network, optimizer):
    optimizer.zero_grad()
    output = network(torch.randn(2, 3, 64, 64))
    sum(part.float().square().mean() for part in (output.class_logits, output.seg_logits, output.affinity)).backward()
    optimizer.step()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pretrained_parts_stay_as_they_are_and_the_rest_trains(backbone):
    network = frozen_network(backbone)
    optimizer = afa_optimizer(network, OptimizerSettings(lr=1e-2, norm_lr_factor=1.0))
    new = {id(parameter) for parameter in network.encoder.new_parameters()}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(3):  # the last layers of the blocks on top start at zero: those before them move in the second step
        step(network, optimizer)
    pretrained = [name for name, value in network.encoder.named_parameters() if id(value) not in new]
    kept = [*pretrained, *(name for name, _ in network.encoder.named_buffers() if name in network.encoder.state_dict())]
    for name in kept:
        assert torch.equal(network.state_dict()[f"encoder.{name}"], before[f"encoder.{name}"]), name
    trained = dict(network.named_parameters())
    for name in trained.keys() - {f"encoder.{one}" for one in pretrained}:
        assert not torch.equal(trained[name], before[name]), name
    stateful = {id(parameter) for parameter in optimizer.state}
    assert stateful == {id(value) for value in trained.values() if value.requires_grad}
    assert not any(dict(network.encoder.named_parameters())[name].grad is not None for name in pretrained)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_parts_neither_drop_nor_use_the_batch_whatever_mode_is_asked_for(backbone):
    network = frozen_network(backbone)
    for mode in (True, False, True):
        network.train(mode)
        assert network.training == mode
        assert network.segmentation_head.training == mode
    images = torch.randn(2, 3, 64, 64)
    first, second, alone = (network.encoder(one).features for one in (images, images, images[:1]))
    for one, other, single in zip(first, second, alone, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one[:1], single)
    assert network.forward_activates()  # class activation maps need no pass of their own


def test_new_parts_are_in_training_mode():
    encoder = frozen_network("tf_efficientnet_lite0").encoder
    assert all(part.training for part in encoder.attention_blocks.modules())
    assert not any(part.training for part in encoder.body.modules())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_first_layers_stay_as_they_are_and_those_above_train(backbone):
    network = create_model(backbone, num_classes=2, decoder_width=16).train()
    layers = network.encoder.layers()
    count = len(layers) // 2
    network.encoder.freeze(count)
    optimizer = afa_optimizer(network, OptimizerSettings(lr=1e-2, norm_lr_factor=1.0, freeze_layers=count))
    frozen = {id(parameter) for layer in layers[:count] for parameter in layer}
    before = {name: value.clone() for name, value in network.named_parameters()}
    for _ in range(3):
        step(network, optimizer)
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]) == (id(value) in frozen), name
    for part in network.encoder.modules():
        own = list(part.parameters(recurse=False))
        if own:
            assert part.training == all(id(value) not in frozen for value in own)


def test_groups_without_anything_to_train_are_left_out():
    groups = [group["name"] for group in afa_optimizer(frozen_network("mit_nano"), OptimizerSettings()).param_groups]
    assert groups == ["heads"]
    groups = afa_optimizer(frozen_network("tf_efficientnet_lite0"), OptimizerSettings()).param_groups
    assert [group["name"] for group in groups] == ["attention_logits", "heads"]
