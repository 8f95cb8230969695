"""Settings of a class of one's own, however its constructor is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.commands import composed
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.losses import AffinityLoss
from afa_wsss.supervision import AFALabels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

HERE = "tests.cli.test_own_settings"


class Handing(AffinityLoss):
    """Hands on what it does not know."""

    def __init__(self, *, scale: float = 2.0, **others: float) -> None:
        super().__init__(**others)
        self.scale = scale


class Projecting(AffinityLoss):
    """Has weights that are random at first."""

    def __init__(self, *, weight: float = 1.0, first_step: int = 0) -> None:
        super().__init__(weight=weight, first_step=first_step)
        self.head = nn.Linear(4, 2)


class Annotated(AffinityLoss):
    """Has names of type checkers alone in its annotations."""

    def __init__(
        self, *, sides: Sequence[int] = (1, 2), table: np.ndarray | None = None, size: int = 3, **others
    ) -> None:
        super().__init__(**others)
        self.sides, self.table, self.size = sides, table, size


class Scaled(AFALabels):
    """A dataclass below, with a constructor of its own."""

    def __init__(self, *, scale: float = 1.0, **others) -> None:
        super().__init__(**others)
        object.__setattr__(self, "scale", scale)


@dataclass(frozen=True)
class WrittenByHand(AFALabels):
    """A dataclass whose constructor is not the one that ``@dataclass`` writes."""

    scale: float = 1.0

    def __init__(self, *, times: int = 2, **others) -> None:
        super().__init__(**others)
        object.__setattr__(self, "scale", float(times))


def test_settings_that_are_handed_on_are_known():
    terms = composed(
        f"loss.affinity._target_={HERE}.Handing", "loss.affinity.scale=3", "loss.affinity.weight=0.25"
    ).settings.loss
    assert (terms["affinity"].scale, terms["affinity"].weight) == (3.0, 0.25)
    with pytest.raises(UserError, match=r"need a setting that exists, got loss\.affinity\.scalee; did you mean scale"):
        composed(f"loss.affinity._target_={HERE}.Handing", "loss.affinity.scalee=3")


def test_annotations_that_type_checkers_alone_can_read():
    words = [f"loss.affinity._target_={HERE}.Annotated", "loss.affinity.sides=[4]"]
    term = composed(*words, "loss.affinity.size=5").settings.loss["affinity"]
    assert (list(term.sides), term.size) == ([4], 5)
    with pytest.raises(UserError, match=r"loss\.affinity\.size: Value 'a'"):
        composed(*words, "loss.affinity.size=a")


def test_a_constructor_of_ones_own_on_top_of_a_dataclass():
    found = composed(f"supervision._target_={HERE}.Scaled", "supervision.scale=4", "supervision.low=0.2").settings
    assert (found.supervision.scale, found.supervision.low) == (4.0, 0.2)
    by_hand = composed(
        f"supervision._target_={HERE}.WrittenByHand", "supervision.times=3", "supervision.low=0.2"
    ).settings
    assert (by_hand.supervision.scale, by_hand.supervision.low) == (3.0, 0.2)


def test_the_first_weights_of_a_loss_follow_the_seed():
    weights = [
        composed(f"+loss.own._target_={HERE}.Projecting", f"seed={seed}").settings.loss["own"].head.weight
        for seed in (1, 2, 1)
    ]
    assert weights[0].equal(weights[2])
    assert not weights[0].equal(weights[1])
