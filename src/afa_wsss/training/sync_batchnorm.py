"""Batch norm over all processes on any device; torch's own refuses the CPU."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import torch
import torch.distributed
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn

from afa_wsss.ops.processes import world_size


class SumOverProcesses(torch.autograd.Function):
    """Sum over all processes; the gradient of each summand is the sum of all processes' gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """The sum, equal in every process."""
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Every process's loss depends on every summand."""
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def differentiable_sum(values: Tensor) -> Tensor:
    """``SumOverProcesses`` as a function; ``ops.processes.sum_over_processes`` has no gradient."""
    total: Tensor = SumOverProcesses.apply(values)
    return total


class SyncBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` whose moments are those of the batches of all processes, with their gradient.

    Attributes:
        plain: The class without.
    """

    plain: ClassVar[type[nn.BatchNorm2d]] = nn.BatchNorm2d

    def forward(self, maps: Tensor) -> Tensor:
        """Plain batch norm in evaluation mode and without distributed processes.

        Then what timm's ``BatchNormAct2d`` does after it, where ``synchronized`` made the class of that.
        """
        if world_size() == 1 or not self.training:
            return super().forward(maps)
        normalized = self._normalized(maps)
        for name in ("drop", "act"):
            part = getattr(self, name, None)
            normalized = part(normalized) if isinstance(part, nn.Module) else normalized
        return normalized

    def _normalized(self, maps: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        values = maps.float()
        count = values.new_full((1,), values.numel() / values.shape[1])  # a list would be copied to the device
        total = differentiable_sum(torch.cat([values.sum((0, 2, 3)), count]))
        number = total[-1].detach()
        mean = total[:-1] / number
        centered = values - mean.view(shape)
        # Two passes instead of E[x^2] - E[x]^2, which cancels where the mean is far from 0.
        variance = differentiable_sum(centered.square().sum((0, 2, 3))) / number
        self._remember(mean.detach(), (variance * number / (number - 1).clamp(min=1)).detach())
        scaled: Tensor = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(maps.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running moments, as ``BatchNorm2d`` does, by the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def synchronized(kind: type[nn.BatchNorm2d]) -> type[SyncBatchNorm2d] | None:
    """``kind`` with the moments of all processes; None where its own forward pass is not known here."""
    if kind is nn.BatchNorm2d:
        return SyncBatchNorm2d
    if kind.forward is nn.BatchNorm2d.forward or kind.__name__ == "BatchNormAct2d":
        return type(f"Sync{kind.__name__}", (SyncBatchNorm2d, kind), {"plain": kind})
    return None


class AnyDeviceSyncBatchNorm(LayerSync):
    """Lightning plugin: synchronizes every ``BatchNorm2d``, timm's with an activation too; same tensors and names."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Changes the class of the layers, so that optimizers and checkpoints see the same tensors."""
        norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
        kinds = {
            kind: synchronized(kind) for kind in {type(norm) for norm in norms} if not issubclass(kind, SyncBatchNorm2d)
        }
        for norm in norms:
            if (kind := kinds.get(type(norm))) is not None:
                object.__setattr__(norm, "__class__", kind)
        left = sorted(kind.__name__ for kind, found in kinds.items() if found is None)
        if left:
            note = "batch norm of each process on its own: %s computes more than BatchNorm2d"
            logging.getLogger(__name__).info(note, ", ".join(left))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Changes it back."""
        for module in model.modules():
            if isinstance(module, SyncBatchNorm2d):
                object.__setattr__(module, "__class__", module.plain)
        return model
