"""The gated dense energy beside the sum over all pairs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.oracles import agreement
from tests.photos import smooth_photo, speckled_photo

from afa_wsss.errors import UserError
from afa_wsss.losses import DenseEnergyLoss
from afa_wsss.losses.dense_energy import dense_energy_loss
from afa_wsss.types import AFAOutput, Targets

BOX = torch.tensor([[2, 20, 4, 16]])
SIGMAS = {"scale": 0.5, "sigma_rgb": 25.0, "sigma_xy": 12.0}
PAPER = {"scale": 0.5, "sigma_rgb": 15.0, "sigma_xy": 100.0}


def labels_with_unknown():
    labels = torch.zeros(1, 20, 16, dtype=torch.uint8)
    labels[:, 8:14, 6:12] = 2
    labels[:, :6] = 255
    return labels


def output_of(logits):
    return AFAOutput(
        torch.zeros(len(logits), 2), logits, torch.rand(len(logits), 4, 4), torch.zeros(len(logits), 2, 2, 2)
    )


def test_equals_the_sum_over_all_pairs_at_half_size() -> None:
    photo, labels, logits = speckled_photo(20, 16), labels_with_unknown(), torch.randn(1, 3, 5, 4) * 3
    full = F.interpolate(logits, size=(20, 16), mode="bilinear").softmax(dim=1)
    inside = torch.zeros(20, 16, dtype=torch.bool)
    inside[2:20, 4:16] = True
    # Bilinear at half size is the mean of four; nearest is the first of them.
    half = F.avg_pool2d(full, 2)[0] * inside[::2, ::2]
    gate = torch.where(labels[0, ::2, ::2] == 255, 1.0, 1 - half.amax(dim=0)) * inside[::2, ::2]
    features = agreement.pixel_features(photo[0, :, ::2, ::2].numpy(), sigma_rgb=25.0, sigma_xy=6.0)
    flat, weights = half.flatten(1).double().numpy(), gate.flatten().double().numpy()
    expected = agreement.energy(agreement.pairs(features), flat, weights)
    found = dense_energy_loss(logits, labels, photo, BOX, **SIGMAS)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_nothing_outside_of_the_box_counts() -> None:
    photo, labels = speckled_photo(20, 16), labels_with_unknown()
    logits = torch.randn(1, 3, 20, 16, requires_grad=True)
    loss = dense_energy_loss(logits, labels, photo, BOX, **SIGMAS)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[..., 2:, 4:] != 0).any()
    assert (gradient[..., :2, :] == 0).all()
    assert (gradient[..., :4] == 0).all()
    relabeled = labels.clone()
    relabeled[:, :2], relabeled[..., :4] = 1, 1
    torch.testing.assert_close(dense_energy_loss(logits, relabeled, photo, BOX, **SIGMAS), loss)


def test_descent_pulls_unknown_pixels_to_the_class_they_look_like() -> None:
    """Background and object of one color each; logits favor the right class in one pixel of four."""
    photo = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    photo[..., 8:] = 200
    labels = torch.full((1, 16, 16), 255, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 16, 16)
    logits[:, 0, ::2, 0:8:2] = logits[:, 1, ::2, 8::2] = 4.0
    logits.requires_grad_()
    box = torch.tensor([[0, 16, 0, 16]])
    loss = dense_energy_loss(logits, labels, photo, box, **PAPER)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, 0, :, :8] < 0).all()
    assert (gradient[:, 1, :, 8:] < 0).all()


@pytest.mark.parametrize("size", [(15, 17), (1, 1)])
def test_odd_sizes(size) -> None:
    photo, labels = smooth_photo(*size), torch.full((1, *size), 255, dtype=torch.uint8)
    box = torch.tensor([[0, size[0], 0, size[1]]])
    assert dense_energy_loss(torch.randn(1, 3, 4, 5), labels, photo, box, **PAPER).isfinite()


@pytest.mark.parametrize("settings", [{}, SIGMAS])
def test_the_term_is_the_energy_with_the_papers_settings_unless_given_others(settings) -> None:
    output, term = output_of(torch.randn(1, 3, 5, 4)), DenseEnergyLoss(**settings)
    targets = Targets(torch.ones(1, 2), labels_with_unknown(), photos=speckled_photo(20, 16), boxes=BOX)
    expected = dense_energy_loss(
        output.seg_logits, targets.pseudo_label, targets.photos, targets.boxes, **(PAPER | settings)
    )
    assert torch.equal(term(output, targets), expected)
    assert (term.weight, term.first_step) == (1e-9, 0)


def test_stays_float32_under_autocast() -> None:
    parts = torch.randn(1, 3, 5, 4), labels_with_unknown(), speckled_photo(20, 16), BOX
    exact = dense_energy_loss(*parts, **PAPER)
    with torch.autocast("cpu", torch.bfloat16):
        found = dense_energy_loss(*parts, **PAPER)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize(
    ("settings", "message", "argument"),
    [
        ({"scale": 0.0}, "need 0 < scale <= 1, got 0.0", "scale"),
        ({"scale": 2.0}, "need 0 < scale <= 1, got 2.0", "scale"),
        ({"sigma_rgb": 0.0}, "need sigma_rgb above 0, got 0.0", "sigma_rgb"),
        ({"sigma_xy": -1.0}, "need sigma_xy above 0, got -1.0", "sigma_xy"),
    ],
)
def test_impossible_settings_name_their_argument(settings, message, argument) -> None:
    with pytest.raises(UserError, match=message) as error:
        DenseEnergyLoss(**settings)
    assert error.value.arguments == (argument,)


def test_labels_may_be_smaller_than_the_photos() -> None:
    """Boxes and widths are those of the photos in any case."""
    logits, photos = torch.randn(1, 3, 8, 8), torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    small, boxes = torch.randint(0, 3, (1, 16, 16)), torch.tensor([[8, 32, 0, 24]])
    large = small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    settings = {"scale": 0.5, "sigma_rgb": 15.0, "sigma_xy": 100.0}
    losses = [dense_energy_loss(logits, labels, photos, boxes, **settings) for labels in (small, large)]
    torch.testing.assert_close(*losses)
