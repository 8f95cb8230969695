"""The affinity of tokens whose class distributions differ is lowered before the walk.

A'_ij = A_ij exp(-JS(p_i, p_j)), p_i the softmax of background and present classes at token i, JS the Jensen-Shannon
distance: the square root of the divergence H((p_i + p_j) / 2) - (H(p_i) + H(p_j)) / 2 in nats, in [0, sqrt(ln 2)]. A
softmax of -JS over a token's neighbors would divide each row by a constant, which the walk's row sum takes out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from afa_wsss.errors import check_above_0
from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.ops.image import resize
from afa_wsss.ops.pseudo_label import background_scores
from afa_wsss.ops.window_affinity import near_affinity, near_pairs, tiles_of, weighted_walk
from afa_wsss.supervision import AFALabels, Network, Walk
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.scores import walked
from afa_wsss.types import AFAOutput, AffinityPairs, Batch, affinity_row, dense


def likeness(own: Float[Tensor, "*b m c"], other: Float[Tensor, "*b n c"]) -> Float[Tensor, "*b m n"]:
    """exp(-JS(p, q)) of each distribution p of the first with each q of the second; in [0.43, 1].

    Args:
        own: Probabilities that add up to 1, or all 0 for a token that does not exist.
        other: Probabilities to compare them with, in the same form.

    Example:
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> likeness(one, other)  # exp(0), exp(-sqrt(ln 2))
        tensor([[1.0000, 0.4349]])
    """
    mean = (own[..., :, None, :] + other[..., None, :, :]) / 2
    own_entropy, other_entropy = (-torch.xlogy(part, part).sum(dim=-1) for part in (own, other))
    entropies = (own_entropy[..., :, None] + other_entropy[..., None, :]) / 2
    divergence = -torch.xlogy(mean, mean).sum(dim=-1) - entropies
    return (-divergence.clamp(min=0).sqrt()).exp()


class ClassPairs(NamedTuple):
    """An affinity times the ``likeness`` of the tokens' class distributions.

    Attributes:
        pairs: The affinity A.
        classes: p: probabilities of background and classes at each token.
    """

    pairs: AffinityPairs | Tensor
    classes: Float[Tensor, "b n c"]

    def dense(self) -> Float[Tensor, "b n n"]:
        """A' of all pairs."""
        return dense(self.pairs) * likeness(self.classes, self.classes)

    def row(self, image: int, token: int) -> Float[Tensor, " n"]:
        """A' of one token with all tokens of its image."""
        own = self.classes[image]
        return affinity_row(self.pairs, image, token) * likeness(own[token : token + 1], own)[0]

    def detach(self) -> ClassPairs:
        """The same without gradient."""
        return ClassPairs(self.pairs.detach(), self.classes.detach())

    def walked(self, scores: Float[Tensor, "b c h w"], walk: Walk) -> Float[Tensor, "b c h w"]:
        """The walk along A'; within a radius, only its pairs are computed."""
        if walk.radius is None or not isinstance(self.pairs, TokenAffinity):
            return walked(scores, self.dense(), walk)
        tiles = tiles_of(walk.grid, radius=walk.radius)
        pairs = near_pairs(tiles, len(scores), scores.device)
        classes = tiles.cut(self.classes)
        found = zip(pairs, near_affinity(self.pairs, tiles, pairs), strict=True)
        powers = [
            (near * likeness(classes[: part.neighbors.tiles], part.neighbors.of(classes))) ** walk.alpha
            for part, near in found
        ]
        return weighted_walk(scores, powers, tiles, pairs, steps=walk.steps)


@dataclass(frozen=True)
class ClassDistributionLabels(AFALabels):
    """AFA's labels, the walk along the affinity times the likeness of class distributions.

    The distributions are those of the background score at which validation reads labels after the walk. Affinity loss
    and affinity labels stay as they are.

    Attributes:
        distribution_sharpness: Factor of background score and CAM before the softmax; 1 for the softmax of the labels.
    """

    distribution_sharpness: float = 1.0

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a sharpness that is not above 0, and for what AFA's labels refuse.
        """
        super().__post_init__()
        check_above_0({"distribution_sharpness": self.distribution_sharpness})

    def maps(self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput) -> Maps:
        """AFA's maps with ``ClassPairs`` in place of the affinity."""
        maps, sharpness = super().maps(network, batch, images, output), self.distribution_sharpness
        tokens = resize(maps.cam, maps.grid)
        background = self.walk_thresholds.background
        classes = background_scores(sharpness * tokens, maps.present.labels, sharpness * background)
        return maps._replace(affinity=ClassPairs(maps.affinity, classes.flatten(2).transpose(1, 2)))
