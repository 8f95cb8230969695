"""FLOPs of a training step, counted while it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from afa_wsss.models import create_model
from benchmarks.cost import PHASES
from benchmarks.stages import module_of, training_batch


class Flops(TorchDispatchMode):
    """Counts the arithmetic of matrix products, convolutions and attention, forward and backward.

    A convolution's backward pass counts as its forward pass for each gradient: torch's own count leaves out groups.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each operation."""
        out, packet, aten = func(*args, **(kwargs or {})), func._overloadpacket, torch.ops.aten
        if packet is aten.convolution_backward:
            gradient, photos, weight, _, *shape = args[:10]
            forward = flop_registry[aten.convolution](photos, weight, None, *shape, out_val=gradient)
            self.total += forward * sum(args[10][:2])
        elif packet is aten.baddbmm_:
            self.total += flop_registry[aten.baddbmm](*args[:3], out_val=out)
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def counted(backbone: str, *, crop: int, classes: int) -> dict[str, float]:
    """Parameters, and FLOPs of one crop of ``crop`` x ``crop`` pixels in each phase, by name."""
    torch.manual_seed(0)
    network = create_model(backbone, classes).train()
    found: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    batch = training_batch(crop, 1, classes)
    for phase, first_step in PHASES.items():
        module = module_of(network, first_step=first_step)
        with Flops() as flops:
            module.training_step(batch, 0).backward()
        found[phase] = flops.total
    return found
