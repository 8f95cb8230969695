"""The numbers of ``experiment=photos``: how they follow from machine, crop, number of photos and steps.

On the paper's data, crops of 512, a grid of 32 x 32, and 8 of the 10,582 photos of VOC in a step (AFA, section 4.1),
each rule gives the paper's value, but for numbers of steps, which come within one percent: 19,840 of 20,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from afa_wsss.data.files.parallel import available_cores

Choice = TypeVar("Choice")

PAPER_CROP = 512
STRIDE = 16
"""Pixels of a token's side."""

PAPER_RADIUS = 8
"""Tokens."""

PAPER_DILATIONS = (1, 2, 4, 8, 12, 24)
LEAST_CLASS_STEPS = 160
"""Steps that the class branch needs on ImageNet's features before its maps are worth learning from."""

LEAST_GRID = 12
"""Tokens along a side at the smallest scale of the class activation maps: on fewer an object is a token or two."""


def by_machine(accelerator: str, on_cpu: Choice, on_gpu: Choice) -> Choice:
    """``on_gpu`` where a run with ``trainer.accelerator`` would use a GPU that torch sees."""
    import torch  # on use: it takes seconds, and most commands compose without this recipe

    return on_cpu if accelerator == "cpu" or not torch.cuda.is_available() else on_gpu


def step_crops(
    batch_size: int, total_batch: int | None, accumulated: int, *, accelerator: str, devices: Any, nodes: int
) -> int:
    """Crops of a training step, on all devices and nodes: ``total_batch``, or what follows from the other numbers.

    At least 1: numbers below are refused where they are settings, by their names.

    Args:
        batch_size: Crops of one batch of a device.
        total_batch: Crops of a step, where it is set.
        accumulated: Batches of a device in a step.
        accelerator: ``trainer.accelerator``.
        devices: ``trainer.devices``: how many, their indices as a list or with commas, or -1 or ``auto`` for all.
        nodes: Number of machines.
    """
    return max(1, total_batch or batch_size * accumulated * nodes * _device_count(devices, accelerator))


def _device_count(devices: Any, accelerator: str) -> int:
    import torch  # see by_machine

    if isinstance(devices, str) and "," in devices:
        devices = [word for word in devices.split(",") if word.strip()]
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(1, len(devices))
    if str(devices) in ("auto", "-1"):
        return by_machine(accelerator, 1, max(1, torch.cuda.device_count()))
    return max(1, int(devices)) if str(devices).isdigit() else 1  # the Trainer refuses what is no number


def workers() -> int:
    """Loader processes: one of this process's cores is left to training, and more than four bring nothing."""
    return max(1, min(4, available_cores() - 1))


def radius(crop_size: int) -> int:
    """Of affinity labels: a quarter of the token grid, 8 of 32."""
    return max(1, round(crop_size / STRIDE / 4))


def walk_radius(crop_size: int) -> int:
    """The paper's, at most half of the token grid.

    A walk of a quarter of a small grid leaves parts of an object without scores; pairs that far apart make worse labels
    for the affinity (docs/real.md).
    """
    return max(1, min(PAPER_RADIUS, round(crop_size / STRIDE / 2)))


def dilations(crop_size: int) -> list[int]:
    """PAR's in proportion to the crop, at least 1, each once: 1, 2, 4, 6, 12 for crops of 256."""
    return sorted({max(1, round(dilation * crop_size / PAPER_CROP)) for dilation in PAPER_DILATIONS})


def cam_scales(crop_size: int) -> list[float]:
    """1, 1/2 and 3/2 where a crop at half its size still has ``LEAST_GRID`` tokens a side; else 5/4 alone.

    The maps of small photos are better at 5/4 than at 1, at 1 and 5/4, or at 1 and 3/2 together (docs/real.md).
    """
    return [1.0, 0.5, 1.5] if crop_size / STRIDE / 2 >= LEAST_GRID else [1.25]


def max_side(crop_size: int) -> int:
    """Longest side of the photos: 5/4 of the crop, so that most crops show what the photo's labels say."""
    return round(crop_size * 5 / 4)


def steps(photos: int, batch_size: int, passes: float, least: int, most: int) -> int:
    """Training steps: ``passes`` times over the photos, between ``least`` and ``most``, in whole tens.

    ``batch_size`` is that of all devices together, as in ``first_step``: see ``step_crops``.
    """
    wanted = passes * photos / batch_size
    return round(min(max(wanted, least), most) / 10) * 10


def first_step(photos: int, batch_size: int, max_steps: int) -> int:
    """Step of the first pixel labels: 1.25 times over the photos, between a tenth and five eighths of all steps.

    However few photos there are, it is not before ``LEAST_CLASS_STEPS`` or four tenths of all steps.
    """
    max_steps = max(1, max_steps)  # a number below is refused by its name
    least = max(max_steps / 10, min(LEAST_CLASS_STEPS, max_steps * 4 / 10))
    return round(min(max(1.25 * photos / batch_size, least), max_steps * 5 / 8))


def walk_first_step(first: int, max_steps: int) -> int:
    """Step of the first labels from the walk: a fifth of all steps after the first labels."""
    return first + max(0, round(max_steps / 5))


def warmup_steps(max_steps: int) -> int:
    """1,500 of 20,000 steps."""
    return max(0, round(max_steps * 0.075))


def part(whole: int, parts: int) -> int:
    """One of so many equal parts of the steps, at least one step."""
    return max(1, round(whole / parts))
