"""Checks what a label maker made where it enters training, validation or prediction: one of your own may err."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from afa_wsss.errors import UserError, described
from afa_wsss.ops.affinity import TokenLabels
from afa_wsss.supervision.label_maker import LabelMaker
from afa_wsss.supervision.maps import TOLERANCE
from afa_wsss.types import IGNORE_INDEX, Batch, Labels, Pairs, Targets

MOST = 1 + TOLERANCE
"""The largest score of a pixel."""


def check_made(
    targets: Targets | Any,
    needed: Mapping[str, str],
    label_maker: LabelMaker,
    *,
    batch: Batch,
    grid: tuple[int, int],
    values: bool = True,
) -> None:
    """Checks the targets of one step.

    Args:
        targets: What ``LabelMaker.targets`` returned.
        needed: Target names, each with a loss term that needs it.
        label_maker: The label maker.
        batch: The batch that they were made of.
        grid: Height and width of the token grid, for affinity labels.
        values: Whether to read the classes of the pixels and pairs too, which waits for the device.

    Raises:
        UserError: For anything but ``Targets``, a target that is needed and None, and pixel labels or affinity labels
            of another shape, type or range.
    """
    call = f"{type(label_maker).__name__}.targets"
    if not isinstance(targets, Targets):
        _refuse(
            f"from {call}",
            "afa_wsss.types.Targets",
            type(targets).__name__,
            "return Targets.of(batch, pseudo_label=...)",
        )
    for need, name in needed.items():
        if not targets.has(need):
            raise UserError(
                f"need {need} for the loss {name!r}, {call} left it None although its 'makes' lists it; return it "
                "there, or take it off 'makes'",
                kind="missing_target",
            )
    if targets.pseudo_label is not None:
        _check_labels(targets.pseudo_label, f"for pseudo_label of {call}", batch, values=values)
    _check_pairs(targets.pair_labels, f"for affinity_label of {call}", batch, grid, values=values)


def check_memory(label_maker: LabelMaker) -> None:
    """Checks before training that what a label maker learns is saved with the network.

    Raises:
        UserError: For a memory that is no module, is made anew at each access, or has nothing that checkpoints keep.
    """
    memory, what = label_maker.memory, f"for memory of {type(label_maker).__name__}"
    if memory is None:
        return
    if not isinstance(memory, nn.Module):
        _refuse(what, "a torch.nn.Module or None", described(memory), "register what it learns as buffers")
    if label_maker.memory is not memory:
        _refuse(what, "one module", "another at each access", "make it once, in __init__ or __post_init__")
    if not memory.state_dict():
        _refuse(
            what,
            "buffers that checkpoints keep",
            "none",
            "register what it learns with register_buffer(), or leave memory None; a resumed run would forget it",
        )


def check_stages(
    stages: Mapping[str, Labels] | Any, label_maker: LabelMaker, *, batch: Batch, values: bool = True
) -> None:
    """Checks the labels of a batch after each prediction stage.

    Args:
        stages: What ``LabelMaker.stages`` returned.
        label_maker: The label maker.
        batch: The batch that they were made of.
        values: Whether to read the classes of the pixels and the scores too, which waits for the device.

    Raises:
        UserError: For anything but ``Labels`` by name, and labels or scores of another shape, type or range.
    """
    call = f"{type(label_maker).__name__}.stages"
    if not isinstance(stages, Mapping):
        _refuse(f"from {call}", "a dict of afa_wsss.types.Labels by name", type(stages).__name__)
    for name, stage in stages.items():
        what = f"for stage {name!r} of {call}"
        if not isinstance(stage, Labels):
            _refuse(what, "afa_wsss.types.Labels", type(stage).__name__, "return Labels(labels, scores=...)")
        _check_labels(stage.labels, what, batch, values=values)
        wanted = tuple(batch.image_labels.shape)
        if stage.scores is not None and not (stage.scores.dim() == 4 and tuple(stage.scores.shape[:2]) == wanted):
            shape = f"shape ({wanted[0]}, {wanted[1]}, H, W)"
            _refuse(
                f"for the scores of stage {name!r} of {call}",
                shape,
                str(tuple(stage.scores.shape)),
                "return one map for each foreground class",
            )
        if values and stage.scores is not None and not bool(((stage.scores >= 0) & (stage.scores <= MOST)).all()):
            low, high = (float(value) for value in stage.scores.aminmax())
            _refuse(
                f"for the scores of stage {name!r} of {call}",
                "values in [0, 1]",
                f"{low:.3g} to {high:.3g}",
                "normalize them",
            )


def _check_pairs(pairs: Pairs | Tensor | None, what: str, batch: Batch, grid: tuple[int, int], *, values: bool) -> None:
    count, tokens = len(batch.images), grid[0] * grid[1]
    if isinstance(pairs, TokenLabels) and tuple(pairs.tokens.shape) != (count, *grid):
        _refuse(
            what, f"tokens of shape {(count, *grid)}", str(tuple(pairs.tokens.shape)), "the grid is network.grid(H, W)"
        )
    if not isinstance(pairs, Tensor):
        return
    if tuple(pairs.shape) != (count, tokens, tokens):
        advice = f"there are {grid[0]} x {grid[1]} tokens, as network.grid(H, W) says"
        _refuse(what, f"shape {(count, tokens, tokens)}", str(tuple(pairs.shape)), advice)
    if values:
        wrong = (pairs != 0) & (pairs != 1) & (pairs != IGNORE_INDEX)
        if wrong.any():
            wanted = f"1 for pairs of one class, 0 for others and {IGNORE_INDEX} for unknown"
            _refuse(what, wanted, f"{float(pairs[wrong][0]):.3g}")


def _check_labels(labels: Any, what: str, batch: Batch, *, values: bool) -> None:
    count, classes = len(batch.images), batch.image_labels.shape[1]
    if not isinstance(labels, Tensor):
        _refuse(what, "a tensor", type(labels).__name__)
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        _refuse(what, "integer classes", str(labels.dtype), "return labels.to(torch.uint8)")
    if not (labels.dim() == 3 and len(labels) == count):
        _refuse(what, f"shape ({count}, H, W)", str(tuple(labels.shape)), "return one class for each pixel")
    if not values:
        return
    wrong = (labels < 0) | ((labels > classes) & (labels != IGNORE_INDEX))
    if wrong.any():
        _refuse(
            what, f"classes 0 to {classes}, 0 for background and {IGNORE_INDEX} for unknown", str(int(labels[wrong][0]))
        )


def _refuse(what: str, wanted: str, got: str, advice: str = "") -> NoReturn:
    raise UserError(f"need {wanted} {what}, got {got}" + (f"; {advice}" if advice else ""))
