"""mIoU of CAM, CAM and PAR, walk, walk and PAR at every background score, from a finished checkpoint.

    python -m benchmarks.real sweep --checkpoint outputs/run/checkpoints/last.ckpt --root photos --limit 100
    python -m benchmarks.real sweep --checkpoint last.ckpt --root photos --alpha 2 8 --walk-steps 1 3 --json found.json

The network sees each photo once; every walk that is asked for starts from the same maps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from afa_wsss.api.checkpoints import Checkpoint, read_checkpoint
from afa_wsss.api.settings import changed
from afa_wsss.data.loading.held_out import HeldOut, held_out
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.errors import UserError
from afa_wsss.models import AFA
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.label_race import race
from afa_wsss.supervision.label_sweep import STAGES, Study
from benchmarks.real.sweep_tables import show, write_json

SCORES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, *(round(0.05 * step, 2) for step in range(1, 20)))
"""Background scores that are tried: every 0.05, and finer where PAR's labels of sharp maps change most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoint, photos, and what to vary."""
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--root", help="the data; without it that of the checkpoint")
    parser.add_argument("--split", help="without it the validation split of the checkpoint, or val")
    parser.add_argument("--limit", type=int, help="so many held-out photos, evenly spread")
    parser.add_argument("--scores", type=float, nargs="+", default=SCORES, help="background scores to try")
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--scales", type=float, nargs="+", help="of the CAMs; without it those of the checkpoint")
    parser.add_argument("--alpha", type=float, nargs="+", help="powers of the affinity")
    parser.add_argument("--radius", type=int, nargs="+", help="windows of the walk, in tokens; 0 for all pairs")
    parser.add_argument("--walk-steps", type=int, nargs="+")
    parser.add_argument("--pairs", type=float, nargs="+", metavar="SCORE", help="low high low high ... to show")
    parser.add_argument("--json", type=Path, help="a file for every number")


def run(settings: argparse.Namespace) -> None:
    """Sweeps, prints and writes."""
    check(settings)
    checkpoint = read_checkpoint(settings.checkpoint)
    study, photos = study_of(settings, checkpoint), held_out_set(settings, checkpoint)
    total = len(photos) if settings.limit is None else min(settings.limit, len(photos))
    shown = track(held_out(photos, settings.limit), description="photos", total=total, transient=True)
    found = sweep(checkpoint.network(), study, shown)
    show(found, study.scores, pairs=settings.pairs, photos=total)
    if settings.json is not None:
        write_json(settings.json, found, study.scores, checkpoint=settings.checkpoint, photos=total)


def check(settings: argparse.Namespace) -> None:
    """Checks the numbers before anything is read.

    Raises:
        UserError: For background scores outside of [0, 1], an odd number of them as pairs, or no photos.
    """
    given = [*settings.scores, *(settings.pairs or [])]
    if not all(0 <= score <= 1 for score in given):
        raise UserError(f"need background scores between 0 and 1, got {', '.join(f'{score:g}' for score in given)}")
    if len(settings.pairs or []) % 2:
        raise UserError(f"need --pairs low high low high ..., got {len(settings.pairs)} numbers")
    if settings.limit is not None and settings.limit < 1:
        raise UserError(f"need --limit of at least 1, got {settings.limit}")


def study_of(settings: argparse.Namespace, checkpoint: Checkpoint) -> Study:
    """The settings of the checkpoint with those that are given; AFA's own for another label maker."""
    stored = checkpoint.label_maker()
    maker = stored if isinstance(stored, AFALabels) else AFALabels()
    maker = maker if settings.scales is None else replace(maker, cam_scales=tuple(settings.scales))
    radii = [radius or None for radius in settings.radius or [maker.walk_radius or maker.radius]]
    choices = {"alpha": settings.alpha or [maker.alpha], "radius": radii}
    choices["walk_steps"] = settings.walk_steps or [maker.walk_steps]
    varied = [name for name, values in choices.items() if len(values) > 1]
    walks = {}
    for values in product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        title = " ".join(["walk", *(f"{name}={chosen[name]}" for name in varied)])
        walks[title] = replace(maker, **chosen, walk_radius=None)
    return Study(maker, walks, sorted(settings.scores), settings.stages)


def held_out_set(settings: argparse.Namespace, checkpoint: Checkpoint) -> EvalSet:
    """The validation split of the checkpoint, or what is given instead."""
    stored = checkpoint.settings()
    split = settings.split or stored.data.val_split or "val"
    data = changed(stored, data={"root": settings.root, "val_split": split}, inference={}).data
    return EvalSet(data.open_split("val", with_masks=True), max_side=data.max_side)


@torch.inference_mode()
def sweep(network: AFA, study: Study, photos: Iterator[HeldOut]) -> dict[str, Tensor]:
    """Confusion matrices (t, c, c) of each stage, summed over the photos."""
    tallies = race(network, study, photos, total=0, own="", keep=len(study.walks))
    return {name: tally.total for name, tally in tallies.items()}
