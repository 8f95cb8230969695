"""The mix transformer: grids at any size and stride, initialization, what acts in training."""

from __future__ import annotations

import re

import pytest
import torch
from tests.reference_network import reference_network

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS, mix_transformer


def test_reading_the_attention_does_not_change_the_features() -> None:
    encoder, images = reference_network().encoder, torch.randn(1, 3, 48, 64)
    fused, unread = encoder(images, attention=False)
    assert unread is None
    for found, wanted in zip(fused, encoder(images).features, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "size"), [*((name, (96, 64)) for name in MIX_TRANSFORMERS), ("mit_b0", (75, 93))])
def test_every_size_has_its_grid(name, size) -> None:
    with torch.device("meta"):
        encoder = mix_transformer(name)
        features, attention = encoder(torch.empty(1, 3, *size))
    grid = encoder.grid(*size)
    assert tuple(features[-1].shape[-2:]) == grid
    assert [maps.shape[1] for maps in features] == list(encoder.widths)
    assert attention.logits().shape == (
        1,
        encoder.attention_channels,
        grid.height * grid.width,
        grid.height * grid.width,
    )


@pytest.mark.parametrize("strides", [(4, 2, 2, 2), (4, 2, 1, 1), (2, 2, 2, 1)])
def test_other_strides_have_their_grid(strides) -> None:
    with torch.device("meta"):
        encoder = mix_transformer("mit_b0", strides=strides)
        features, _ = encoder(torch.empty(1, 3, 75, 93), attention=False)
    assert tuple(features[-1].shape[-2:]) == encoder.grid(75, 93)


@pytest.mark.parametrize("strides", [(4, 2, 2, 1), (4, 2, 2, 2), (2, 2, 2, 2)])
def test_the_smallest_side_is_the_smallest(strides) -> None:
    with torch.device("meta"):
        encoder = mix_transformer("mit_b0", strides=strides)
        side = encoder.smallest_side
        encoder(torch.empty(1, 3, side, side))
        message = f"need images of at least {side} pixels a side, got 64 x {side - 1}"
        with pytest.raises(UserError, match=re.escape(message)):
            encoder(torch.empty(1, 3, 64, side - 1))
        stage = next(s for s, r in zip(encoder.stages, encoder.config.reductions, strict=True) if r > 1)
        with pytest.raises(RuntimeError, match="Kernel size"):
            stage(torch.empty(1, 3, side - 1, side - 1))


@pytest.mark.parametrize("strides", [[4, 2], [4, 2, 2, 0], [4, 2, 2, 1, 1]])
def test_impossible_strides_are_refused(strides):
    with pytest.raises(UserError, match="need four strides of at least 1") as caught:
        mix_transformer("mit_b0", strides=strides)
    assert caught.value.arguments == ("strides",)


def test_weights_are_initialized_as_in_segformer() -> None:
    block = mix_transformer("mit_b1").stages[3].blocks[0]
    assert block.attention.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.feed_forward.depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert block.attention.query.bias.abs().sum() == 0


def test_dropped_paths_act_in_training():
    encoder = mix_transformer("mit_b0", drop_path_rate=0.1)
    assert encoder.acts_in_training()
    for stage in encoder.stages[1:]:
        stage.eval()
    assert encoder.acts_in_training()  # the rate is 0 only at the very first block
    encoder.stages[0].eval()
    assert not encoder.acts_in_training()
    assert not mix_transformer("mit_b0", drop_path_rate=0.0).acts_in_training()
