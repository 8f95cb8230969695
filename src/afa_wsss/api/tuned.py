"""What a comparison of label settings found: the best of them, as words to paste, and what to expect of few masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from afa_wsss.data.files.whole import whole_file
from afa_wsss.errors import UserError
from afa_wsss.evaluation.label_counts import best_pair
from afa_wsss.evaluation.resampled import Expected, PhotoCounts, bootstrap_spread, expected
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.afa import BETTER
from afa_wsss.supervision.label_race import Tally
from afa_wsss.supervision.label_sweep import REFINED, Study


class Choice(NamedTuple):
    """A stage at one background score.

    Attributes:
        name: Name of the stage; a walk is named by its settings.
        background: Background score.
        miou: In percent.
        photos: How many photos it was compared on.
    """

    name: str
    background: float
    miou: float
    photos: int


class Found(NamedTuple):
    """What was found.

    Attributes:
        photos: Photos with masks.
        before: Labels from the CAM, and after the walk, with the settings of the checkpoint.
        best: The best of both, each refined or not as is best.
        walks: Every walk at its best background score; the best first, those on all photos before others.
        spread: What 90 of 100 samples of as many photos give the best walk.
        expected: What the masks of few photos lead to.
        words: Words of ``afa-train`` for the better of ``best``: labels from the CAM, or after the walk.
    """

    photos: int
    before: tuple[Choice, Choice]
    best: tuple[Choice, Choice]
    walks: tuple[Choice, ...]
    spread: tuple[float, float]
    expected: tuple[Expected, ...]
    words: tuple[str, ...]

    @property
    def leaves_out_walk(self) -> bool:
        """Whether labels from the CAM are better than those after the best walk."""
        cam, walk = self.best
        return cam.miou > walk.miou


def found_of(
    study: Study,
    tallies: Mapping[str, Tally],
    *,
    own: str,
    labeled: float,
    masks: Sequence[int],
    max_steps: int | None = None,
) -> Found:
    """The best settings, beside those of the checkpoint.

    Args:
        study: What was compared.
        tallies: By stage.
        own: Title of the checkpoint's walk.
        labeled: Least share of the pixels, in percent, that low and high leave labeled.
        masks: Numbers of photos to say what to expect from; those that leave no photo to score on are left out.
        max_steps: Steps of the run; None where they are not known.

    Raises:
        UserError: Where no pixel of any mask counts.
    """
    if not tallies[own].total.any():
        raise UserError(
            "need masks that show classes or background, got 255 in every pixel of every mask; fix the masks, or give "
            "another split",
            arguments=("data.val_split",),
        )
    end = REFINED if f"{own}{REFINED}" in tallies else ""
    photos = len(tallies[own].photos)
    walks = [_best_of(name, tallies[name], study.scores) for name in tallies if not name.startswith("cam")]
    walks.sort(key=lambda choice: (-choice.photos, -choice.miou))
    best = walks[0]
    cams = [_best_of(name, tallies[name], study.scores) for name in tallies if name.startswith("cam")]
    cam = max(cams, key=lambda choice: choice.miou)
    maker = study.maker
    before = (
        _choice("cam_par" if end else "cam", tallies, study.scores, maker.cam_thresholds.background),
        _choice(f"{own}{end}", tallies, study.scores, maker.walk_thresholds.background),
    )
    counts, settings = photo_counts(tallies, study.scores, photos)
    given = settings.index((before[1].name, before[1].background))
    chosen = settings.index((best.name, best.background))
    draws = [expected(counts, count, given=given) for count in sorted(set(masks)) if count < photos]
    spread = bootstrap_spread(counts, chosen)
    found = Found(photos, before, (cam, best), tuple(walks), spread, tuple(draws), ())
    if not found.leaves_out_walk:  # both are refined alike then: the setting is one
        cam = next(choice for choice in cams if choice.name.endswith("_par") == best.name.endswith(REFINED))
    walk = None if found.leaves_out_walk else best
    return found._replace(words=words_of(study, tallies, cam, walk, labeled=labeled, max_steps=max_steps))


def _best_of(name: str, tally: Tally, scores: Sequence[float]) -> Choice:
    values = tally.miou().nan_to_num()
    place = int(values.argmax())
    return Choice(name, scores[place], float(values[place]), len(tally.photos))


def _choice(name: str, tallies: Mapping[str, Tally], scores: Sequence[float], background: float) -> Choice:
    """A stage at the score nearest to ``background``."""
    place = min(range(len(scores)), key=lambda index: abs(scores[index] - background))
    return Choice(name, scores[place], float(tallies[name].miou()[place]), len(tallies[name].photos))


def photo_counts(
    tallies: Mapping[str, Tally], scores: Sequence[float], photos: int
) -> tuple[PhotoCounts, list[tuple[str, float]]]:
    """Counts of each photo under every walk that was compared on all photos, and those settings: stage and score."""
    names = [name for name, tally in tallies.items() if not name.startswith("cam") and len(tally.photos) == photos]
    hits = torch.stack([torch.cat([tallies[name].photos[n][0] for name in names]) for n in range(photos)])
    labeled = torch.stack([torch.cat([tallies[name].photos[n][1] for name in names]) for n in range(photos)])
    targets = torch.stack([tallies[names[0]].photos[n][2] for n in range(photos)])
    return PhotoCounts(hits, labeled, targets), [(name, score) for name in names for score in scores]


def words_of(
    study: Study,
    tallies: Mapping[str, Tally],
    cam: Choice,
    walk: Choice | None,
    *,
    labeled: float,
    max_steps: int | None = None,
) -> tuple[str, ...]:
    """The settings of both choices as words of ``afa-train``; without a walk, those that leave it out.

    Beside them stand those without which the run of the checkpoint would not take these labels.
    """
    maker, words = study.maker, list[str]()
    for prefix, choice in (("", cam), *([] if walk is None else [("walk_", walk)])):
        total = tallies[choice.name].total
        low, high = best_pair(total, study.scores, choice.background, labeled=labeled)
        for name, value in (("low", low), ("high", high), ("background", choice.background)):
            words.append(f"{prefix}{name}={value:g}")
    if walk is None:
        own = ("walk_low", "walk_high", "walk_background")
        words += [f"{name}=null" for name in own if getattr(maker, name) is not None] + ["walk_first_step=null"]
    else:
        words += walk.name.removesuffix(REFINED).split()
        words += [f"walk_first_step={_walk_begin(maker, max_steps)}"] if maker.walk_first_step is None else []
    words += ["walk_when=always"] if maker.walk_when == BETTER else []
    words += ["auto_from=photos"] if maker.learns_from_masks else []  # nothing is left to be found
    if "walk_par" in study.stages and not (walk or cam).name.endswith("par"):
        words.append("refinement=none")
    return tuple(f"supervision.{word}" for word in words)


def _walk_begin(maker: AFALabels, max_steps: int | None) -> int:
    """A first step of the walk for a run without one: three times that of the labels, as in the paper; within it."""
    paper = 3 * maker.first_step
    return paper if max_steps is None else max(maker.first_step, min(paper, max_steps // 2))


def write_tuned(folder: Path, found: Found, study: Study, tallies: Mapping[str, Tally]) -> Path:
    """Writes ``tune.json``: what was found, and the mIoU of every stage at every background score."""
    stages = {
        name: {"photos": len(tally.photos), "miou": [round(value, 3) for value in tally.miou().nan_to_num().tolist()]}
        for name, tally in tallies.items()
    }
    content: dict[str, Any] = {
        "photos": found.photos,
        "words": found.words,
        "before": [choice._asdict() for choice in found.before],
        "best": [choice._asdict() for choice in found.best],
        "spread": found.spread,
        "expected": [each._asdict() for each in found.expected],
        "background": list(study.scores),
        "stages": stages,
    }
    path = folder / "tune.json"
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path
