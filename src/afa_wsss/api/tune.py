"""Compares settings of the labels on a finished checkpoint, without training: the network sees each photo once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from afa_wsss.api.checkpoints import Checkpoint, read_checkpoint
from afa_wsss.api.device import find_device
from afa_wsss.api.evaluate import check_classes, held_out_root
from afa_wsss.api.settings import DATA_CHANGES, changed
from afa_wsss.api.tuned import Found, found_of, write_tuned
from afa_wsss.data.loading.held_out import HeldOut, chosen, held_out
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.errors import UserError, argument
from afa_wsss.supervision import AFALabels, NoRefinement
from afa_wsss.supervision.label_race import race
from afa_wsss.supervision.label_sweep import Study
from afa_wsss.supervision.score_curves import CANDIDATES

ALPHAS, STEPS = (1.0, 2.0, 4.0, 8.0), (1, 3, 8)
"""Powers of the affinity and steps of the walk that are tried beside those of the checkpoint."""

Progress = Callable[[Iterable[HeldOut], int], Iterable[HeldOut]]
"""Shows how far it is: the photos, and how many there are."""


@dataclass(frozen=True)
class TuneSettings:
    """What is compared, and on which photos.

    Attributes:
        checkpoint: File of a run, or of the official code.
        output_dir: Folder for ``tune.json``.
        data: Other data than the checkpoint was trained with; the photos of ``val_split`` need masks.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        limit: So many photos, evenly spread; None for all.
        scores: Background scores.
        walk_radius: Windows of the walk in tokens; None for that of the checkpoint.
        alpha: Powers of the affinity; None for ``ALPHAS`` and that of the checkpoint.
        walk_steps: Steps of the walk; None for ``STEPS`` and those of the checkpoint.
        keep: Walks that are compared on all photos, with that of the checkpoint; the others drop out on the way.
        labeled: Least share of the pixels, in percent, that ``low`` and ``high`` leave labeled.
        masks: Numbers of photos with masks to say what to expect from.
    """

    checkpoint: str
    output_dir: str = "outputs/tune"
    data: dict[str, Any] = field(default_factory=dict, metadata=DATA_CHANGES)
    device: str = "auto"
    limit: int | None = None
    scores: tuple[float, ...] = CANDIDATES
    walk_radius: tuple[int, ...] | None = None
    alpha: tuple[float, ...] | None = None
    walk_steps: tuple[int, ...] | None = None
    keep: int = 3
    labeled: float = 90.0
    masks: tuple[int, ...] = (10, 50)

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            UserError: For numbers out of range.
        """
        if not self.scores or not all(0 <= score <= 1 for score in self.scores):
            raise UserError(f"need scores between 0 and 1, got {list(self.scores)}", arguments=("scores",))
        least = {"limit": self.limit, "keep": self.keep, "masks": min(self.masks, default=1)}
        for name, value in least.items():
            if value is not None and value < 1:
                raise UserError(f"need {name} of at least 1, got {value}", arguments=(name,))
        if not 0 < self.labeled <= 100:
            raise UserError(f"need a share above 0 and at most 100, got {self.labeled:g}", arguments=("labeled",))


class Tuned(NamedTuple):
    """What was found, and ``tune.json`` with every number."""

    found: Found
    written: Path


def tune(settings: TuneSettings, *, progress: Progress = lambda photos, _: photos) -> Tuned:
    """Compares background scores, walks and refinement, and writes ``tune.json``.

    Raises:
        UserError: For a checkpoint or data that cannot be read, photos without masks, and a label maker other than
            ``AFALabels``.
    """
    with argument("checkpoint"):
        checkpoint = read_checkpoint(settings.checkpoint)
        maker = checkpoint.label_maker()
        if not isinstance(maker, AFALabels):
            raise UserError(f"need a checkpoint with the label maker AFALabels, got {type(maker).__name__}")
    photos = _open(settings, checkpoint)
    study, own = study_of(settings, maker)
    total = len(chosen(len(photos), settings.limit))
    device = find_device(settings.device)
    network = checkpoint.network().to(device)
    shuffled = progress(held_out(photos, settings.limit, shuffled=True), total)
    shown = (on_device(photo, device) for photo in shuffled)
    tallies = race(network, study, shown, total=total, own=own, keep=settings.keep)
    steps = (checkpoint.config.get("trainer") or {}).get("max_steps")
    found = found_of(study, tallies, own=own, labeled=settings.labeled, masks=settings.masks, max_steps=steps)
    return Tuned(found, write_tuned(Path(settings.output_dir), found, study, tallies))


def on_device(photo: HeldOut, device: torch.device) -> HeldOut:
    """The photo where the network is."""
    batch = photo.batch
    moved = {name: getattr(batch, name).to(device) for name in ("images", "image_labels", "boxes")}
    return HeldOut(batch._replace(**moved), photo.target.to(device))


def _open(settings: TuneSettings, checkpoint: Checkpoint) -> EvalSet:
    """The held-out photos with masks.

    Raises:
        UserError: Where there are none, or they have other classes than the checkpoint.
    """
    data = changed(checkpoint.settings(), data=settings.data, inference={}).data
    with argument("data"):
        root = held_out_root(data)
        split = data.open_split("val", with_masks=True)
        check_classes(checkpoint.class_names, split.class_names, root=root)
    return EvalSet(split, max_side=data.max_side)


def study_of(settings: TuneSettings, maker: AFALabels) -> tuple[Study, str]:
    """What is compared, and the title of the checkpoint's own walk.

    Raises:
        UserError: For a single background score.
    """
    own = walk_title(maker)
    choices: dict[str, tuple[Any, ...]] = {
        "walk_radius": settings.walk_radius or (maker.walk_radius or maker.radius,),
        "alpha": settings.alpha or (maker.alpha, *ALPHAS),
        "walk_steps": settings.walk_steps or (maker.walk_steps, *STEPS),
    }
    walks = {own: maker}
    for values in product(*choices.values()):
        other = replace(maker, **dict(zip(choices, values, strict=True)))
        walks.setdefault(walk_title(other), other)
    backgrounds = (maker.cam_thresholds.background, maker.walk_thresholds.background)
    scores = sorted({round(float(score), 4) for score in (*settings.scores, *backgrounds)})
    if len(scores) < 2:
        raise UserError(
            f"need two background scores to choose low and high from, got {scores[0]:g} alone, which is also the "
            "checkpoint's; add others",
            arguments=("scores",),
        )
    refined = not isinstance(maker.refinement, NoRefinement)
    return Study(maker, walks, scores, ("cam", "cam_par", "walk", "walk_par") if refined else ("cam", "walk")), own


def walk_title(maker: AFALabels) -> str:
    """The settings of a walk as words of its own."""
    radius = maker.walk_radius or maker.radius
    return f"walk_radius={radius or 'null'} alpha={maker.alpha:g} walk_steps={maker.walk_steps}"
