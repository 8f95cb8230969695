"""The window form of affinity loss and walk beside the dense form: values, gradients, and what they hold in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.losses import AffinityLoss
from afa_wsss.losses.affinity import affinity_loss, window_affinity_loss
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels, locality_mask
from afa_wsss.ops.random_walk import propagate, transition_matrix
from afa_wsss.ops.window_affinity import near_pairs, tiles_of, window_walk
from afa_wsss.types import AFAOutput, Targets, affinity_row

GRIDS = [
    (2, 32, 32, 8),  # whole tiles
    (2, 9, 60, 8),  # one row of tiles
    (2, 45, 9, 8),  # one column
    (3, 30, 27, 4),  # padded on both sides
    (2, 5, 6, 8),  # a radius larger than the grid
    (2, 1, 40, 3),
    (1, 24, 50, 11),
]
"""Images, height, width, radius."""


class Largest(TorchDispatchMode):
    """Records the number of values of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.values = max([self.values, *(part.numel() for part in [made] if isinstance(part, torch.Tensor))])
        return made


def vectors(images, tokens, *, width=12, gradient=False):
    parts = 0.5 * torch.randn(images, tokens, width), 0.5 * torch.randn(images, tokens, width), torch.tensor([0.3])
    return TokenAffinity(*(part.requires_grad_(gradient) for part in parts))


def labels_of(images, height, width, radius):
    """Three classes, unknown tokens among them, and padding at the right of the first image."""
    kinds = torch.tensor([0, 3, 254, 255], dtype=torch.uint8)
    tokens = kinds[torch.randint(0, 4, (images, height, width))]
    tokens[0, :, width // 2 :] = 255
    return TokenLabels(tokens, radius)


def with_gradients(loss, affinity):
    return [loss.detach(), *torch.autograd.grad(loss, [*affinity])]


@pytest.mark.parametrize(("images", "height", "width", "radius"), GRIDS)
def test_the_loss_equals_the_dense_one_with_its_gradients(images, height, width, radius) -> None:
    affinity = vectors(images, height * width, gradient=True)
    labels = labels_of(images, height, width, radius)
    wanted = with_gradients(affinity_loss(affinity.dense(), labels.dense()), affinity)
    found = with_gradients(window_affinity_loss(affinity, labels), affinity)
    *largest, _ = (float(part.abs().max()) for part in wanted)
    # The gradient of the bias is a sum of nearly equal parts of both signs, each at most 1.
    for one, other, scale in zip(found, wanted, [*largest, 1.0], strict=True):
        torch.testing.assert_close(one / scale, other / scale, atol=1e-5, rtol=0)
    assert min(largest) > 0


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("images", "height", "width", "radius"), GRIDS)
def test_the_walk_equals_the_dense_one(images, height, width, radius, steps) -> None:
    affinity, scores = vectors(images, height * width), torch.rand(images, 4, height, width)
    near = locality_mask(height, width, radius=radius)
    wanted = propagate(scores, transition_matrix(affinity.dense(), alpha=3.0, mask=near), steps=steps)
    found = window_walk(scores, affinity, radius=radius, alpha=3.0, steps=steps)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_walk_has_the_gradients_of_the_dense_one() -> None:
    affinity, scores = vectors(2, 12 * 19, gradient=True), torch.rand(2, 3, 12, 19, requires_grad=True)
    weights, near = torch.rand(2, 3, 12, 19), locality_mask(12, 19, radius=5)
    inputs = [*affinity, scores]
    dense = propagate(scores, transition_matrix(affinity.dense(), mask=near), steps=2)
    wanted = torch.autograd.grad((dense * weights).sum(), inputs)
    found = torch.autograd.grad((window_walk(scores, affinity, radius=5, steps=2) * weights).sum(), inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), radius=st.integers(1, 20))
def test_each_pair_within_the_radius_is_there_once(height, width, radius) -> None:
    tiles, tokens = tiles_of((height, width), radius=radius), torch.arange(2 * height * width).view(2, -1, 1)
    index, found = tiles.cut(tokens, fill=-1), torch.zeros(2 * height * width, 2 * height * width)
    assert torch.equal(tiles.join(index), tokens)
    for part in near_pairs(tiles, 2, tokens.device):
        own, other = torch.broadcast_tensors(index[: part.neighbors.tiles], part.neighbors.of(index).transpose(1, 2))
        chosen = part.close & part.there[:, None] & (own >= 0) & (other >= 0)
        for rows, columns, kept in ((own, other, chosen), (other, own, chosen & (part.orders == 2))):
            found.index_put_((rows[kept], columns[kept]), torch.ones(int(kept.sum())), accumulate=True)
    near = locality_mask(height, width, radius=radius).float()
    assert torch.equal(found, torch.block_diag(near, near))


def test_a_row_is_that_of_the_dense_affinity() -> None:
    affinity = vectors(2, 30)
    torch.testing.assert_close(affinity.row(1, 7), affinity.dense()[1, 7])
    torch.testing.assert_close(affinity_row(affinity.dense(), 1, 7), affinity.row(1, 7))


def outputs(affinity):
    return AFAOutput(torch.zeros(2, 3), torch.zeros(2, 4, 4, 4), affinity, torch.zeros(2, 3, 12, 20))


@pytest.mark.parametrize("radius", [4, None])
def test_the_loss_term_takes_labels_of_tokens_and_of_pairs(radius) -> None:
    affinity, labels = vectors(2, 240), labels_of(2, 12, 20, radius)
    wanted, image_labels = affinity_loss(affinity.dense(), labels.dense()), torch.ones(2, 3)
    for pairs in (affinity, affinity.dense()):
        for given_labels in (labels, labels.dense()):
            targets = Targets(image_labels, affinity_label=given_labels)
            assert torch.equal(targets.affinity_label, labels.dense())
            torch.testing.assert_close(AffinityLoss()(outputs(pairs), targets), wanted)
    assert torch.equal(outputs(affinity).affinity, affinity.dense())


def test_targets_know_what_was_made_without_computing_it(monkeypatch) -> None:
    monkeypatch.setattr(TokenLabels, "dense", None)
    targets = Targets(torch.ones(2, 3), affinity_label=labels_of(2, 4, 4, 1), others={"depth": torch.ones(())})
    assert [targets.has(name) for name in ("affinity_label", "depth", "pseudo_label", "height")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_changed_tuple_keeps_the_pairs_as_they_are_stored(monkeypatch) -> None:
    for kind in (TokenAffinity, TokenLabels):
        monkeypatch.setattr(kind, "dense", None)
    affinity, labels = vectors(2, 240), labels_of(2, 12, 20, 4)
    output = outputs(affinity)._replace(class_logits=torch.ones(2, 3))
    assert output.pairs is affinity
    assert torch.equal(output.class_logits, torch.ones(2, 3))
    targets = Targets(torch.ones(2, 3), affinity_label=labels)._replace(pseudo_label=torch.zeros(2, 8, 8).byte())
    assert targets.pair_labels is labels
    assert targets.has("pseudo_label")
    with pytest.raises(TypeError, match="unexpected keyword argument 'labels'"):
        targets._replace(labels=labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_value(dtype: torch.dtype) -> None:
    affinity, labels, scores = vectors(2, 400), labels_of(2, 20, 20, 4), torch.rand(2, 3, 20, 20)
    wanted = affinity.dense(), window_affinity_loss(affinity, labels), window_walk(scores, affinity, radius=4)
    with torch.autocast("cpu", dtype):
        found = affinity.dense(), window_affinity_loss(affinity, labels), window_walk(scores, affinity, radius=4)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def test_half_precision_vectors_have_an_affinity_in_float32() -> None:
    affinity, labels, scores = vectors(2, 400), labels_of(2, 20, 20, 4), torch.rand(2, 3, 20, 20)
    half = TokenAffinity(affinity.queries.bfloat16(), affinity.keys.bfloat16(), affinity.bias)
    full = TokenAffinity(*(part.float() for part in half))
    assert half.row(0, 0).dtype == torch.float32
    for found in (TokenAffinity.dense, lambda pairs: window_walk(scores, pairs, radius=4)):
        assert torch.equal(found(half), found(full))
    assert torch.equal(window_affinity_loss(half, labels), window_affinity_loss(full, labels))


def test_products_beyond_float16_are_finite_under_autocast() -> None:
    queries = torch.tensor([[[300.0, 300.0], [300.0, -300.0]]]).half()
    with torch.autocast("cpu", torch.float16):
        dense = TokenAffinity(queries, queries, torch.zeros(1)).dense()
    assert dense.tolist() == [[[1.0, 0.5], [0.5, 1.0]]]


def test_affinity_near_1_has_gradient_under_bf16() -> None:
    queries, keys = torch.full((1, 400, 4), 0.01, requires_grad=True), torch.full((1, 400, 4), 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        pairs = TokenAffinity(queries, keys, torch.tensor([8.0]))
        window_affinity_loss(pairs, TokenLabels(torch.zeros(1, 20, 20, dtype=torch.uint8), 4)).backward()
    assert queries.grad.abs().min() > 0


def test_no_tensor_grows_faster_than_the_tokens() -> None:
    """Each token is compared with at most three tiles of 64 at a time."""
    for side in (40, 80):
        affinity, labels = vectors(1, side * side, gradient=True), labels_of(1, side, side, 8)
        with Largest() as found:
            window_affinity_loss(affinity, labels).backward()
            window_walk(torch.rand(1, 3, side, side), affinity, radius=8)
        assert found.values <= 3 * 64 * side * side
