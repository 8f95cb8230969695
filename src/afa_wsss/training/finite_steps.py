"""Leaves out steps whose loss or gradient is not finite; decided on the device, read by the host one step later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from afa_wsss.errors import UserError
from afa_wsss.ops.processes import is_distributed
from afa_wsss.supervision.found_thresholds import FoundThresholds

TOTAL = ".total"
"""Name of the sum of the loss terms; no term may have a dot in its name."""

LEARNED = ("weight", "bias", "running_mean", "running_var")
"""Last names of tensors of layers that training changes, and which are finite then."""


class Seen(NamedTuple):
    """Loss values of a batch, on their device, by name, and the names of its photos."""

    photos: tuple[str, ...]
    losses: Mapping[str, Tensor]


class Report(NamedTuple):
    """An optimizer step on the host.

    Attributes:
        left_out: Whether its loss or gradient was not finite in any process.
        streak: How many steps in a row were left out, this one included.
        over: Whether that is more than are allowed: no step after this one changes a weight.
        batches: Photos and losses of each batch of this process, several where gradients are accumulated.
        gradients: Largest absolute gradient of each parameter of this process, by name.
    """

    left_out: bool
    streak: int
    over: bool
    batches: tuple[tuple[tuple[str, ...], Mapping[str, float]], ...]
    gradients: Mapping[str, float]


class OnItsWay:
    """A ``Report`` that the device may not have made yet."""

    def __init__(self, state: Tensor, batches: Sequence[Seen], gradients: Mapping[str, Tensor]) -> None:
        """Starts one copy of all values to the host, and does not wait for it."""
        self.photos = tuple(batch.photos for batch in batches)
        self.names = tuple(tuple(batch.losses) for batch in batches)
        self.parameters = tuple(gradients)
        losses = [value.detach().float().reshape(1) for batch in batches for value in batch.losses.values()]
        norms = [norm.float().reshape(1) for norm in gradients.values()]
        values, on_gpu = torch.cat([state, *losses, *norms]), state.device.type == "cuda"
        self.values = values.to("cpu", non_blocking=on_gpu)
        self.arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]  # torch's own
        if self.arrived is not None:
            self.arrived.record()

    def report(self) -> Report:
        """Waits for this step of the device, not for those that it was given since."""
        if self.arrived is not None:
            self.arrived.synchronize()
        left_out, streak, over, *rest = self.values.tolist()
        batches = []
        for photos, names in zip(self.photos, self.names, strict=True):
            batches.append((photos, dict(zip(names, rest, strict=False))))
            rest = rest[len(names) :]
        gradients = dict(zip(self.parameters, rest, strict=True))
        return Report(bool(left_out), int(streak), bool(over), tuple(batches), gradients)


class FiniteSteps:
    """Decides for each optimizer step whether it is taken; all processes decide alike.

    With ``b`` = 1 where a loss or gradient of any process is not finite, the steps in a row are
    ``streak <- (streak + 1) * b``, and ``over`` becomes and stays 1 where ``streak`` is above what is allowed. A step
    is left out where ``b`` or ``over`` is 1. With a gradient scaler, gradients of finite losses are not counted while
    its scale is above 1: the scaler leaves such steps out itself and lowers the scale.
    """

    def __init__(self, module: nn.Module, *, allowed: int, streak: int = 0) -> None:
        """Nothing is decided yet.

        Args:
            module: With all parameters and buffers.
            allowed: Steps that may be left out in a row.
            streak: Steps in a row that were left out last.
        """
        self.module, self.allowed = module, allowed
        self.names = {parameter: name for name, parameter in module.named_parameters()}
        device = next(module.parameters()).device
        self.state = torch.zeros(3, device=device)  # left out, streak, over
        self.state[1].fill_(streak)
        self.buffers: dict[str, Tensor] = {}
        self.memories = [part for part in module.modules() if isinstance(part, FoundThresholds)]

    def keep_buffers(self) -> None:
        """Before the batches of a step: a forward pass changes batch norm's means and what label makers remember."""
        self.buffers = {name: buffer.detach().clone() for name, buffer in self.module.named_buffers()}

    def decide(self, optimizer: Optimizer, batches: Sequence[Seen], scaler: GradScaler | None = None) -> OnItsWay:
        """Between the backward pass and the step of ``optimizer``: lets it change nothing where it is left out."""
        norms = self._gradients(optimizer)
        gradients = _any_not_finite(list(norms.values()), self.state)
        if scaler is not None:
            gradients = gradients * (scaler._get_scale_async() <= 1)  # type: ignore[operator]  # set by backward
        losses = _any_not_finite([value for batch in batches for value in batch.losses.values()], self.state)
        bad = torch.maximum(losses, gradients)
        if is_distributed():
            torch.distributed.all_reduce(bad, op=torch.distributed.ReduceOp.MAX)
        over = self.state[2]
        streak = torch.where(over > 0, self.state[1], (self.state[1] + 1) * bad)
        self.state = torch.stack([bad, streak, torch.maximum(over, (streak > self.allowed).float())])
        _leave_out(optimizer, torch.maximum(bad, self.state[2]), scaler)
        return OnItsWay(self.state, batches, norms)

    def _gradients(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Largest absolute value of each gradient, by the parameter's name."""
        trained = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        norms = torch._foreach_norm([one.grad for one in trained], float("inf")) if trained else ()
        return {self.names.get(one, "?"): norm for one, norm in zip(trained, norms, strict=True)}

    @torch.no_grad()
    def finish(self, optimizer: Optimizer) -> None:
        """After the step: the buffers of a step that was left out are those of before.

        Raises:
            UserError: For a buffer of checkpoints that was not there before, or had another shape.
        """
        for name in ("found_inf", "grad_scale"):
            optimizer.__dict__.pop(name, None)
        left_out: Bool[Tensor, ""] = torch.maximum(self.state[0], self.state[2]) > 0
        _check_shapes(self.buffers, self.module)
        for buffer, before in self._kept():
            buffer.copy_(torch.where(left_out, before, buffer))
        for memory in self.memories:
            memory.read_again()
        self.buffers = {}

    @torch.no_grad()
    def abandon(self) -> None:
        """Where a step ends before its optimizer's: the buffers are those of before; between two steps nothing is done.

        A resumed run repeats such a step, and its forward pass would change them a second time.
        """
        for buffer, before in self._kept():
            buffer.copy_(before)
        self.buffers = {}

    def _kept(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each buffer beside what it was; without those of another shape, as of positions for other images."""
        now = dict(self.module.named_buffers())
        pairs = ((now[name], before) for name, before in self.buffers.items() if name in now)
        return ((buffer, before) for buffer, before in pairs if buffer.shape == before.shape)


def _check_shapes(before: Mapping[str, Tensor], module: nn.Module) -> None:
    """Refuses buffers that are stored and that a step has made, or given another shape: no resumed run takes them."""
    old, new = ({name: tuple(one.shape) for name, one in side} for side in (before.items(), module.named_buffers()))
    if old == new:
        return
    changed = next((name for name in module.state_dict() if old.get(name) != new.get(name)), None)
    if changed is not None:
        raise UserError(
            f"need buffers that keep their shape while training, got {changed} of shape {new[changed]}, before this "
            f"step {old.get(changed, 'none')}; register it at its full size where its module is made, as from a "
            "setting num_classes, or with persistent=False: a resumed run could not load it"
        )


def _any_not_finite(values: Sequence[Tensor], like: Tensor) -> Float[Tensor, ""]:
    """1 where any value is not finite, else 0; on the device of ``like``."""
    if not values:
        return like.new_zeros(())
    return (~torch.stack([value.detach().float().reshape(()) for value in values]).isfinite()).any().float()


def _leave_out(optimizer: Optimizer, left_out: Tensor, scaler: GradScaler | None) -> None:
    """Lets the next step do nothing where ``left_out`` is 1.

    Fused optimizers of torch read that on the device (``found_inf``). Others have to be asked without gradients, which
    the host has to know at once: on a GPU it waits, as it does in ``GradScaler.step``.
    """
    if scaler is None and all(group.get("fused") for group in optimizer.param_groups):
        optimizer.__dict__.update(found_inf=left_out, grad_scale=None)
    elif left_out.tolist():
        optimizer.zero_grad(set_to_none=True)


def first_not_finite(tensors: Mapping[str, Any]) -> str | None:
    """Name of the first tensor that is not finite; None where all are.

    Infinity is wrong in ``LEARNED`` alone: a buffer may hold it from the start, as a mask of attention does. NaN is
    wrong anywhere.
    """
    floats = {name: value for name, value in tensors.items() if isinstance(value, Tensor) and value.is_floating_point()}
    full = {name: value for name, value in floats.items() if value.numel()}
    norms = torch._foreach_norm([value.detach() for value in full.values()], float("inf")) if full else ()
    largest = torch.stack([norm.float() for norm in norms]).tolist() if full else []
    odd = {name: norm for name, norm in zip(full, largest, strict=True) if not math.isfinite(norm)}
    return next((name for name in odd if _is_learned(name) or bool(full[name].isnan().any())), None)


def _is_learned(name: str) -> bool:
    return name.rpartition(".")[2] in LEARNED
