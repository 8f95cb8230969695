"""The affinity head against its formula, and in bfloat16."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from afa_wsss.models.encoders.encoder import Attention
from afa_wsss.models.heads.affinity_head import AffinityHead


def test_affinity_is_the_sigmoid_of_a_convolution_of_the_symmetric_logits() -> None:
    head, attention = AffinityHead(8), Attention(*torch.randn(2, 2, 8, 6, 4))
    torch.nn.init.constant_(head.bias, 0.3)
    logits = attention.logits()
    wanted = torch.sigmoid(F.conv2d(logits + logits.mT, head.weight, head.bias))[:, 0]
    torch.testing.assert_close(head(attention), wanted, atol=1e-5, rtol=1e-5)


def test_affinity_near_1_has_gradient_under_bf16() -> None:
    head = AffinityHead(8)
    torch.nn.init.constant_(head.bias, 8.0)
    queries, keys = torch.full((1, 8, 4, 2), 0.01, requires_grad=True), torch.full((1, 8, 4, 2), 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        affinity = head(Attention(queries, keys))
    (1 - affinity).sum().backward()
    assert affinity.max() < 1
    assert queries.grad.abs().min() > 0


@torch.no_grad()
def test_a_given_start_is_the_weight_of_every_head():
    attention = Attention(*torch.randn(2, 1, 4, 6, 5))
    logits = attention.logits()
    wanted = 0.25 * (logits + logits.transpose(2, 3)).sum(dim=1)
    torch.testing.assert_close(AffinityHead(4, start=0.25)(attention), wanted.sigmoid())
