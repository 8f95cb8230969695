"""A training step of two processes under DDP beside that of one process with the whole batch."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.training.module.modules import FIRST, WALK, make_module
from tests.two_processes import in_two_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from afa_wsss.training.module import AFAModule
from afa_wsss.training.sync_batchnorm import AnyDeviceSyncBatchNorm
from afa_wsss.types import Batch


def whole_batch() -> Batch:
    """Four photos; of those of the second process little is inside the boxes."""
    random = torch.Generator().manual_seed(5)
    return Batch(
        images=torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8, generator=random),
        image_labels=torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]),
        boxes=torch.tensor([[0, 32, 0, 48], [4, 30, 8, 40], [0, 9, 0, 16], [8, 20, 8, 24]]),
        names=("a", "b", "c", "d"),
        masks=None,
    )


def share(rank: int) -> Batch:
    batch, half = whole_batch(), slice(2 * rank, 2 * rank + 2)
    cut = {name: getattr(batch, name)[half] for name in ("images", "image_labels", "boxes", "names")}
    return batch._replace(**cut)


class Step(nn.Module):
    """What Lightning's strategy gives to DDP: a module whose forward pass is the training step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.step, self.found = make_module(), step, {}
        AnyDeviceSyncBatchNorm().apply(self.inner)
        for part in self.inner.modules():
            if "Drop" in type(part).__name__:
                part.eval()
        self.inner.log_dict = self.found.update

    def forward(self, batch: Batch) -> torch.Tensor:
        with patch.object(AFAModule, "global_step", self.step):
            return self.inner.training_step(batch, 0)


def found_in(step: Step) -> dict[str, torch.Tensor]:
    gradients = {name: part.grad for name, part in step.inner.named_parameters() if part.grad is not None}
    return gradients | step.found


def use_a_share(rank: int, step: int, frozen: bool = False) -> dict[str, torch.Tensor]:
    module = Step(step)
    if frozen:
        module.inner.network.encoder.freeze()
    together = DistributedDataParallel(module)
    together(share(rank)).backward()
    return found_in(module)


@pytest.mark.ddp
@pytest.mark.parametrize("step", [0, FIRST, WALK])
def test_two_processes_train_as_one_does_with_the_whole_batch(tmp_path: Path, step: int) -> None:
    alone = Step(step)
    alone(whole_batch()).backward()
    wanted, (first, second) = found_in(alone), in_two_processes(use_a_share, tmp_path, step)
    assert wanted.keys() == first.keys() == second.keys()
    assert ("train/affinity_loss" in wanted) == (step > 0)
    for name, value in wanted.items():
        for found in (first, second):
            torch.testing.assert_close(
                found[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: name + text
            )


@pytest.mark.ddp
def test_two_processes_with_a_frozen_backbone_have_the_gradients_of_the_heads(tmp_path: Path) -> None:
    alone = Step(FIRST)
    alone.inner.network.encoder.freeze()
    alone(whole_batch()).backward()
    wanted, (first, second) = found_in(alone), in_two_processes(use_a_share, tmp_path, FIRST, True)
    assert not any(name.startswith("network.encoder.") for name in wanted)
    assert wanted.keys() == first.keys() == second.keys()
    for name, value in wanted.items():
        for found in (first, second):
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)
