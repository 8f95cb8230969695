"""Operators and losses with inputs of any size and number of classes, for the tests of precision and compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from afa_wsss.losses.affinity import affinity_loss
from afa_wsss.losses.classification import label_distribution_cross_entropy, multilabel_soft_margin
from afa_wsss.losses.segmentation import balanced_cross_entropy
from afa_wsss.ops import affinity, cam, image, par, pseudo_label, random_walk
from afa_wsss.supervision import PAR, Walk, labels_from_cam, labels_from_walk
from afa_wsss.types import IGNORE_INDEX

REFINEMENT = PAR(dilations=(1, 2), steps=2)


class Size(NamedTuple):
    """Size of the inputs: images, foreground classes, pixels (at least 16 per side)."""

    images: int
    classes: int
    height: int
    width: int


SIZES = (Size(2, 3, 16, 24), Size(3, 4, 20, 28), Size(3, 7, 32, 24), Size(2, 20, 21, 35))


class Case(NamedTuple):
    """A function and its arguments.

    Attributes:
        run: The function.
        arguments: Makes its arguments for a size.
        tolerance: Largest error under bf16 autocast, relative to the largest value.
    """

    run: Callable[..., Any]
    arguments: Callable[[Size], tuple[Any, ...]]
    tolerance: float = 0.0


def maps(size: Size, channels: int | None = None) -> Tensor:
    """Maps in [0, 1], one channel per class unless ``channels`` says otherwise."""
    return torch.rand(size.images, channels or size.classes, size.height, size.width)


def image_labels(size: Size) -> Tensor:
    """The first class in every photo, the last in the first photo."""
    labels = torch.zeros(size.images, size.classes)
    labels[:, 0] = labels[0, -1] = 1
    return labels


def boxes(size: Size) -> Tensor:
    """The whole frame, except in the last photo."""
    whole = [0, size.height, 0, size.width]
    return torch.tensor([whole] * (size.images - 1) + [[2, size.height - 3, 1, size.width - 2]])


def pixel_labels(size: Size) -> Tensor:
    """Labels of all classes; the first row is unknown."""
    labels = torch.randint(0, size.classes + 1, (size.images, size.height, size.width), dtype=torch.uint8)
    labels[:, 0] = IGNORE_INDEX
    return labels


def pairs(size: Size, tokens: int) -> Tensor:
    """A symmetric affinity in (0, 1)."""
    drawn = torch.rand(size.images, tokens, tokens)
    return (drawn + drawn.transpose(1, 2)) / 2


def pair_labels(size: Size, tokens: int) -> Tensor:
    """Affinity labels of both kinds, and unknown ones."""
    kinds = torch.tensor([0, 1, IGNORE_INDEX], dtype=torch.uint8)
    return kinds[torch.randint(0, 3, (size.images, tokens, tokens))]


def grid(size: Size) -> tuple[int, int]:
    """The token grid at a quarter of the size."""
    return size.height // 4, size.width // 4


def from_cam(images: Tensor, maps: Tensor, image_labels: Tensor, boxes: Tensor) -> Tensor:
    """``labels_from_cam``, with thresholds at which random maps give labels of every kind."""
    return labels_from_cam(images, maps, image_labels, boxes, low=0.4, high=0.6, refinement=REFINEMENT)


def from_walk(images: Tensor, maps: Tensor, affinity: Tensor, image_labels: Tensor, boxes: Tensor) -> Tensor:
    """``labels_from_walk``, with thresholds at which random maps give labels of every kind."""
    walk = Walk((images.shape[-2] // 4, images.shape[-1] // 4), radius=2, alpha=2.0, steps=1)
    return labels_from_walk(
        images, maps, affinity, image_labels, boxes, low=0.4, high=0.6, walk=walk, refinement=REFINEMENT
    )


def vectors(size: Size) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and bias of an affinity whose pairs are far from 0 and 1."""
    queries, keys = torch.randn(2, size.images, tokens(size), 12) / 4
    return queries, keys, torch.tensor([0.3])


def tokens(size: Size) -> int:
    """Tokens of ``grid``."""
    return grid(size)[0] * grid(size)[1]


CASES = {
    "class_activation_map": Case(
        cam.class_activation_map, lambda s: (maps(s, 8), torch.randn(s.classes, 8, 1, 1)), tolerance=1e-2
    ),
    "normalize_cam": Case(cam.normalize_cam, lambda s: (maps(s),)),
    "zero_absent": Case(cam.zero_absent, lambda s: (maps(s), image_labels(s))),
    "background_scores": Case(pseudo_label.background_scores, lambda s: (maps(s), image_labels(s), 0.4)),
    "cam_labels": Case(pseudo_label.cam_labels, lambda s: (maps(s), image_labels(s), 0.4)),
    "combine": Case(pseudo_label.combine, lambda s: (pixel_labels(s), pixel_labels(s), boxes(s))),
    "locality_mask": Case(lambda x: affinity.locality_mask(*x.shape[-2:], radius=2), lambda s: (maps(s, 1),)),
    "TokenAffinity.dense": Case(lambda *vectors: affinity.TokenAffinity(*vectors).dense(), lambda s: vectors(s)),
    "TokenAffinity.row": Case(lambda *vectors: affinity.TokenAffinity(*vectors).row(0, 1), lambda s: vectors(s)),
    "affinity_labels": Case(
        lambda label: affinity.affinity_labels(label, grid=(label.shape[1] // 4, label.shape[2] // 4), radius=2),
        lambda s: (pixel_labels(s),),
    ),
    "transition_matrix": Case(random_walk.transition_matrix, lambda s: (pairs(s, tokens(s)),)),
    "propagate": Case(
        random_walk.propagate, lambda s: (maps(s._replace(height=4, width=s.width // 4)), pairs(s, s.width // 4 * 4))
    ),
    "neighbor_kernel": Case(lambda x: par.neighbor_kernel(x, dilations=(1, 2)).weights, lambda s: (maps(s, 3),)),
    "refine": Case(
        lambda images, scores: par.refine(images, scores, dilations=(1, 2), steps=2),
        lambda s: (maps(s, 3), maps(s._replace(height=s.height // 2))),
    ),
    "normalize": Case(image.normalize, lambda s: (maps(s, 3).mul(255).byte(),)),
    "truncated": Case(image.truncated, lambda s: (maps(s, 3),)),
    "resize": Case(lambda x: image.resize(x, (x.shape[2] // 2, x.shape[3] // 2)), lambda s: (maps(s),)),
    "labels_from_cam": Case(from_cam, lambda s: (maps(s, 3), maps(s), image_labels(s), boxes(s))),
    "labels_from_walk": Case(
        from_walk, lambda s: (maps(s, 3), maps(s), pairs(s, tokens(s)), image_labels(s), boxes(s))
    ),
    "affinity_loss": Case(affinity_loss, lambda s: (pairs(s, s.height), pair_labels(s, s.height))),
    "balanced_cross_entropy": Case(
        balanced_cross_entropy,
        lambda s: (torch.randn(s.images, s.classes + 1, s.height // 4, s.width // 4), pixel_labels(s)),
    ),
    "multilabel_soft_margin": Case(
        multilabel_soft_margin, lambda s: (torch.randn(s.images, s.classes), image_labels(s))
    ),
    "label_distribution_cross_entropy": Case(
        label_distribution_cross_entropy, lambda s: (torch.randn(s.images, s.classes), image_labels(s))
    ),
}
