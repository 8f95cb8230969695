from __future__ import annotations

import re

import pytest
import torch
from tests.reference_network import reference_network

from afa_wsss.errors import UserError
from afa_wsss.models.encoders.encoder import Grid, to_map, to_tokens
from afa_wsss.models.encoders.mix_block import DropPath, EfficientAttention, MixFeedForward, _bands
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
def test_strides_are_free(strides) -> None:
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
        told = f"need images of at least {side} pixels a side, got 64 x {side - 1}"
        with pytest.raises(UserError, match=re.escape(told)):
            encoder(torch.empty(1, 3, 64, side - 1))
        stage = next(s for s, r in zip(encoder.stages, encoder.config.reductions, strict=True) if r > 1)
        with pytest.raises(RuntimeError, match="Kernel size"):
            stage(torch.empty(1, 3, side - 1, side - 1))


def test_attention_attends() -> None:
    attention, tokens = EfficientAttention(8, heads=2, reduction=1), torch.randn(1, 6, 8)
    mixed, read = attention(tokens, Grid(2, 3), read=True)
    logits = read.logits()
    query = attention.query(tokens)[0].view(6, 2, 4)
    key, value = attention.key_value(tokens)[0].view(6, 2, 2, 4).unbind(1)
    for head in range(2):
        torch.testing.assert_close(logits[0, head], query[:, head] @ key[:, head].T)
    weights = torch.softmax(logits[0] / 2, dim=-1)
    attended = torch.stack([weights[head] @ value[:, head] for head in range(2)], dim=1)
    torch.testing.assert_close(mixed[0], attention.output(attended.flatten(1)))


def test_dropped_paths_keep_their_mean() -> None:
    drop, ones = DropPath(0.25), torch.ones(4000, 2)
    dropped = drop(ones)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(ones) is ones


def test_starts_as_segformer_does() -> None:
    block = mix_transformer("mit_b1").stages[3].blocks[0]
    assert block.attention.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.feed_forward.depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert block.attention.query.bias.abs().sum() == 0


def test_attention_of_the_nano_tells_a_token_nothing_of_others() -> None:
    encoder = mix_transformer("mit_nano").eval()
    silent, compared = (encoder(torch.randn(1, 3, 64, 64), attention=asked) for asked in (False, True))
    assert silent.attention is None
    assert compared.attention.logits().shape == (1, encoder.attention_channels, 64, 64)
    sum(maps.sum() for maps in compared.features).backward()
    assert all(parameter.grad is None for parameter in encoder.attention_inputs())


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 14, 100])
def test_feed_forward_by_bands_adds_the_same(monkeypatch, rows) -> None:
    layer, grid = MixFeedForward(8, 32), Grid(7, 9)
    residual, tokens = torch.randn(2, 3, 7 * 9, 8)
    monkeypatch.setattr("afa_wsss.models.encoders.mix_block._HIDDEN_AT_ONCE", rows * 9 * 32)
    monkeypatch.setattr("afa_wsss.models.encoders.mix_block._ROWS_AT_ONCE", 1)
    with torch.no_grad():
        added = layer.added_by_bands(residual, tokens, grid)
        torch.testing.assert_close(added, residual + layer(tokens, grid), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("images", "height", "rows"), [(3, 7, 2), (3, 7, 7), (5, 4, 9), (2, 100, 33)])
def test_bands_hold_each_row_of_each_image_once(monkeypatch, images, height, rows) -> None:
    monkeypatch.setattr("afa_wsss.models.encoders.mix_block._HIDDEN_AT_ONCE", 0)
    monkeypatch.setattr("afa_wsss.models.encoders.mix_block._ROWS_AT_ONCE", rows)
    taken = torch.zeros(images, height)
    for some, of_them in _bands(images, Grid(height, 6), 8):
        assert taken[some, of_them].numel() <= rows
        assert taken[some].shape[0] == 1 or of_them == slice(0, height)  # together in memory
        taken[some, of_them] += 1
    assert (taken == 1).all()


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention_by_few_keys_gives_the_same(reduction) -> None:
    attention, tokens, grid = EfficientAttention(16, 1, reduction), torch.randn(2, 6 * 8, 16), Grid(6, 8)
    for layer in (attention.query, attention.key_value, attention.output):
        torch.nn.init.normal_(layer.bias)
    with_gradient = attention(tokens, grid)[0].detach()
    with torch.no_grad():
        torch.testing.assert_close(attention(tokens, grid)[0], with_gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_tokens_on_their_grid_keep_channels_together(batch) -> None:
    tokens, grid = torch.randn(batch, 7 * 9, 8), Grid(7, 9)
    maps = to_map(tokens, grid)
    assert maps.data_ptr() == tokens.data_ptr()
    for layer in (torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.nn.Conv2d(8, 4, 3, 2)):
        assert layer(maps).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(maps[:, :, 3, 4], tokens[:, 3 * 9 + 4])
    assert torch.equal(to_tokens(maps), tokens)
