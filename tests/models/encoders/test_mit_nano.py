"""``mit_nano``: its own stem, and blocks that compare tokens without mixing them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.models.encoders.mit_nano import TokenComparison, mit_nano


def test_attention_passes_nothing_from_token_to_token() -> None:
    encoder = mit_nano().eval()
    silent, compared = (encoder(torch.randn(1, 3, 64, 64), attention=asked) for asked in (False, True))
    assert silent.attention is None
    assert compared.attention.logits().shape == (1, encoder.attention_channels, 64, 64)
    sum(maps.sum() for maps in compared.features).backward()
    assert all(parameter.grad is None for parameter in encoder.attention_inputs())


def test_a_quarter_of_the_side_after_the_stem_and_an_eighth_at_the_end():
    encoder = mit_nano().eval()
    features = encoder(torch.randn(1, 3, 64, 96), attention=False).features
    assert [tuple(maps.shape[-2:]) for maps in features] == [(16, 24), (8, 12), (8, 12), (8, 12)]
    assert encoder.grid(64, 96) == (8, 12)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in encoder.modules()) == 3
    assert sum(isinstance(module, TokenComparison) for module in encoder.modules()) == 2


def test_strides_begin_with_that_of_the_stem():
    assert mit_nano(strides=[4, 2, 2, 1]).grid(64, 64) == (4, 4)
    with pytest.raises(UserError, match=r"need strides that begin with 4, the stem's; got \[2, 2, 2, 1\]") as caught:
        mit_nano(strides=[2, 2, 2, 1])
    assert caught.value.arguments == ("strides",)


def test_the_weights_of_the_package_are_its_default():
    by_name, by_default = (create_model("mit_nano", 3, pretrained=name) for name in ("nano", "default"))
    weights = by_name.encoder.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in by_default.encoder.state_dict().items())
    assert not torch.equal(weights["stages.3.norm.weight"], torch.ones(128))


def test_its_batch_norm_acts_in_training():
    encoder = mit_nano(drop_path_rate=0.0)
    assert encoder.acts_in_training()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert not encoder.acts_in_training()
