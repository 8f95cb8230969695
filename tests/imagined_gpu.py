"""A GPU that need not be there: its tensors have device, shape and type, and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


@contextmanager
def imagined_gpu() -> Iterator[Callable[[Any], Any]]:
    """Inside, whatever waits for the device fails: reading a value, a size that hangs on values, a blocking copy.

    So does mixing its tensors with those of the host. Gives a function that moves there: a module, or tensors in tuples
    and lists.
    """
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode() as described:

            def move(what: Any) -> Any:
                if isinstance(what, nn.Module):
                    return what._apply(move)
                return tree_map_only(
                    Tensor, lambda real: described.from_tensor(real).to("cuda", non_blocking=True), what
                )

            with _NoBlockingCopies():
                yield move
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


class _NoBlockingCopies(TorchDispatchMode):
    """Lets tensors change their device only where nobody waits for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # torch's own
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
            waits = not (named | (kwargs or {})).get("non_blocking", False)
            devices = {leaf.device for leaf in tree_leaves((args, made)) if isinstance(leaf, Tensor)}
            assert len(devices) == 1 or not waits, f"a copy between {devices} waits for the device"
        return made
