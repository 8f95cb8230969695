"""Losses of two processes beside those of one with the whole batch, and beside counts by hand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from tests.two_processes import in_two_processes

from afa_wsss.errors import UserError
from afa_wsss.losses import AffinityLoss, SegmentationLoss
from afa_wsss.losses.reduction import mean_over_processes
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels
from afa_wsss.types import AFAOutput, Targets

SHARES = (slice(0, 1), slice(1, 3))
"""The first process has one of three photos, the second two."""

KINDS = ("segmentation", "dense", "window")


def parts():
    """Logits, pixel labels, queries and keys, and token classes; the photos have far from equal counts."""
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (3, 6, 6), generator=random)
    labels[0, 1:] = 255
    labels[1][labels[1] == 0] = 255
    tokens = torch.randint(0, 2, (3, 4, 5), generator=random)
    tokens[0, 1:] = 255
    tokens[1] = 1
    return (
        torch.randn(3, 3, 6, 6, generator=random),
        labels.to(torch.uint8),
        torch.rand(3, 20, 20, generator=random),
        tokens.to(torch.uint8),
    )


def window(vectors: torch.Tensor) -> TokenAffinity:
    return TokenAffinity(vectors, vectors.flip(-1) - 0.5, torch.tensor([0.1]))


def pixel_values(photo: int) -> Iterator[tuple[bool, float]]:
    """Whether each labeled pixel is foreground, and its cross entropy."""
    logits, labels, *_ = parts()
    for y, x in product(range(6), range(6)):
        label = int(labels[photo, y, x])
        if label != 255:
            yield label > 0, -float(logits[photo, :, y, x].log_softmax(0)[label])


def pair_values(kind: str, photo: int) -> Iterator[tuple[bool, float]]:
    """Whether each labeled pair within the radius is negative, and what it adds."""
    *_, affinity, tokens = parts()
    found, labels = (affinity if kind == "dense" else window(affinity[..., :8]).dense())[photo], tokens[photo].flatten()
    for i, j in product(range(20), range(20)):
        near = max(abs(i // 5 - j // 5), abs(i % 5 - j % 5)) <= 1
        if near and 255 not in (int(labels[i]), int(labels[j])):
            negative = int(labels[i]) != int(labels[j])
            yield negative, float(found[i, j]) if negative else 1 - float(found[i, j])


def by_hand(kind: str, photos: list[int]) -> float:
    """Over every pixel and pair in turn."""
    sums, counts = [0.0, 0.0], [0, 0]
    for photo in photos:
        for place, value in pixel_values(photo) if kind == "segmentation" else pair_values(kind, photo):
            sums[place] += value
            counts[place] += 1
    if kind == "segmentation":
        return sum(total / max(count, 1) for total, count in zip(sums, counts, strict=True)) / 2
    return sum(total / (count + 1) for total, count in zip(sums, counts, strict=True)) / 2


def loss_of(kind: str, share: slice, reduction: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss, and its gradient for the share's logits or affinity."""
    logits, labels, affinity, tokens = (part[share] for part in parts())
    logits, affinity = logits.clone().requires_grad_(), affinity.clone().requires_grad_()
    vectors = affinity[..., :8].clone().detach().requires_grad_()
    pairs = window(vectors) if kind == "window" else affinity
    output = AFAOutput(torch.zeros(len(logits), 2), logits, pairs, torch.zeros(len(logits), 2, 4, 5))
    targets = Targets(torch.ones(len(logits), 2), pseudo_label=labels, affinity_label=TokenLabels(tokens, 1))
    term = SegmentationLoss if kind == "segmentation" else AffinityLoss
    loss = term(reduction=reduction)(output, targets)
    loss.backward()
    return loss.detach(), {"segmentation": logits, "dense": affinity, "window": vectors}[kind].grad


def job(rank: int) -> dict[str, torch.Tensor]:
    found = {}
    for kind, reduction in product(KINDS, ("global", "process")):
        loss, gradient = loss_of(kind, SHARES[rank], reduction)
        found |= {f"{kind} {reduction}": loss, f"{kind} {reduction} gradient": gradient}
    return found | mean_over_processes({"mean": torch.tensor(float(rank))})


@pytest.mark.ddp
def test_two_processes_have_the_loss_of_the_whole_batch(tmp_path: Path) -> None:
    first, second = in_two_processes(job, tmp_path)
    for kind in KINDS:
        loss, gradient = loss_of(kind, slice(0, 3), "global")
        name = f"{kind} global"
        torch.testing.assert_close((first[name] + second[name]) / 2, loss, atol=1e-6, rtol=1e-5)
        gradients = torch.cat([first[f"{name} gradient"], second[f"{name} gradient"]]) / 2
        torch.testing.assert_close(gradients, gradient, atol=1e-6, rtol=1e-5)
        assert float(loss) == pytest.approx(by_hand(kind, [0, 1, 2]), rel=1e-5)
        alone = [float(found[f"{kind} process"]) for found in (first, second)]
        assert alone == pytest.approx([by_hand(kind, [0]), by_hand(kind, [1, 2])], rel=1e-5)
        assert sum(alone) / 2 != pytest.approx(float(loss), rel=0.01)
    assert float(first["mean"]) == float(second["mean"]) == 0.5


@pytest.mark.parametrize("term", [AffinityLoss, SegmentationLoss])
def test_another_reduction_is_refused(term) -> None:
    with pytest.raises(UserError, match="need reduction to be global or process, got 'batch'") as error:
        term(reduction="batch")
    assert error.value.arguments == ("reduction",)
