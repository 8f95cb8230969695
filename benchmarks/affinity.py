"""The affinity's window form: beside the dense form in ``make bench``, and alone up to 100,000 tokens.

    python -m benchmarks --only affinity
    python -m benchmarks.affinity 1024 2304 10000 30000 100000
    python -m benchmarks.affinity 1024 2304 10000 --form dense

Queries and keys are as wide as those of MiT-B1, the radius is 8.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from afa_wsss.losses.affinity import affinity_loss, window_affinity_loss
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels, locality_mask
from afa_wsss.ops.random_walk import propagate, transition_matrix
from afa_wsss.ops.window_affinity import window_walk
from afa_wsss.types import IGNORE_INDEX
from benchmarks.measure import Ways, peak_of, seconds_of

WIDTH, RADIUS, CLASSES = 1024, 8, 6
"""Channels of two blocks of 8 heads; maps of two classes and the background at two background scores."""


class Inputs(NamedTuple):
    """Tokens of ``images`` square grids."""

    affinity: TokenAffinity
    labels: TokenLabels
    scores: Tensor


def inputs(images: int, side: int) -> Inputs:
    """Random vectors, labels in patches of 4 x 4 tokens, some of them unknown, and class scores."""
    torch.manual_seed(0)
    parts = [0.1 * torch.randn(images, side * side, WIDTH) for _ in range(2)]
    affinity = TokenAffinity(parts[0].requires_grad_(), parts[1].requires_grad_(), torch.zeros(1, requires_grad=True))
    patches = torch.tensor([0, 1, IGNORE_INDEX])[torch.randint(0, 3, (images, side // 4 + 1, side // 4 + 1))]
    tokens = patches.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :side, :side].to(torch.uint8).contiguous()
    return Inputs(affinity, TokenLabels(tokens, RADIUS), torch.rand(images, CLASSES, side, side))


def dense_loss(given: Inputs) -> tuple[Tensor, ...]:
    """The loss from all pairs, and its gradients."""
    loss = affinity_loss(given.affinity.dense(), given.labels.dense())
    return (loss.detach(), *torch.autograd.grad(loss, [*given.affinity]))


def window_loss(given: Inputs) -> tuple[Tensor, ...]:
    """The loss from tiles, and its gradients."""
    loss = window_affinity_loss(given.affinity, given.labels)
    return (loss.detach(), *torch.autograd.grad(loss, [*given.affinity]))


@torch.no_grad()
def dense_walk(given: Inputs) -> tuple[Tensor, ...]:
    """A step of the walk by the matrix of all pairs."""
    near = locality_mask(*given.scores.shape[-2:], radius=RADIUS)
    return (propagate(given.scores, transition_matrix(given.affinity.dense(), mask=near)),)


@torch.no_grad()
def tiled_walk(given: Inputs) -> tuple[Tensor, ...]:
    """A step of the walk by tiles."""
    return (window_walk(given.scores, given.affinity, radius=RADIUS),)


FORMS: dict[str, dict[str, Callable[[Inputs], tuple[Tensor, ...]]]] = {
    "dense": {"loss and gradients": dense_loss, "walk": dense_walk},
    "window": {"loss and gradients": window_loss, "walk": tiled_walk},
}


def both_forms(job: str, side: int) -> Ways:
    """The dense form as the textbook's way, the window form as ours; four images."""
    given = inputs(4, side)
    return Ways(partial(FORMS["dense"][job], given), partial(FORMS["window"][job], given), _differ)


def _differ(dense: tuple[Tensor, ...], window: tuple[Tensor, ...]) -> str:
    values = float((dense[0] - window[0]).abs().max())
    if len(dense) == 1:
        return f"largest difference {values:.1e}"
    pairs = zip(dense[1:3], window[1:3], strict=True)  # of queries and keys
    gradients = max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)
    return f"values {values:.1e}, gradients {gradients:.1e} of the largest"


def cost(form: str, job: str, tokens: int) -> str:
    """Seconds of a second call and peak MiB of the first one, for one image."""
    run = partial(FORMS[form][job], inputs(1, math.isqrt(tokens)))
    peak = peak_of(run) / 2**20
    return f"{seconds_of(run)[0]:.3g} {peak:.0f}"


def main() -> None:
    """Prints a row for each number of tokens, each cost from a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tokens", nargs="+", type=int, help="rounded up to a square")
    parser.add_argument("--form", choices=list(FORMS), default="window")
    parser.add_argument("--job", choices=list(FORMS["window"]), help="print the cost of one job alone")
    settings = parser.parse_args()
    write = Console(highlight=False, soft_wrap=True).print
    if settings.job:
        write(cost(settings.form, settings.job, settings.tokens[0]))
        return
    jobs = list(FORMS[settings.form])
    write(f"{settings.form} form, torch {torch.__version__}, {torch.get_num_threads()} threads")
    write("| tokens | " + " | ".join(f"{job}, s | {job}, MiB | KiB per token" for job in jobs) + " |")
    write("| --- " * (1 + 3 * len(jobs)) + "|")
    for tokens in (math.ceil(math.sqrt(number)) ** 2 for number in settings.tokens):
        cells = [f"{tokens:,}"]
        for job in jobs:
            command = [sys.executable, "-m", "benchmarks.affinity", str(tokens), "--form", settings.form, "--job", job]
            seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            cells += [seconds, peak, f"{1024 * float(peak) / tokens:.1f}"]
        write(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
