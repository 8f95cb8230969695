"""AdamW with AFA's parameter groups, and its schedule (AFA, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from afa_wsss.errors import UserError
from afa_wsss.models import AFA


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW of four groups: backbone, the layers that make its attention logits, its norms, heads.

    Attributes:
        lr: Learning rate of the backbone.
        head_lr_factor: Learning rate of the heads, and of the losses' own parameters, over the backbone's.
        norm_lr_factor: Learning rate of the backbone's norms over the backbone's; the official code leaves them at 0.
        logits_lr_factor: Learning rate of the queries and keys whose attention logits AFA reads, over the backbone's.
        weight_decay: Decay of all but the norms and the losses' own parameters.
        betas: Coefficients of the moving averages.
    """

    lr: float = 6e-5
    head_lr_factor: float = 10.0
    norm_lr_factor: float = 0.0
    logits_lr_factor: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a rate that is not above 0, and for betas that are not two numbers in [0, 1).
        """
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.lr <= 0:
            raise UserError(f"need a learning rate above 0, got lr={self.lr}", arguments=("lr",))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"need two betas of at least 0 and below 1, got {list(self.betas)}", arguments=("betas",))


def afa_optimizer(
    network: AFA, settings: OptimizerSettings, *, others: Iterable[Parameter] = (), fused: bool = False
) -> AdamW:
    """AdamW of the groups of ``OptimizerSettings``.

    Args:
        network: Its parameters make four groups; what the encoder puts on a pretrained backbone is among the heads.
        settings: Learning rates and decay.
        others: Parameters of the losses, a fifth group; there is none without them.
        fused: Whether parameters on a GPU may be updated by one kernel, which can leave a step out without the host
            knowing. Lightning clips no gradients of such an optimizer together with a gradient scaler.
    """
    encoder = network.encoder
    logits = encoder.attention_inputs()
    new = {id(parameter) for parameter in encoder.new_parameters()}
    norms = _without(encoder.norms(), new)
    taken = {id(parameter) for parameter in (*norms, *logits)}
    body = _without(encoder.parameters(), taken | new)
    heads = _without(network.parameters(), taken | {id(parameter) for parameter in body})
    lr, own = settings.lr, list(others)
    groups = [
        {"params": body, "lr": lr, "name": "backbone"},
        {"params": logits, "lr": lr * settings.logits_lr_factor, "name": "attention_logits"},
        {"params": norms, "lr": lr * settings.norm_lr_factor, "weight_decay": 0.0, "name": "norms"},
        {"params": heads, "lr": lr * settings.head_lr_factor, "name": "heads"},
    ]
    if own:
        groups.append({"params": own, "lr": lr * settings.head_lr_factor, "weight_decay": 0.0, "name": "losses"})
    on_gpu = all(parameter.device.type == "cuda" for parameter in (*network.parameters(), *own))
    betas = (settings.betas[0], settings.betas[1])
    return AdamW(
        groups, lr=lr, weight_decay=settings.weight_decay, betas=betas, fused=True if fused and on_gpu else None
    )


def _without(parameters: Iterable[Parameter], taken: set[int]) -> list[Parameter]:
    return [parameter for parameter in parameters if id(parameter) not in taken]


@dataclass(frozen=True)
class SchedulerSettings:
    """Linear warm-up, then polynomial decay.

    Attributes:
        max_steps: Step at which the rate reaches 0; None for the last step of training.
        warmup_steps: Steps of the warm-up.
        warmup_lr: Rate of the first group at step 0; every group warms up in proportion to its own rate.
        power: Exponent of the decay.
    """

    max_steps: int | None = None
    warmup_steps: int = 1500
    warmup_lr: float = 1e-6
    power: float = 1.0

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For no step at all, or a negative number of warm-up steps.
        """
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"need max_steps of at least 1, got {self.max_steps}", arguments=("max_steps",))
        if self.warmup_steps < 0:
            raise UserError(f"need warmup_steps of at least 0, got {self.warmup_steps}", arguments=("warmup_steps",))


def warmup_poly(optimizer: Optimizer, settings: SchedulerSettings, *, max_steps: int) -> LambdaLR:
    """Linear from ``warmup_lr``, then rate * (1 - t / max_steps) ** power, t counted from 0.

    Args:
        optimizer: Its groups warm up alike.
        settings: Shape of the schedule.
        max_steps: Steps of training, for settings that name none.
    """
    start: float = settings.warmup_lr / optimizer.param_groups[0]["lr"]
    warmup, end = settings.warmup_steps, settings.max_steps or max_steps

    def factor(step: int) -> float:
        if step < warmup:
            return start + (1 - start) * step / warmup
        remaining: float = max(0.0, 1 - step / end) ** settings.power
        return remaining

    return LambdaLR(optimizer, factor)
