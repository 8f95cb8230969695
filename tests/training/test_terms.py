"""Loss terms of one's own in a training step: what they return, and how they say what they need."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.supervision import AFALabels
from afa_wsss.training.terms import check_targets, term_losses
from afa_wsss.types import AFAOutput, Targets

OUTPUT = AFAOutput(torch.ones(4, 2, requires_grad=True), None, torch.ones(4, 4, 4), torch.ones(4, 2, 2, 2))
TARGETS = Targets(torch.ones(4, 2))


class Mine(LossTerm):
    """Whatever ``change`` makes of the class logits."""

    def __init__(self, change=None, **settings) -> None:
        super().__init__(**settings)
        self.change = change

    def forward(self, output, targets):
        return self.change(output.class_logits)


def losses(change, *, step=0):
    return term_losses({"mine": Mine(change, first_step=3)}, OUTPUT, TARGETS, step=step)


@pytest.mark.parametrize("change", [torch.mean, lambda logits: logits.mean().view(1), lambda logits: logits[0, :1]])
def test_one_number_is_a_scalar(change) -> None:
    (loss,) = losses(change).values()
    assert loss.shape == ()
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda logits: logits.mean(dim=1), r"torch.float32 of shape \(4,\)"),
        (lambda logits: logits[:0, 0], r"torch.float32 of shape \(0,\)"),
        (lambda logits: (logits > 0).sum(), r"torch.int64 of shape \(\)"),
        (lambda logits: 0.5, "float"),
        (lambda logits: None, "NoneType"),
        (lambda logits: (logits.mean(), {}), "tuple"),
    ],
)
def test_anything_else_is_named(change, got) -> None:
    message = f"need a tensor of one floating-point number from Mine.forward, got {got}; return a mean"
    with pytest.raises(UserError, match=message) as error:
        losses(change)
    assert error.value.arguments == ("loss.mine",)


def test_a_loss_without_gradient_is_reported_at_its_first_step(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        losses(lambda logits: logits.detach().mean(), step=4)
        losses(torch.mean, step=3)
        assert not caplog.messages
        losses(lambda logits: logits.detach().mean(), step=3)
        with torch.no_grad():
            losses(lambda logits: logits.detach().mean(), step=3)
    (message,) = caplog.messages
    assert message.startswith("loss.mine: need a loss with a gradient, Mine.forward gave none at step 3, so it changes")


class WithoutStart(LossTerm):
    """Forgets ``super().__init__``."""

    def __init__(self) -> None:
        self.scale = 2.0

    def forward(self, output, targets):
        return output.class_logits.mean()


class OneName(Mine):
    """Forgets a comma."""

    needs = "pseudo_label"


@dataclass(frozen=True)
class OneMade(AFALabels):
    """Forgets a comma."""

    makes = "pseudo_label"


def test_slips_in_classes_are_named_before_training() -> None:
    with pytest.raises(UserError, match=r"WithoutStart has none; begin its __init__ with super\(\).__init__\(weight"):
        check_targets({"mine": WithoutStart()}, AFALabels())
    with pytest.raises(
        UserError, match=r"need a tuple as OneName.needs, got 'pseudo_label'; write \('pseudo_label',\)"
    ):
        check_targets({"mine": OneName()}, AFALabels())
    with pytest.raises(UserError, match=r"need a tuple as OneMade\.makes"):
        check_targets({}, OneMade())


class Lazy(Mine):
    """Has parameters, or buffers alone, whose size is that of its first input."""

    def __init__(self, part, **settings) -> None:
        super().__init__(**settings)
        self.part = part


@pytest.mark.parametrize(
    ("part", "names"),
    [(nn.LazyLinear(4), "part.weight, part.bias"), (nn.LazyBatchNorm1d(affine=False), "part.running_mean")],
)
@pytest.mark.parametrize("first_step", [0, 3])
def test_parameters_without_a_size_are_refused_before_training(part, names, first_step) -> None:
    with pytest.raises(UserError, match=f"parameters and buffers of a known size, Lazy has {names}") as error:
        check_targets({"mine": Lazy(part, first_step=first_step)}, AFALabels())
    assert error.value.arguments == ("loss.mine",)
