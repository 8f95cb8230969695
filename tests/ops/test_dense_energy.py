from __future__ import annotations

import pytest
import torch
from tests.oracles import agreement
from tests.photos import smooth_photo, speckled_photo

from afa_wsss.ops.dense_energy import dense_energy, energy_gate

SIGMAS = {"sigma_rgb": 25.0, "sigma_xy": 6.0}
WIDE = {"sigma_rgb": 15.0, "sigma_xy": 100.0}
"""The paper's widths."""


def probabilities(height, width, batch=1):
    return torch.randn(batch, 3, height, width, dtype=torch.float64).mul(2).softmax(dim=1)


@pytest.mark.parametrize("photo", [smooth_photo, speckled_photo])
def test_equals_the_sum_over_all_pairs(photo) -> None:
    image, scores, gate = photo(10, 12), probabilities(10, 12), torch.rand(1, 10, 12, dtype=torch.float64)
    features = agreement.pixel_features(image[0].numpy(), **SIGMAS)
    flat, weights = scores[0].flatten(1).numpy(), gate[0].flatten().numpy()
    expected = agreement.energy(agreement.pairs(features), flat, weights)
    assert float(dense_energy(image.double(), scores, gate, **SIGMAS)) == pytest.approx(expected, rel=1e-10)
    assert float(dense_energy(image, scores.float(), gate.float(), **SIGMAS)) == pytest.approx(expected, rel=1e-4)
    # The lattice's sums are smaller than the Gaussian's: see tests/ops/test_bilateral.py.
    exact = agreement.energy(agreement.pairs(features, exact=True), flat, weights)
    assert 0.45 < expected / exact < 0.65


def test_is_the_mean_over_the_batch() -> None:
    images, scores = torch.cat([smooth_photo(8, 9), speckled_photo(8, 9)]), probabilities(8, 9, 2)
    gate = torch.rand(2, 8, 9, dtype=torch.float64)
    alone = [dense_energy(*(part[i : i + 1] for part in (images.double(), scores, gate)), **SIGMAS) for i in range(2)]
    torch.testing.assert_close(dense_energy(images.double(), scores, gate, **SIGMAS), sum(alone) / 2)


def test_gradients_with_an_uneven_gate() -> None:
    image, gate = speckled_photo(5, 4).double(), torch.rand(1, 5, 4, dtype=torch.float64)
    scores = probabilities(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: dense_energy(image, scores, gate, **SIGMAS), (scores,))
    assert torch.autograd.gradgradcheck(lambda scores: dense_energy(image, scores, gate, **SIGMAS), (scores,))


def test_the_gradient_of_the_official_code_has_the_pixels_own_gate_alone() -> None:
    image, gate = speckled_photo(10, 12), torch.rand(1, 10, 12, dtype=torch.float64)
    gate[:, :, :4] = 0
    scores = probabilities(10, 12).requires_grad_()
    pairs = agreement.pairs(agreement.pixel_features(image[0].numpy(), **SIGMAS))
    energy = dense_energy(image.double(), scores, gate, **SIGMAS, gated_gradient=True)
    (gradient,) = torch.autograd.grad(energy, scores)
    wanted = -2 * gate[:, None] * torch.from_numpy(scores.detach()[0].flatten(1).numpy() @ pairs.T).view(1, 3, 10, 12)
    torch.testing.assert_close(gradient, wanted)
    assert energy == dense_energy(image.double(), scores, gate, **SIGMAS)


def test_labels_that_follow_the_edge_cost_least() -> None:
    image = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    image[..., 6:] = 255
    gate = torch.ones(1, 12, 12)
    by_edge, across = torch.zeros(1, 2, 12, 12), torch.zeros(1, 2, 12, 12)
    by_edge[:, 0, :, :6] = by_edge[:, 1, :, 6:] = 1
    across[:, 0, :6] = across[:, 1, 6:] = 1
    assert dense_energy(image, by_edge, gate, **WIDE) < dense_energy(image, across, gate, **WIDE) < 0


def test_the_gate_is_1_where_unknown_and_0_outside_the_photo() -> None:
    scores = torch.tensor([[[[0.9, 0.6, 0.5, 0.7]], [[0.1, 0.4, 0.5, 0.3]]]], requires_grad=True)
    labels = torch.tensor([[[0, 255, 1, 255]]], dtype=torch.uint8)
    inside = torch.tensor([[[True, True, True, False]]])
    gate = energy_gate(scores, labels, inside)
    torch.testing.assert_close(gate, torch.tensor([[[0.1, 1.0, 0.5, 0.0]]]))
    assert not gate.requires_grad


def test_the_energy_is_float32_under_autocast() -> None:
    image, scores, gate = speckled_photo(9, 9), probabilities(9, 9).float(), torch.ones(1, 9, 9)
    exact = dense_energy(image, scores, gate, **WIDE)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(dense_energy(image, scores, gate, **WIDE), exact)
        assert dense_energy(image, scores.bfloat16(), gate, **WIDE).isfinite()
