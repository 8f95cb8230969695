"""Background scores that are found without masks beside the best ones: mIoU and color split at every candidate.

    python -m benchmarks.real thresholds --checkpoint outputs/run/checkpoints/last.ckpt --root photos --limit 60
    python -m benchmarks.real thresholds --checkpoint last.ckpt --root photos --crops 160 --chart thresholds.png

Held-out photos, or crops of them that are cut as in training, stand in for training crops, so that there are masks to
compare with; what is found reads none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from afa_wsss.api.checkpoints import read_checkpoint
from afa_wsss.data.loading.held_out import HeldOut, held_out
from afa_wsss.data.loading.sets import EvalSet, TrainSet, collate
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.data.loading.transforms import TrainTransform
from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_counts import confusions, curve
from afa_wsss.models import AFA
from afa_wsss.ops.full_size import enlarge_labels
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import argmax_labels
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.candidates import look_at_candidates
from afa_wsss.supervision.found_thresholds import KINDS, FoundThresholds, Look
from afa_wsss.supervision.maps import Maps
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.supervision.scores import Walk, cam_scores, walk_scores
from afa_wsss.types import Batch
from benchmarks.real.sweep import held_out_set

TITLES = {"cam": "CAM + PAR", "walk": "walk + PAR"}


class Found(NamedTuple):
    """Curves over ``CANDIDATES`` of both kinds of labels, and what ``auto`` finds in them.

    Attributes:
        miou: In percent.
        splits: Mean color split, without masks.
        memory: Has looked at every photo once, each with the same weight.
        learned: What the training of the checkpoint found; None where it found nothing.
    """

    miou: dict[str, Float[Tensor, " t"]]
    splits: dict[str, Float[Tensor, " t"]]
    memory: FoundThresholds
    learned: FoundThresholds | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoint, photos, chart."""
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--root", help="the data; without it that of the checkpoint")
    parser.add_argument("--split", help="without it the validation split of the checkpoint, or val")
    parser.add_argument("--limit", type=int, help="so many held-out photos, evenly spread")
    parser.add_argument("--crops", type=int, help="so many random crops in place of whole photos")
    parser.add_argument("--scales", type=float, nargs="+", help="of the CAMs; without it those of the checkpoint")
    parser.add_argument("--chart", type=Path, help="a PNG with the curves")


def run(settings: argparse.Namespace) -> None:
    """Compares, prints and draws."""
    checkpoint = read_checkpoint(settings.checkpoint)
    maker = checkpoint.label_maker()
    if not isinstance(maker, AFALabels):
        raise UserError(f"need a checkpoint with the label maker AFALabels, got {type(maker).__name__}")
    learned = maker.memory
    maker = replace(maker, cam_scales=tuple(settings.scales)) if settings.scales else maker
    photos = held_out_set(settings, checkpoint)
    if settings.crops is None:
        total = min(settings.limit or len(photos), len(photos))
        seen = held_out(photos, settings.limit)
    else:
        total, seen = settings.crops, random_crops(photos, checkpoint.settings().data, settings.crops)
    shown = track(seen, description="thresholds", total=total)
    found = compare(checkpoint.network(), maker, shown)._replace(learned=learned)
    Console().print(table(found))
    if settings.chart is not None:
        draw(found, settings.chart)


def random_crops(photos: EvalSet, data: DataSettings, count: int) -> Iterator[HeldOut]:
    """Crops of the held-out photos, cut as those of training, with what their masks show."""
    cut = TrainSet(photos.dataset, TrainTransform(data), seed=0, max_side=photos.max_side, with_masks=True)
    order = np.random.default_rng(0).permutation(len(cut)).tolist()
    for number in range(count):
        epoch, place = divmod(number, len(cut))
        batch = collate([cut[epoch, order[place]]])
        if batch.masks is None:
            raise UserError(f"need a mask of every held-out photo, {batch.names[0]} has none")
        yield HeldOut(batch, batch.masks[0])


@torch.no_grad()
def compare(network: AFA, maker: AFALabels, photos: Iterable[HeldOut]) -> Found:
    """Looks at every photo that has a class."""
    classes = network.num_classes + 1
    counts = {kind: torch.zeros(len(CANDIDATES), classes, classes, dtype=torch.long) for kind in KINDS}
    looks: dict[str, list[Look]] = {kind: [] for kind in KINDS}
    for batch, target in photos:
        if not batch.image_labels.any():
            continue
        images = normalize(batch.images)
        maps = maker.maps(network, batch, images, network(images))
        for kind, walk in (("cam", None), ("walk", maker.walk_on(maps.grid))):
            labels = enlarge_labels(labels_of(maps, batch, maker, walk), target.shape)
            counts[kind] += confusions(labels, target, classes=classes)
            looks[kind].append(look_at_candidates(maps, batch, refinement=maker.refinement, walk=walk))
    cam, walk_look = (
        Look(torch.cat([look.splits for look in looks[kind]]), torch.cat([look.shares for look in looks[kind]]))
        for kind in KINDS
    )
    memory = FoundThresholds()
    memory.update(cam, walk_look)
    splits = {"cam": cam.splits.mean(dim=0), "walk": walk_look.splits.mean(dim=0)}
    return Found({kind: curve(counts[kind]) for kind in KINDS}, splits, memory)


def labels_of(maps: Maps, batch: Batch, maker: AFALabels, walk: Walk | None) -> UInt8[Tensor, "t H W"]:
    """Refined labels of one photo at each candidate."""
    refiner = maker.refinement.refiner(batch.images.float() / 255, batch.boxes, full_frames=batch.full_frames)
    present = maps.present.labels
    if walk is None:
        scores = cam_scores(maps.cam, present, CANDIDATES, refiner=refiner)
    else:
        moved = walk_scores(maps.cam, maps.affinity, present, CANDIDATES, walk=walk)
        scores = refiner.refine_each(moved, in_boxes=True)
    return torch.cat([maps.present.named(argmax_labels(each)) for each in scores])


def loss_of(found: Found, kind: str, memory: FoundThresholds) -> tuple[float, float, float]:
    """The score that was found, and the mIoU of its labels (between candidates on a line) and of the best ones."""
    score = memory.values(kind).background
    miou = found.miou[kind].nan_to_num()
    return score, float(np.interp(score, CANDIDATES, miou.numpy())), float(miou.max())


def table(found: Found) -> Table:
    """Both curves of both kinds, and what ``auto`` takes."""
    lines = Table("background score", *(f"{TITLES[kind]} {what}" for kind in KINDS for what in ("mIoU", "split")))
    for index, score in enumerate(CANDIDATES):
        values = [f"{curves[kind][index]:.{digits}f}" for kind in KINDS for curves, digits in _curves(found)]
        lines.add_row(f"{score:g}", *values)
    lines.add_section()
    for kind in KINDS:
        score, taken, best = loss_of(found, kind, found.memory)
        low, high, _ = found.memory.values(kind)
        text = (
            f"{TITLES[kind]}: auto takes {score:.3f} (low {low:.3f}, high {high:.3f}): {taken:.1f}, at best {best:.1f}"
        )
        if found.learned is not None:
            own, taken, _ = loss_of(found, kind, found.learned)
            text += f"; in training it took {own:.3f}: {taken:.1f}"
        lines.caption = f"{lines.caption or ''}\n{text}".strip()
    before, after = found.memory.best.tolist()
    taken = "labels are from the walk" if found.memory.walk_is_better else "labels are from the CAM"
    lines.caption += f"\nsplit at these scores: {before:.3f} before the walk, {after:.3f} after it: {taken}"
    return lines


def _curves(found: Found) -> tuple[tuple[Mapping[str, Tensor], int], tuple[Mapping[str, Tensor], int]]:
    return (found.miou, 1), (found.splits, 3)


def draw(found: Found, path: Path) -> None:
    """Both curves over the background score, one drawing for each kind of labels."""
    figure, axes = plt.subplots(1, len(KINDS), figsize=(9, 3.2), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        splits = found.splits[kind] / found.splits[kind].max().clamp(min=1e-9)
        axis.plot(CANDIDATES, found.miou[kind].numpy(), color="#0b6e99", label="mIoU in percent")
        axis.plot(CANDIDATES, 100 * splits.numpy(), color="#b3541e", linestyle="--", label="color split, best = 100")
        low, high, background = found.memory.values(kind)
        axis.axvspan(low, high, color="#888888", alpha=0.18, linewidth=0, label="low to high")
        axis.axvline(background, color="#444444", linewidth=1, label="background")
        axis.set(title=TITLES[kind], xlabel="background score", xlim=(0, 1), ylim=(0, 105))
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
