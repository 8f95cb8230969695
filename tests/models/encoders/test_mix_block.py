"""One block of the mix transformer: its formula, and the form for a CPU's cache against it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from afa_wsss.models.encoders import mix_block_cpu
from afa_wsss.models.encoders.efficient_attention import EfficientAttention
from afa_wsss.models.encoders.encoder import Grid
from afa_wsss.models.encoders.mit_nano import TokenComparison
from afa_wsss.models.encoders.mix_block import DropPath, MixBlock, MixFeedForward


def test_attention_is_softmax_of_queries_and_keys_times_values() -> None:
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


ATTENTIONS = {
    "one head": lambda: EfficientAttention(16, 1, 1),
    "one head, reduced": lambda: EfficientAttention(16, 1, 2),
    "several heads, reduced": lambda: EfficientAttention(16, 4, 2),
    "comparison alone": lambda: TokenComparison(16, 2),
    "none": lambda: None,
}


@pytest.mark.parametrize("grid", [Grid(6, 8), Grid(5, 7), Grid(2, 9), Grid(11, 3)])
@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("attention", ATTENTIONS.values(), ids=ATTENTIONS.keys())
def test_the_block_without_gradient_on_a_cpu_gives_the_same(monkeypatch, attention, read, grid):
    # In double precision, as the sums are in another order. Bands of two rows, so that neighbors are needed.
    monkeypatch.setattr(mix_block_cpu, "_HIDDEN_AT_ONCE", 0)
    monkeypatch.setattr(mix_block_cpu, "_ROWS_AT_ONCE", 2)
    block = MixBlock(16, attention(), 64, drop_path=0.5).eval().double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(3, grid.height * grid.width, 16, dtype=torch.float64)
    wanted, wanted_attention = block.plain(tokens, grid, read=read)
    with torch.no_grad():
        found, found_attention = mix_block_cpu.forward(block, tokens, grid, read=read)
    torch.testing.assert_close(found, wanted.detach())
    assert (found_attention is None) == (wanted_attention is None)
    if wanted_attention is not None:
        torch.testing.assert_close(found_attention.logits(), wanted_attention.logits().detach())


@pytest.mark.parametrize(
    ("gradient", "training", "faster"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_the_faster_form_runs_without_gradient_in_evaluation_mode_alone(monkeypatch, gradient, training, faster):
    block, tokens, grid = MixBlock(8, None, 16, drop_path=0.0).train(training), torch.randn(1, 12, 8), Grid(3, 4)
    calls = []
    monkeypatch.setattr(mix_block_cpu, "forward", lambda *_, **__: calls.append("faster") or (tokens, None))
    with torch.set_grad_enabled(gradient):
        block(tokens, grid)
    assert bool(calls) is faster


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 14, 100])
def test_feed_forward_by_bands_adds_the_same(monkeypatch, rows) -> None:
    layer, grid = MixFeedForward(8, 32), Grid(7, 9)
    residual, tokens = torch.randn(2, 3, 7 * 9, 8)
    monkeypatch.setattr(mix_block_cpu, "_HIDDEN_AT_ONCE", rows * 9 * 32)
    monkeypatch.setattr(mix_block_cpu, "_ROWS_AT_ONCE", 1)
    with torch.no_grad():
        added = mix_block_cpu.add_feed_forward(residual, tokens, layer, grid)
        torch.testing.assert_close(added, residual + layer(tokens, grid), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("images", "height", "rows"), [(3, 7, 2), (3, 7, 7), (5, 4, 9), (2, 100, 33)])
def test_bands_hold_each_row_of_each_image_once(monkeypatch, images, height, rows) -> None:
    monkeypatch.setattr(mix_block_cpu, "_HIDDEN_AT_ONCE", 0)
    monkeypatch.setattr(mix_block_cpu, "_ROWS_AT_ONCE", rows)
    taken = torch.zeros(images, height)
    for some, band in mix_block_cpu._bands(images, Grid(height, 6), 8):
        assert taken[some, band].numel() <= rows
        assert taken[some].shape[0] == 1 or band == slice(0, height)  # together in memory
        taken[some, band] += 1
    assert (taken == 1).all()


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention_by_few_keys_gives_the_same(reduction) -> None:
    attention, tokens, grid = EfficientAttention(16, 1, reduction), torch.randn(2, 6 * 8, 16), Grid(6, 8)
    for layer in (attention.query, attention.key_value, attention.output):
        torch.nn.init.normal_(layer.bias)
    wanted = attention(tokens, grid)[0].detach()
    with torch.no_grad():
        torch.testing.assert_close(
            mix_block_cpu.attend_by_few_keys(attention, tokens, grid), wanted, atol=1e-5, rtol=1e-5
        )
