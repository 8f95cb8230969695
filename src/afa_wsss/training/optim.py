"""AdamW with AFA's parameter groups, and its schedule (AFA, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from afa_wsss.errors import UserError, check_above_0, check_at_least_0
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
        freeze_backbone: Whether the pretrained parts of the backbone stay as they are, in evaluation mode; what the
            encoder puts on top of them and the heads are trained.
        freeze_layers: How many layers of the pretrained backbone, from the photo on, stay as they are in the same way.
        eight_bit: Whether the moving averages of tensors with at least 4096 values are kept in 8 bits: a quarter of
            their memory. Needs bitsandbytes.
        layer_decay: The rates of a layer of the pretrained backbone over those of the layer above; 1 for equal rates.
    """

    lr: float = 6e-5
    head_lr_factor: float = 10.0
    norm_lr_factor: float = 0.0
    logits_lr_factor: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)
    freeze_backbone: bool = False
    freeze_layers: int = 0
    layer_decay: float = 1.0
    eight_bit: bool = False

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For a rate that is not above 0, factors and a weight decay that are not at least 0, betas that
                are not two numbers in [0, 1), a decay of layers that is not in (0, 1], a negative number of layers, and
                for settings of layers of a backbone that does not learn.
        """
        object.__setattr__(self, "betas", tuple(self.betas))
        check_above_0({"lr": self.lr})
        names = ("head_lr_factor", "norm_lr_factor", "logits_lr_factor", "weight_decay", "freeze_layers")
        check_at_least_0({name: getattr(self, name) for name in names})
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"need two betas of at least 0 and below 1, got {list(self.betas)}", arguments=("betas",))
        if not 0 < self.layer_decay <= 1:
            raise UserError(
                f"need a layer_decay above 0 and of at most 1, got {self.layer_decay}", arguments=("layer_decay",)
            )
        if self.freeze_backbone and self.freeze_layers:
            raise UserError(
                f"need either freeze_backbone=true, which freezes all layers, or freeze_layers={self.freeze_layers}, "
                "got both; leave one out",
                arguments=("freeze_layers", "freeze_backbone"),
            )
        if self.freeze_backbone and self.layer_decay < 1:
            raise UserError(
                f"need a backbone that learns for layer_decay={self.layer_decay}, got freeze_backbone=true; leave one "
                "out",
                arguments=("layer_decay", "freeze_backbone"),
            )


def afa_optimizer(
    network: AFA, settings: OptimizerSettings, *, others: Iterable[Parameter] = (), fused: bool = False
) -> Optimizer:
    """AdamW of the groups of ``OptimizerSettings``, those with nothing to train left out.

    With ``layer_decay`` each group of the pretrained backbone is divided by layers, named ``backbone_layer_00`` and so
    on from the photo to the top.

    Args:
        network: Its parameters make four groups; what the encoder puts on a pretrained backbone is among the heads.
        settings: Learning rates and decay.
        others: Parameters of the losses, a fifth group; there is none without them.
        fused: Whether parameters on a GPU may be updated by one kernel, which can leave a step out without the host
            knowing; see ``TrainerSettings.takes_fused_optimizer``.

    Raises:
        UserError: For ``layer_decay`` and ``freeze_layers`` where the encoder lacks the layers, and for ``eight_bit``
            without bitsandbytes or on another device than a CPU or a GPU.
    """
    encoder = network.encoder
    logits = list(encoder.attention_inputs())  # parameters() of a module can be read once
    new = {id(parameter) for parameter in encoder.new_parameters()}
    norms = _without(encoder.norms(), new)
    taken = {id(parameter) for parameter in (*norms, *logits)}
    body = _without(encoder.parameters(), taken | new)
    heads = _without(network.parameters(), taken | {id(parameter) for parameter in body})
    lr, own = settings.lr, list(others)
    groups: list[dict[str, Any]] = [
        {"params": body, "lr": lr, "name": "backbone"},
        {"params": logits, "lr": lr * settings.logits_lr_factor, "name": "attention_logits"},
        {"params": norms, "lr": lr * settings.norm_lr_factor, "weight_decay": 0.0, "name": "norms"},
        {"params": heads, "lr": lr * settings.head_lr_factor, "name": "heads"},
    ]
    if own:
        groups.append({"params": own, "lr": lr * settings.head_lr_factor, "weight_decay": 0.0, "name": "losses"})
    check_layers(network, settings)
    layers = [list(layer) for layer in encoder.layers()] if settings.layer_decay < 1 else []
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    groups = [part for group in groups for part in _by_layer(group, layers, settings.layer_decay) if part["params"]]
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    given: dict[str, Any] = {
        "lr": lr,
        "weight_decay": settings.weight_decay,
        "betas": (settings.betas[0], settings.betas[1]),
    }
    if settings.eight_bit:
        return adamw_8bit(devices)(groups, **given)
    return AdamW(groups, **given, fused=True if fused and devices == {"cuda"} else None)


def adamw_8bit(devices: Collection[str] = ()) -> Callable[..., Optimizer]:
    """AdamW of bitsandbytes (Dettmers et al., "8-bit optimizers via block-wise quantization", ICLR 2022).

    Raises:
        UserError: Where it is not installed, and for a kind of device that it does not support.
    """
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError as error:
        raise UserError(
            f'need bitsandbytes for eight_bit=true, got: {error}; pip install "afa-wsss[eight-bit]", or leave it out',
            kind="not_installed",
            arguments=("eight_bit",),
        ) from error
    made: Callable[..., Optimizer] = AdamW8bit
    others = sorted(set(devices) - {"cpu", "cuda"})
    if others:
        raise UserError(
            f"need a CPU or a GPU for eight_bit=true, got {', '.join(others)}; leave it out",
            arguments=("eight_bit",),
        )
    return made


def check_layers(network: AFA, settings: OptimizerSettings) -> None:
    """Checks that the encoder has the layers that settings speak of.

    Raises:
        UserError: For ``layer_decay`` where it has fewer than two, and for more ``freeze_layers`` than it has.
    """
    count, name = len(network.encoder.layers()), type(network.encoder).__name__
    if settings.layer_decay < 1 and count < 2:
        raise UserError(
            f"need a backbone with layers for layer_decay={settings.layer_decay}, {name} names none; set "
            "layer_decay=1, or let its layers() name them",
            arguments=("layer_decay",),
        )
    if settings.freeze_layers > count:
        raise UserError(
            f"need freeze_layers of at most {count}, the layers that {name} names, got {settings.freeze_layers}",
            arguments=("freeze_layers",),
        )


def _by_layer(
    group: Mapping[str, Any], layers: Sequence[Sequence[Parameter]], decay: float
) -> Iterator[dict[str, Any]]:
    """The parts of a group in each layer, and the rest, which keeps its rate."""
    taken: set[int] = set()
    for index, layer in enumerate(layers):
        inside = {id(parameter) for parameter in layer}
        found = [parameter for parameter in group["params"] if id(parameter) in inside]
        rate = group["lr"] * decay ** (len(layers) - 1 - index)
        yield {**group, "params": found, "lr": rate, "name": f"{group['name']}_layer_{index:02}"}
        taken |= inside
    yield {**group, "params": _without(group["params"], taken)}


def _without(parameters: Iterable[Parameter], taken: set[int]) -> list[Parameter]:
    return [parameter for parameter in parameters if id(parameter) not in taken]


@dataclass(frozen=True)
class SchedulerSettings:
    """Linear warm-up, then polynomial decay.

    Attributes:
        max_steps: Step at which the rate reaches 0; None for the last step of training.
        warmup_steps: Steps of the warm-up.
        warmup_lr: Rate of the backbone at step 0; every group warms up in proportion to its own rate.
        power: Exponent of the decay.
    """

    max_steps: int | None = None
    warmup_steps: int = 1500
    warmup_lr: float = 1e-6
    power: float = 1.0

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For no step at all, and a negative number of warm-up steps, rate or exponent.
        """
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"need max_steps of at least 1, got {self.max_steps}", arguments=("max_steps",))
        names = ("warmup_steps", "warmup_lr", "power")
        check_at_least_0({name: getattr(self, name) for name in names})


def warmup_poly(optimizer: Optimizer, settings: SchedulerSettings, *, max_steps: int) -> LambdaLR:
    """Linear from ``warmup_lr``, then rate * (1 - t / max_steps) ** power, t counted from 0.

    Args:
        optimizer: Its groups warm up alike; its own ``lr`` is the backbone's.
        settings: Shape of the schedule.
        max_steps: Steps of training, for settings that name none.
    """
    start: float = settings.warmup_lr / optimizer.defaults["lr"]
    warmup, end = settings.warmup_steps, settings.max_steps or max_steps

    def factor(step: int) -> float:
        if step < warmup:
            return start + (1 - start) * step / warmup
        remaining: float = max(0.0, 1 - step / end) ** settings.power
        return remaining

    return LambdaLR(optimizer, factor)
