"""What can go wrong while a network learns: conditions on the scores of validation, each with the setting to change.

Scores that are missing or NaN raise no warning. Limits are chosen so that the demo and healthy runs on photos stay
silent; each says how far they are from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from afa_wsss.report.image_labels import IOU, PHOTOS, PREDICTED
from afa_wsss.report.run import RunInfo
from afa_wsss.report.stages import BRANCH, stage_key, stage_title
from afa_wsss.report.warning import RunWarning, listed, settings_text
from afa_wsss.types import WALK_LABELS

ALL_PHOTOS = "val/photos"
BORDER, INSIDE, OUTSIDE, EVIDENCE = "val/cam_border", "val/inside_auc", "val/outside_auc", "val/outside_evidence"
AFFINITY = "val/affinity"

PIXELS, PAIRS = "pseudo_label", "affinity_label"
"""Targets whose loss terms train the segmentation branch and the affinity."""

LEAST_PHOTOS = 5
"""Held-out photos with a class that a warning about it needs."""

FOUND = 5.0
"""A class whose IoU is at least so much, in percent, is predicted, however small its objects are in their photos."""

SPECKS = 0.01
"""Labels show a class where it has more than this share of all pixels, in percent."""

EVERYWHERE, SELDOM = 95.0, 50.0
"""A class is predicted nearly everywhere in more than the first share of the photos, in percent, while the image labels
have it in less than the second. Where both are near each other, the class is just common."""

FAR_BELOW, LEAST_GAP = 0.7, 5.0
"""The branch is worse than its labels below this part of their mIoU, and at least so many points below. The labels know
the photos' classes, so some gap is healthy: 0.83 to 0.87 in the demo, 0.93 in the paper on VOC."""

LOST_BY_WALK = 2.0
"""Labels after the walk are worse than those before it from this many points of mIoU on. In the demo they are up to one
point better, on animals 1 to 3; three seeds of the demo differ by less than one."""

AT_BORDER = 50.0
"""Share of a class's CAM mass at the border, in percent. Spread evenly it is 36, also over one half of the photo; what
surrounds an object of 30 % of the area has 51. Classes of the demo have 0 to 12."""

TOLD_OUTSIDE, AS_WELL, MOST_EVIDENCE = 90.0, 3.0, 50.0
"""Background tells a class where scores outside of its region have at least this AUC in percent, at most so many points
below those inside, and rise at least this part (in percent) of what those inside rise. In the demo that part is 0 to 1,
in small networks whose photos show the class in the background alone 60 to 80, in the object alone 10 to 30."""

SATURATED, FLAT = 95.0, 0.05
"""The affinity is saturated where more than this share of the pairs, in percent, lies below 0.01 or above 0.99, and all
pairs have less than this spread: 0.3 % of the pairs at the other end already give more. The demo has 0.44."""


def branch_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """Warnings about the segmentation branch; none before it has been trained."""
    if run.trained is not None and PIXELS not in run.trained:
        return []
    return [*_never_predicted(metrics, run), *_predicted_everywhere(metrics, run), *_worse_than_labels(metrics, run)]


def _never_predicted(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """Classes that some held-out photos have and the branch finds in none, those without labels apart."""
    zero = (name for name in _held_out(metrics, run) if metrics.get(PREDICTED + name) == 0)
    missed = [name for name in zero if not metrics.get(IOU + name, 0.0) >= FOUND]
    shown = {name: _labels_show(metrics, run, name) for name in missed}
    found = []
    for labeled in (False, True):
        names = [name for name in missed if shown[name] is labeled]
        if not names:
            continue
        counts = listed([f"{name} ({metrics[PHOTOS + name]:.0f})" for name in names])
        small = "" if "val/miou" in metrics else ", areas below a thousandth of a photo left out"
        what = f"the segmentation branch never predicts classes that held-out photos have{small}: {counts}"
        if labeled:
            weights = settings_text(run, f"loss.{_term(run, PIXELS)}.weight", "trainer.max_steps", last="or")
            line = f"{what}; labels show them: raise {weights}{_or_without_gate(run)}"
        elif run.thresholds:
            line = f"{what}; no label shows them either: lower {settings_text(run, *run.thresholds)}"
        else:
            line = f"{what}; no label shows them either: look at the pictures of the labels"
        found.append(RunWarning("never predicted", tuple(names), line))
    return found


def _labels_show(metrics: Mapping[str, float], run: RunInfo, name: str) -> bool:
    """Whether labels of the last training steps or of held-out photos show more than specks of it; yes if not known."""
    keys = (f"{labels}/class/{name}" for labels in ("train/labels", f"val/labels/{run.label_stage}"))
    shares = [metrics[key] for key in keys if key in metrics]
    return not shares or max(shares) > SPECKS


def _predicted_everywhere(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    photos = metrics.get(ALL_PHOTOS, math.nan)
    shares = {name: 100 * metrics.get(PREDICTED + name, math.nan) / photos for name in _held_out(metrics, run)}
    real = {name: 100 * metrics[PHOTOS + name] / photos for name in shares}
    names = [name for name, share in shares.items() if share > EVERYWHERE and real[name] < SELDOM]
    if not names:
        return []
    counts = [f"{name} in {shares[name]:.0f} % of the held-out photos, {real[name]:.0f} % have it" for name in names]
    them = "it" if len(names) == 1 else "them"
    line = (
        f"the segmentation branch predicts {listed(counts)}: raise {settings_text(run, 'trainer.max_steps')}, or add "
        f"photos without {them}"
    )
    return [RunWarning("predicted everywhere", tuple(names), line)]


def _worse_than_labels(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """Without masks nothing is compared."""
    made = run.label_stage
    branch, labels = metrics.get(stage_key(BRANCH), math.nan), metrics.get(stage_key(made or ""), math.nan)
    if not (branch < FAR_BELOW * labels and labels - branch >= LEAST_GAP):
        return []
    term = f"loss.{_term(run, PIXELS)}"
    higher, lower = settings_text(run, f"{term}.weight", "trainer.max_steps", last="or"), f"{term}.first_step"
    line = (
        f"the segmentation branch is far below the labels it learns from: {branch:.1f} mIoU on held-out photos, "
        f"{stage_title(made or '')} {labels:.1f}: raise {higher}, or lower {settings_text(run, lower)}"
        f"{_or_without_gate(run) or _or_with_gate(run)}"
    )
    return [RunWarning("worse than labels", (), line)]


def _or_without_gate(run: RunInfo) -> str:
    """That a class may be missing for the gate alone."""
    return f", or set {settings_text(run, 'inference.gate')} to none" if run.is_gated else ""


def _or_with_gate(run: RunInfo) -> str:
    """That the labels know the photos' classes: a gate gives the branch those that the class branch finds."""
    return f", or set {settings_text(run, 'inference.gate')} to auto"


def phase_warnings(run: RunInfo) -> list[RunWarning]:
    """Warnings where the run ends before loss terms begin, or the walk's labels; no score tells it."""
    return [*_without_terms(run), *_without_walk(run)]


def _without_terms(run: RunInfo) -> Iterator[RunWarning]:
    """That loss terms never count."""
    if not run.never_begun:
        return
    first = min(run.never_begun.values())
    starts = settings_text(run, *(f"loss.{name}.first_step" for name in run.never_begun))
    line = (
        f"{listed(list(run.never_begun))} never count: training ends before step {first}, at which they would begin: "
        f"lower {starts}, or raise {settings_text(run, 'trainer.max_steps')}"
    )
    yield RunWarning("never begun", tuple(run.never_begun), line)


def _without_walk(run: RunInfo) -> Iterator[RunWarning]:
    """That no label of the training comes from the walk, where loss terms do learn from labels before it."""
    if run.walk_never_begins is not None and "pseudo_label" in (run.trained or ()):
        line = (
            f"no label of the training comes from the walk: it ends before step {run.walk_never_begins}: lower "
            f"{settings_text(run, 'supervision.walk_first_step')}, or set it to null if that is meant, or raise "
            f"{settings_text(run, 'trainer.max_steps')}"
        )
        yield RunWarning("never begun", (WALK_LABELS,), line)


def class_branch_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """Warnings about what the class branch looks at: the border of the photos, or the background."""
    return [*_at_the_border(metrics, run), *_told_by_the_background(metrics, run)]


def _at_the_border(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    shares = {name: metrics.get(f"{BORDER}/{name}", math.nan) for name in _held_out(metrics, run)}
    names = [name for name, share in shares.items() if share > AT_BORDER]
    if not names:
        return []
    counts = listed([f"{shares[name]:.0f} % of the mass of {name}" for name in names])
    advice = settings_text(run, "data.scale", "model.pooling", last="or")
    line = (
        f"CAMs lie at the border of the photos, 36 % of the area: {counts}; if the pictures show background there, add "
        f"photos of it without the class, or change {advice}"
    )
    return [RunWarning("CAM at the border", tuple(names), line)]


def _told_by_the_background(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    names = [name for name in run.class_names if _background_tells(metrics, name)]
    if not names:
        return []
    counts = [f"{name} (AUC {_auc(metrics, OUTSIDE, name)}, inside {_auc(metrics, INSIDE, name)})" for name in names]
    advice = settings_text(run, "data.crop_size", *run.thresholds, last="or")
    line = (
        f"what lies outside of their CAMs tells classes as well as what lies inside: {listed(counts)}: add photos of "
        f"the same background without the class, or change {advice}"
    )
    return [RunWarning("recognized by the background", tuple(names), line)]


def _background_tells(metrics: Mapping[str, float], name: str) -> bool:
    inside, outside, share = (metrics.get(f"{key}/{name}", math.nan) for key in (INSIDE, OUTSIDE, EVIDENCE))
    return outside >= TOLD_OUTSIDE and outside >= inside - AS_WELL and share >= MOST_EVIDENCE


def _auc(metrics: Mapping[str, float], key: str, name: str) -> str:
    return f"{metrics[f'{key}/{name}'] / 100:.2f}"


def affinity_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """A warning where the affinity is the same for nearly all pairs; none before it has been trained."""
    if run.trained is not None and PAIRS not in run.trained:
        return []
    below, above, spread = (metrics.get(f"{AFFINITY}/{what}", math.nan) for what in ("below", "above", "spread"))
    if not (max(below, above) > SATURATED and spread < FLAT):
        return []
    end, share, limit = (0, below, "below 0.01") if below > above else (1, above, "above 0.99")
    alpha = ["supervision.alpha"] if end == 0 else []
    line = (
        f"the affinity is saturated at {end}, {share:.0f} % of the pairs of near tokens are {limit}: lower "
        f"{settings_text(run, 'optimizer.logits_lr_factor', *alpha)}, or raise "
        f"{settings_text(run, f'loss.{_term(run, PAIRS)}.weight')}"
    )
    return [RunWarning("affinity saturated", (str(end),), line)]


def walk_warnings(metrics: Mapping[str, float], run: RunInfo) -> list[RunWarning]:
    """A warning where the walk makes labels worse; none before it makes those of training, and without masks."""
    stages = list(run.stages)
    if "walk" not in stages or (run.begun is not None and WALK_LABELS not in run.begun):
        return []
    before, after = stages[max(0, stages.index("walk") - 1)], run.label_stage or "walk"
    old, new = (metrics.get(stage_key(name), math.nan) for name in (before, after))
    if not old - new >= LOST_BY_WALK:
        return []
    ways = [f"{settings_text(run, 'supervision.walk_first_step')} to null"]
    if run.config.get("supervision", {}).get("walk_when") == "always":
        ways.insert(0, f"{settings_text(run, 'supervision.walk_when')} to better")
    less = settings_text(run, "supervision.walk_radius", "supervision.radius", "supervision.walk_steps", last="or")
    line = (
        f"the walk makes labels worse: {stage_title(after)} {new:.1f} mIoU on held-out photos, {stage_title(before)} "
        f"{old:.1f}: set {listed(ways, last='or')}, so that labels are those before it, or lower {less}"
    )
    return [RunWarning("worse by the walk", (), line)]


def _held_out(metrics: Mapping[str, float], run: RunInfo) -> list[str]:
    """Classes that enough held-out photos have."""
    return [name for name in run.class_names if metrics.get(PHOTOS + name, 0) >= LEAST_PHOTOS]


def _term(run: RunInfo, target: str) -> str:
    """Name of the loss term that needs a target."""
    usual = {PIXELS: "segmentation", PAIRS: "affinity"}[target]
    return (run.trained or {}).get(target, usual)
