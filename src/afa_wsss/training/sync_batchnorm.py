"""Batch norm over all processes on any device; torch's own refuses the CPU."""

from __future__ import annotations

from typing import Any

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


def sum_over_processes(values: Tensor) -> Tensor:
    """``SumOverProcesses`` as a function."""
    total: Tensor = SumOverProcesses.apply(values)
    return total


class SyncBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` whose moments are those of the batches of all processes, with their gradient."""

    def forward(self, maps: Tensor) -> Tensor:
        """Plain batch norm in evaluation mode and without distributed processes."""
        if world_size() == 1 or not self.training:
            return super().forward(maps)
        shape = (1, -1, 1, 1)
        values = maps.float()
        count = values.new_full((1,), values.numel() / values.shape[1])  # a list would be copied to the device
        total = sum_over_processes(torch.cat([values.sum((0, 2, 3)), count]))
        number = total[-1].detach()
        mean = total[:-1] / number
        centered = values - mean.view(shape)
        # Two passes instead of E[x^2] - E[x]^2, which cancels where the mean is far from 0.
        variance = sum_over_processes(centered.square().sum((0, 2, 3))) / number
        self._remember(mean.detach(), (variance * number / (number - 1).clamp(min=1)).detach())
        normalized = centered * (variance + self.eps).rsqrt().view(shape)
        scaled: Tensor = normalized * self.weight.view(shape) + self.bias.view(shape)
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


class AnyDeviceSyncBatchNorm(LayerSync):
    """Lightning plugin: puts ``SyncBatchNorm2d`` in place of every ``BatchNorm2d``; same parameters, same names."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Changes the class of the layers, so that optimizers and checkpoints see the same tensors."""
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                object.__setattr__(module, "__class__", SyncBatchNorm2d)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Changes it back."""
        for module in model.modules():
            if isinstance(module, SyncBatchNorm2d):
                object.__setattr__(module, "__class__", nn.BatchNorm2d)
        return model
