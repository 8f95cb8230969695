"""The loss table in training: which terms count at a step, and whether their targets are made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from afa_wsss.errors import UserError, argument, described
from afa_wsss.losses import LossTerm
from afa_wsss.losses.reduction import mean_over_processes
from afa_wsss.supervision import LabelMaker
from afa_wsss.types import FROM_BATCH, AFAOutput, Targets

log = logging.getLogger(__name__)


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


def active_terms(losses: nn.ModuleDict | Mapping[str, LossTerm], step: int) -> dict[str, LossTerm]:
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
        UserError: Naming the first term that would lack a target, that is not put together, or whose parameters have no
            size yet.
    """
    made = (*FROM_BATCH, *_names(label_maker, "makes"))
    for name, term in losses.items():
        with argument(f"loss.{name}"):
            if not {"weight", "first_step"} <= vars(term).keys():
                raise UserError(
                    f"need a weight and a first_step, {type(term).__name__} has none; begin its __init__ with "
                    "super().__init__(weight=weight, first_step=first_step)"
                )
            _check_sizes(term)
            _names(term, "needs")
        missing = [need for need in term.needs if need not in made]
        if term.weight > 0 and missing:
            raise UserError(
                f"need a label maker that makes {' and '.join(missing)} for the loss {name!r}, "
                f"{type(label_maker).__name__} makes {', '.join(label_maker.makes)}; choose another label maker, or "
                "give the loss a weight of 0",
                kind="missing_target",
                arguments=(f"loss.{name}",),
            )


def _check_sizes(term: LossTerm) -> None:
    """A checkpoint could not be loaded into parameters that get their size from the first batch."""
    lazy = [name for name, part in chain(term.named_parameters(), term.named_buffers()) if is_lazy(part)]
    if lazy:
        raise UserError(
            f"need parameters and buffers of a known size, {type(term).__name__} has {', '.join(lazy)} without; write "
            "nn.Linear and the like, with the number of channels as a setting, in place of nn.LazyLinear"
        )


def _names(part: LossTerm | LabelMaker, attribute: str) -> tuple[str, ...]:
    """The target names of ``needs`` or ``makes``: a single name without its comma would be read letter by letter."""
    names: tuple[str, ...] | str = getattr(part, attribute)
    if isinstance(names, str):
        raise UserError(f"need a tuple as {type(part).__name__}.{attribute}, got {names!r}; write ({names!r},)")
    return names


def term_losses(terms: Mapping[str, LossTerm], output: AFAOutput, targets: Targets, *, step: int) -> dict[str, Tensor]:
    """The loss of each term as a scalar, not yet weighted, by name.

    A term whose loss has no gradient at its first step is reported.

    Raises:
        UserError: For a term that returns anything but one floating-point number.
    """
    losses = {name: _scalar(name, term, term(output, targets)) for name, term in terms.items()}
    for name, loss in losses.items():
        if step == terms[name].first_step and torch.is_grad_enabled() and not loss.requires_grad:
            log.warning(
                "loss.%s: need a loss with a gradient, %s.forward gave none at step %d, so it changes no weight; leave "
                "out detach(), item(), argmax() and the like, or freeze less",
                name,
                type(terms[name]).__name__,
                step,
            )
    return losses


def _scalar(name: str, term: LossTerm, loss: Any) -> Float[Tensor, ""]:
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss.reshape(())
    raise UserError(
        f"need a tensor of one floating-point number from {type(term).__name__}.forward, got {described(loss)}; "
        "return a mean",
        arguments=(f"loss.{name}",),
    )
