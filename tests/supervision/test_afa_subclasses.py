"""Label makers that differ from AFA's in their maps, their walk, or what they remember."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import argmax_labels
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.maps import make_maps
from afa_wsss.supervision.scores import walk_scores


class Standstill(NamedTuple):
    """An affinity whose walk leaves the scores where they are."""

    pairs: torch.Tensor

    def walked(self, scores, walk):
        return scores

    def dense(self):
        return self.pairs

    def row(self, image, token):
        return self.pairs[image, token]

    def detach(self):
        return self


@dataclass(frozen=True)
class StandingLabels(AFALabels):
    def maps(self, network, batch, images, output):
        maps = super().maps(network, batch, images, output)
        return maps._replace(affinity=Standstill(maps.affinity))


@torch.no_grad()
def test_a_subclass_may_change_the_maps_and_the_walk_alone(network, batch) -> None:
    settings = {"walk_first_step": 2001, "background": 0.45, "refinement": NoRefinement(), "cam_scales": (1.0,)}
    images = normalize(batch.images)
    output = network(images)
    maps = make_maps(network, batch, images, output, scales=(1.0,))
    walk = AFALabels(**settings).walk_on(maps.grid)
    (still,) = walk_scores(maps.cam, Standstill(maps.affinity), maps.present.labels, (0.45,), walk=walk)
    (moved,) = walk_scores(maps.cam, maps.affinity, maps.present.labels, (0.45,), walk=walk)
    assert not torch.equal(still, moved)
    stages = StandingLabels(**settings).stages(network, batch, images, output)
    assert torch.equal(stages["walk"].labels, maps.present.named(argmax_labels(still)))
    assert torch.equal(stages["cam"].labels, AFALabels(**settings).stages(network, batch, images, output)["cam"].labels)
    labels = StandingLabels(**settings).targets(network, batch, images, output, step=2001).pseudo_label
    plain = AFALabels(**settings).targets(network, batch, images, output, step=2001).pseudo_label
    assert not torch.equal(labels, plain)


@dataclass(frozen=True)
class CountingLabels(AFALabels):
    """Has a memory of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "memory", torch.nn.BatchNorm1d(2))


@torch.no_grad()
def test_a_subclass_may_have_a_memory_of_its_own_where_nothing_is_found(network, batch) -> None:
    settings = {"walk_first_step": 2001, "refinement": NoRefinement(), "cam_scales": (1.0,)}
    images = normalize(batch.images)
    own, plain = (
        maker.targets(network, batch, images, network(images), step=2001).pseudo_label
        for maker in (CountingLabels(**settings), AFALabels(**settings))
    )
    assert torch.equal(own, plain)
    for finding in ({"low": "auto", "high": "auto"}, {"walk_when": "better"}):
        with pytest.raises(UserError, match=r"need FoundThresholds as memory of CountingLabels .*, got BatchNorm1d"):
            CountingLabels(**settings, **finding).wants_look(step=0)
