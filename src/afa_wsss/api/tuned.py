"""What a comparison of label settings found: the best of them, as words to paste, and what to expect of few masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from afa_wsss.data.files.whole import whole_file
from afa_wsss.evaluation.label_counts import best_pair
from afa_wsss.evaluation.resampled import Expected, PhotoCounts, bootstrap_spread, expected
from afa_wsss.supervision.label_race import Tally
from afa_wsss.supervision.label_sweep import Study

REFINED = "+par"


class Choice(NamedTuple):
    """A stage at one background score.

    Attributes:
        name: Of the stage; a walk by its settings.
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
        best: The best of both, refined alike.
        walks: Every walk at its best background score; the best first, those on all photos before others.
        spread: What 90 of 100 samples of as many photos give the best walk.
        expected: What the masks of few photos lead to.
        words: The best settings as words of ``afa-train``.
    """

    photos: int
    before: tuple[Choice, Choice]
    best: tuple[Choice, Choice]
    walks: tuple[Choice, ...]
    spread: tuple[float, float]
    expected: tuple[Expected, ...]
    words: tuple[str, ...]


def found_of(study: Study, tallies: Mapping[str, Tally], *, own: str, labelled: float, masks: Sequence[int]) -> Found:
    """The best settings, beside those of the checkpoint.

    Args:
        study: What was compared.
        tallies: By stage.
        own: Title of the checkpoint's walk.
        labelled: Least share of the pixels, in percent, that low and high leave labelled.
        masks: Numbers of photos to say what to expect from; those that leave no photo to score on are left out.
    """
    end = REFINED if f"{own}{REFINED}" in tallies else ""
    photos = len(tallies[own].photos)
    walks = [_best_of(name, tallies[name], study.scores) for name in tallies if not name.startswith("cam")]
    walks.sort(key=lambda choice: (-choice.photos, -choice.miou))
    best = walks[0]
    cam_name = "cam_par" if best.name.endswith(REFINED) else "cam"
    cam = _best_of(cam_name, tallies[cam_name], study.scores)
    maker = study.maker
    before = (
        _choice("cam_par" if end else "cam", tallies, study.scores, maker.cam_thresholds.background),
        _choice(f"{own}{end}", tallies, study.scores, maker.walk_thresholds.background),
    )
    counts, settings = photo_counts(tallies, study.scores, photos)
    given = settings.index((before[1].name, before[1].background))
    chosen = settings.index((best.name, best.background))
    draws = [expected(counts, count, given=given) for count in sorted(set(masks)) if count < photos]
    words = words_of(study, tallies, cam, best, labelled=labelled)
    return Found(photos, before, (cam, best), tuple(walks), bootstrap_spread(counts, chosen), tuple(draws), words)


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
    labelled = torch.stack([torch.cat([tallies[name].photos[n][1] for name in names]) for n in range(photos)])
    targets = torch.stack([tallies[names[0]].photos[n][2] for n in range(photos)])
    return PhotoCounts(hits, labelled, targets), [(name, score) for name in names for score in scores]


def words_of(
    study: Study, tallies: Mapping[str, Tally], cam: Choice, walk: Choice, *, labelled: float
) -> tuple[str, ...]:
    """The settings of both choices as words of ``afa-train``."""
    words = []
    for prefix, choice in (("", cam), ("walk_", walk)):
        total = tallies[choice.name].total
        low, high = best_pair(total, study.scores, choice.background, labelled=labelled)
        for name, value in (("low", low), ("high", high), ("background", choice.background)):
            words.append(f"supervision.{prefix}{name}={value:g}")
    words += [f"supervision.{word}" for word in walk.name.removesuffix(REFINED).split()]
    if "walk_par" in study.stages and not walk.name.endswith(REFINED):
        words.append("supervision.refinement=none")
    return tuple(words)


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
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
