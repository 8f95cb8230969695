"""What every loss term has: a weight, a first step, and the targets that it needs."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import nn

from afa_wsss import losses
from afa_wsss.errors import UserError
from afa_wsss.losses import AffinityLoss, ClassificationLoss, DenseEnergyLoss, LossTerm, SegmentationLoss
from afa_wsss.types import FROM_BATCH, AFAOutput, Targets

TERMS = [term for term in vars(losses).values() if inspect.isclass(term) and term is not LossTerm]


class ScaledLoss(LossTerm):
    """A term of one's own, with a setting, a parameter and a buffer."""

    needs = ("pseudo_label",)

    def __init__(self, *, weight: float = 1.0, first_step: int = 0, temperature: float = 2.0) -> None:
        super().__init__(weight=weight, first_step=first_step)
        self.temperature = temperature
        self.sharpness = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, output: AFAOutput, targets: Targets) -> torch.Tensor:
        return self.sharpness * output.seg_logits.square().mean() / self.temperature


def test_terms_count_from_their_first_step() -> None:
    term = AffinityLoss(weight=0.1, first_step=5)
    assert (term.weight, term.first_step) == (0.1, 5)
    assert [term.is_active(step) for step in (4, 5, 6)] == [False, True, True]
    assert not SegmentationLoss(weight=0.0).is_active(10)


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"weight": -1.0}, ("weight",)),
        ({"weight": math.nan}, ("weight",)),
        ({"weight": math.inf}, ("weight",)),
        ({"first_step": -1}, ("first_step",)),
        ({"weight": -1.0, "first_step": -1}, ("weight", "first_step")),
    ],
)
@pytest.mark.parametrize("term", [*TERMS, ScaledLoss])
def test_impossible_settings_name_their_arguments(term, settings, arguments) -> None:
    with pytest.raises(UserError, match=f"need {' and '.join(arguments)} of at least 0, got ") as error:
        term(**settings)
    assert error.value.arguments == arguments


@pytest.mark.parametrize("term", TERMS)
def test_settings_are_keywords(term) -> None:
    with pytest.raises(TypeError, match="positional"):
        term(0.1)


def test_terms_declare_the_targets_that_they_need() -> None:
    assert ClassificationLoss.needs == ("image_labels",)
    assert SegmentationLoss.needs == ("pseudo_label",)
    assert AffinityLoss.needs == ("affinity_label",)
    assert DenseEnergyLoss.needs == ("pseudo_label", "photos", "boxes")
    assert LossTerm.needs == ()


@pytest.mark.parametrize("term", TERMS)
def test_the_needed_targets_are_enough(term) -> None:
    """Targets that a term does not declare may be None."""
    b, k, grid, side = 2, 3, 4, 16
    output = AFAOutput(
        torch.randn(b, k),
        torch.randn(b, k + 1, side // 4, side // 4),
        torch.rand(b, 16, 16),
        torch.rand(b, k, grid, grid),
    )
    made = {
        "image_labels": torch.tensor([[1.0, 0, 0], [0, 1, 1]]),
        "pseudo_label": torch.randint(0, k + 1, (b, side, side), dtype=torch.uint8),
        "affinity_label": torch.randint(0, 2, (b, 16, 16), dtype=torch.uint8),
        "photos": torch.randint(0, 256, (b, 3, side, side), dtype=torch.uint8),
        "boxes": torch.tensor([[0, side, 0, side]] * b),
    }
    needed = {name: made[name] for name in term.needs} | {"image_labels": made["image_labels"]}
    loss = term()(output, Targets(**needed))
    assert loss.shape == ()
    assert loss.isfinite()
    assert set(term.needs) <= {*FROM_BATCH, "pseudo_label", "affinity_label"}


def test_a_term_of_ones_own_has_settings_parameters_and_buffers() -> None:
    term = ScaledLoss(first_step=3, temperature=4.0)
    logits = torch.randn(1, 3, 4, 4)
    output = AFAOutput(torch.zeros(1, 2), logits, torch.zeros(1, 4, 4), torch.zeros(1, 2, 2, 2))
    term(output, Targets(torch.ones(1, 2))).backward()
    torch.testing.assert_close(term.sharpness.grad, logits.square().mean() / 4)
    assert set(term.state_dict()) == {"sharpness", "seen"}
    assert not term.is_active(2)


def test_a_term_needs_a_forward() -> None:
    with pytest.raises(TypeError, match="abstract"):
        LossTerm()
