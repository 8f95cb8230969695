from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import pairs

from afa_wsss.ops.affinity import affinity_labels, locality_mask
from afa_wsss.ops.pseudo_label import background_scores
from afa_wsss.ops.random_walk import propagate, transition_matrix


def test_affinity_labels_equal_the_official_ones(golden) -> None:
    data = golden("affinity")
    labels = affinity_labels(torch.from_numpy(data["pseudo_label"]), grid=(10, 10), radius=int(data["radius"]))
    assert torch.equal(labels, torch.from_numpy(data["affinity_label"]))


@pytest.mark.parametrize("background", [35, 55])
def test_walk_equals_the_official_one(golden, background) -> None:
    data = {name: torch.from_numpy(np.asarray(value)) for name, value in golden("random_walk").items()}
    near = locality_mask(9, 12, radius=int(data["radius"]))
    transition = transition_matrix(data["affinity"], alpha=float(data["alpha"]), mask=near)
    scores = background_scores(data["cam"], data["image_labels"], background / 100)
    torch.testing.assert_close(propagate(scores, transition), data[f"propagated_bg{background}"], atol=1e-4, rtol=0)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), radius=st.integers(0, 6))
def test_locality_mask_equals_that_of_single_pairs(height, width, radius) -> None:
    near = locality_mask(height, width, radius=radius).numpy()
    np.testing.assert_array_equal(near, pairs.locality_mask(height, width, radius))


def test_affinity_labels_equal_those_of_single_pairs() -> None:
    tokens = torch.tensor([[0, 1, 255], [2, 1, 0], [255, 2, 2]], dtype=torch.uint8)
    labels = affinity_labels(tokens[None], grid=(3, 3), radius=1)[0].numpy()
    np.testing.assert_array_equal(labels, pairs.affinity_labels(tokens.numpy(), 1))


def test_walk_equals_that_of_single_tokens() -> None:
    affinity, scores = torch.rand(1, 6, 6), torch.rand(1, 3, 2, 3)
    near = locality_mask(2, 3, radius=1)
    walked = propagate(scores, transition_matrix(affinity, alpha=3.0, mask=near))
    expected = pairs.walk(scores[0].flatten(1).numpy(), affinity[0].numpy(), near.numpy(), 3.0)
    np.testing.assert_allclose(walked[0].flatten(1).numpy(), expected, rtol=1e-5)


def test_rows_sum_to_less_than_one_because_of_the_floor() -> None:
    rows = transition_matrix(torch.rand(2, 9, 9)).sum(-1)
    assert ((rows > 0) & (rows < 1)).all()
    affinity = torch.rand(2, 9, 9)
    sums = (affinity**2).sum(-1)
    torch.testing.assert_close(transition_matrix(affinity).sum(-1), sums / (sums + 0.1))


def test_a_constant_map_stays_constant_if_all_rows_have_the_same_sum() -> None:
    transition = transition_matrix(torch.full((1, 9, 9), 0.5))
    walked = propagate(torch.ones(1, 2, 3, 3), transition, steps=2)
    torch.testing.assert_close(walked, walked.mean().expand_as(walked))


def test_scores_stay_within_groups_without_affinity_to_each_other() -> None:
    affinity = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))[None]
    walked = propagate(torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]]), transition_matrix(affinity))
    assert (walked[..., 2:] == 0).all()
    assert walked[..., 0] == walked[..., 1]
