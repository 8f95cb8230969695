"""The loss table in training: which terms count at a step, and whether their targets are made."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.losses.reduction import mean_over_processes
from afa_wsss.supervision import LabelMaker
from afa_wsss.types import FROM_BATCH, Targets


def loss_table(losses: Mapping[str, LossTerm]) -> nn.ModuleDict:
    """The terms as a module, so that their parameters and buffers are moved, trained and saved.

    Raises:
        UserError: For a name that a module cannot have.
    """
    try:
        return nn.ModuleDict(losses)
    except KeyError as error:
        raise UserError(
            f"need names of loss terms that torch.nn.ModuleDict takes, got {', '.join(losses)}; rename it: {error}",
            arguments=("loss",),
        ) from error


def active_terms(losses: nn.ModuleDict, step: int) -> dict[str, LossTerm]:
    """The terms that count at ``step``, by name."""
    return {name: term for name, term in losses.items() if isinstance(term, LossTerm) and term.is_active(step)}


def logged_losses(losses: Mapping[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """What is logged of a step: each term and the total, means over all processes, without gradient."""
    return mean_over_processes({f"train/{name}_loss": loss for name, loss in losses.items()} | {"train/loss": total})


def asks_label_maker(terms: Mapping[str, LossTerm]) -> bool:
    """Whether one of the terms needs more than the batch holds."""
    return any(need not in FROM_BATCH for term in terms.values() for need in term.needs)


def reads_seg_logits(terms: Mapping[str, LossTerm], label_maker: LabelMaker) -> bool:
    """Whether one of the terms, or the label maker if they ask it, reads the output of the segmentation branch."""
    asked = asks_label_maker(terms) and label_maker.reads_seg_logits
    return asked or any(term.reads_seg_logits for term in terms.values())


def check_targets(losses: Mapping[str, LossTerm], label_maker: LabelMaker) -> None:
    """Checks before training that somebody makes what each term with a weight needs.

    Raises:
        UserError: Naming the first term that would lack a target.
    """
    made = (*FROM_BATCH, *label_maker.makes)
    for name, term in losses.items():
        missing = [need for need in term.needs if need not in made]
        if term.weight > 0 and missing:
            raise UserError(
                f"need a label maker that makes {' and '.join(missing)} for the loss {name!r}, "
                f"{type(label_maker).__name__} makes {', '.join(label_maker.makes)}; choose another label maker, or "
                "give the loss a weight of 0",
                kind="missing_target",
                arguments=(f"loss.{name}",),
            )


def check_made(targets: Targets, needed: Mapping[str, str], label_maker: LabelMaker) -> None:
    """Checks that ``targets`` hold what is needed.

    Args:
        targets: Of one step.
        needed: Target names, each with a term that needs it.
        label_maker: Who made them.

    Raises:
        UserError: For a target that is None.
    """
    for need, name in needed.items():
        if not targets.has(need):
            raise UserError(
                f"need {need} for the loss {name!r}, {type(label_maker).__name__}.targets left it None although its "
                "'makes' lists it; return it there, or take it off 'makes'",
                kind="missing_target",
            )
