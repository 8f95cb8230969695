"""AdamW with AFA's parameter groups, and its schedule (AFA, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from afa_wsss.errors import UserError
from afa_wsss.models import AFA


def afa_optimizer(
    network: AFA,
    *,
    lr: float = 6e-5,
    head_lr_factor: float = 10.0,
    norm_lr_factor: float = 0.0,
    logits_lr_factor: float = 1.0,
    weight_decay: float = 0.01,
    betas: Sequence[float] = (0.9, 0.999),
) -> AdamW:
    """AdamW of four groups: backbone, the layers that make its attention logits, its norms, heads.

    Args:
        network: What to optimise.
        lr: Of the backbone.
        head_lr_factor: The heads' rate over the backbone's.
        norm_lr_factor: The backbone norms' rate over the backbone's; the official code leaves them at rate 0.
        logits_lr_factor: The rate of the queries and keys whose attention logits AFA reads, over the backbone's.
        weight_decay: Of all but the norms.
        betas: Of the moving averages.

    Raises:
        UserError: For a rate that is not above 0, and for betas that are not two of [0, 1).
    """
    if lr <= 0:
        raise UserError(f"need optimizer.lr above 0, got {lr}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"need optimizer.betas as two numbers of at least 0 and below 1, got {list(betas)}")
    norms, logits = network.encoder.norms(), network.encoder.attention_inputs()
    taken = {id(parameter) for parameter in (*norms, *logits)}
    body = _without(network.encoder.parameters(), taken)
    heads = _without(network.parameters(), taken | {id(parameter) for parameter in body})
    groups = [
        {"params": body, "lr": lr, "name": "backbone"},
        {"params": logits, "lr": lr * logits_lr_factor, "name": "attention_logits"},
        {"params": norms, "lr": lr * norm_lr_factor, "weight_decay": 0.0, "name": "norms"},
        {"params": heads, "lr": lr * head_lr_factor, "name": "heads"},
    ]
    return AdamW(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]))


def _without(parameters: Iterable[Parameter], taken: set[int]) -> list[Parameter]:
    return [parameter for parameter in parameters if id(parameter) not in taken]


def warmup_poly(
    optimizer: Optimizer,
    *,
    max_steps: int,
    warmup_steps: int = 1500,
    warmup_lr: float = 1e-6,
    power: float = 1.0,
) -> LambdaLR:
    """Linear from ``warmup_lr`` over ``warmup_steps``, then rate * (1 - t / max_steps) ** power, t counted from 0.

    Every group warms up in proportion to its own rate: ``warmup_lr`` is the first rate of the first group.

    Raises:
        UserError: For no steps at all.
    """
    if max_steps < 1 or warmup_steps < 0:
        raise UserError(f"need max_steps of at least 1 and warmup_steps of at least 0, got {max_steps}, {warmup_steps}")
    start: float = warmup_lr / optimizer.param_groups[0]["lr"]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return start + (1 - start) * step / warmup_steps
        remaining: float = max(0.0, 1 - step / max_steps) ** power
        return remaining

    return LambdaLR(optimizer, factor)
