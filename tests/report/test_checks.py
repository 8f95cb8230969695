from __future__ import annotations

import math

import numpy as np
import pytest

from afa_wsss.report.checks import affinity_warnings, branch_warnings, class_branch_warnings
from afa_wsss.report.run import RunInfo
from afa_wsss.report.run_warnings import run_warnings
from afa_wsss.report.warning import listed, settings_text
from afa_wsss.types import WALK_LABELS

CONFIG = {
    "data": {"crop_size": 256, "scale": [0.5, 2.0]},
    "model": {"pooling": "max"},
    "supervision": {"low": 0.35, "high": 0.55, "alpha": 2.0},
    "optimizer": {"logits_lr_factor": 10.0},
    "trainer": {"max_steps": 400},
    "loss": {"segmentation": {"weight": 0.1, "first_step": 200}, "affinity": {"weight": 0.5}},
}
RUN = RunInfo(
    name="run",
    class_names=["cow", "horse", "sheep"],
    palette=np.zeros((4, 3), np.uint8),
    stages=("cam", "pseudo_label", "segmentation"),
    losses=(),
    marks={},
    facts=(),
    settings="",
    thresholds={"supervision.low": 0.35, "supervision.high": 0.55},
    config=CONFIG,
)
PHOTOS = {"val/photos": 100.0} | {f"val/class_photos/{name}": 30.0 for name in RUN.class_names}
HEALTHY = PHOTOS | {
    **{f"val/predicted_photos/{name}": 40.0 for name in RUN.class_names},
    **{f"val/cam_border/{name}": 20.0 for name in RUN.class_names},
    **{f"val/{where}_auc/{name}": 97.0 for name in RUN.class_names for where in ("inside", "outside")},
    **{f"val/outside_evidence/{name}": 30.0 for name in RUN.class_names},
    "val/affinity/mean": 0.7,
    "val/affinity/spread": 0.4,
    "val/affinity/below": 20.0,
    "val/affinity/above": 70.0,
    "val/pseudo_label_miou": 60.0,
    "val/miou": 50.0,
}


def only(metrics: dict[str, float], run: RunInfo = RUN) -> str:
    (warning,) = run_warnings(metrics, run)
    return warning.line


def test_healthy_scores_and_none_raise_no_warning():
    assert run_warnings(HEALTHY, RUN) == []
    assert run_warnings({}, RUN) == []
    assert run_warnings(dict.fromkeys(HEALTHY, math.nan), RUN) == []


def test_a_class_that_is_never_predicted():
    missed = HEALTHY | {"val/predicted_photos/cow": 0.0, "val/predicted_photos/sheep": 0.0}
    what = "the segmentation branch never predicts classes that held-out photos have: "
    raised = "raise loss.segmentation.weight (now 0.1) or trainer.max_steps (now 400)"
    assert only(missed) == f"{what}cow (30) and sheep (30); labels show them: {raised}"
    labels = {"train/labels/class/cow": 0.0, "train/labels/class/sheep": 2.0, "val/labels/pseudo_label/class/cow": 0.0}
    unlabeled, labeled = branch_warnings(missed | labels, RUN)
    lower = "lower supervision.low (now 0.35) and supervision.high (now 0.55)"
    assert unlabeled.line == f"{what}cow (30); no label shows them either: {lower}"
    assert labeled.line == f"{what}sheep (30); labels show them: {raised}"
    assert (unlabeled.kind, unlabeled.subjects, labeled.subjects) == (labeled.kind, ("cow",), ("sheep",))


def test_a_class_of_small_objects_is_predicted_where_masks_say_so():
    missed = HEALTHY | {"val/predicted_photos/cow": 0.0}
    assert run_warnings(missed | {"val/iou/cow": 71.0}, RUN) == []
    assert "never predicts" in only(missed | {"val/iou/cow": 0.2})
    without_masks = {name: value for name, value in missed.items() if not name.endswith("miou")}
    assert "held-out photos have, areas below a thousandth of a photo left out: cow (30)" in only(without_masks)


def test_a_rare_class_may_be_missed():
    rare = {"val/class_photos/cow": 4.0, "val/predicted_photos/cow": 0.0, "val/cam_border/cow": 90.0}
    assert run_warnings(HEALTHY | rare, RUN) == []


def test_a_class_that_is_predicted_nearly_everywhere():
    assert only(HEALTHY | {"val/predicted_photos/cow": 97.0}) == (
        "the segmentation branch predicts cow in 97 % of the held-out photos, 30 % have it: raise trainer.max_steps "
        "(now 400), or add photos without it"
    )
    common = {"val/predicted_photos/cow": 97.0, "val/class_photos/cow": 60.0}
    assert run_warnings(HEALTHY | common, RUN) == []


def test_a_branch_far_below_its_labels():
    assert only(HEALTHY | {"val/miou": 41.9}) == (
        "the segmentation branch is far below the labels it learns from: 41.9 mIoU on held-out photos, pseudo label "
        "60.0: raise loss.segmentation.weight (now 0.1) or trainer.max_steps (now 400), or lower "
        "loss.segmentation.first_step (now 200), or set inference.gate to auto"
    )
    assert run_warnings(HEALTHY | {"val/miou": 1.0, "val/pseudo_label_miou": 5.0}, RUN) == []


def test_labels_that_the_walk_makes_worse():
    stages = ("cam", "cam_par", "walk", "pseudo_label", "segmentation")
    config = {"supervision": {"walk_first_step": 324, "walk_radius": 8, "radius": 4, "walk_steps": 3}}
    run = RUN._replace(stages=stages, config=config, begun=[WALK_LABELS])
    lost = HEALTHY | {"val/cam_par_miou": 62.1, "val/walk_miou": 55.0}
    assert only(lost, run) == (
        "the walk makes labels worse: pseudo label 60.0 mIoU on held-out photos, CAM + PAR 62.1: set "
        "supervision.walk_first_step (now 324) to null, so that labels are those before it, or lower "
        "supervision.walk_radius (now 8), supervision.radius (now 4) or supervision.walk_steps (now 3)"
    )
    always = run._replace(config={"supervision": {**config["supervision"], "walk_when": "always"}})
    both = "set supervision.walk_when (now always) to better or supervision.walk_first_step (now 324) to null"
    assert both in only(lost, always)
    assert run_warnings(lost, run._replace(begun=["labels from the CAM"])) == []
    assert run_warnings(lost | {"val/cam_par_miou": 61.9}, run) == []
    assert run_warnings(lost, run._replace(stages=("cam", "cam_par", "segmentation"))) == []


def test_cams_at_the_border():
    assert only(HEALTHY | {"val/cam_border/horse": 61.4}) == (
        "CAMs lie at the border of the photos, 36 % of the area: 61 % of the mass of horse; if the pictures show "
        "background there, add photos of it without the class, or change data.scale (now [0.5, 2]) or model.pooling "
        "(now max)"
    )


def test_a_class_that_the_background_tells():
    told = HEALTHY | {"val/outside_evidence/cow": 66.0}
    assert only(told) == (
        "what lies outside of their CAMs tells classes as well as what lies inside: cow (AUC 0.97, inside 0.97): add "
        "photos of the same background without the class, or change data.crop_size (now 256), supervision.low (now "
        "0.35) or supervision.high (now 0.55)"
    )
    for less in ({"val/outside_auc/cow": 89.0, "val/inside_auc/cow": 90.0}, {"val/outside_auc/cow": 93.9}):
        assert class_branch_warnings(told | less, RUN) == []


@pytest.mark.parametrize(
    ("end", "limit", "lower"),
    [
        (0, "below 0.01", "optimizer.logits_lr_factor (now 10) and supervision.alpha (now 2)"),
        (1, "above 0.99", "optimizer.logits_lr_factor (now 10)"),
    ],
)
def test_a_saturated_affinity(end, limit, lower):
    shares = {"val/affinity/below": 99.0 * (1 - end), "val/affinity/above": 99.0 * end}
    assert only(HEALTHY | shares | {"val/affinity/spread": 0.01}) == (
        f"the affinity is saturated at {end}, 99 % of the pairs of near tokens are {limit}: lower {lower}, or raise "
        "loss.affinity.weight (now 0.5)"
    )
    assert affinity_warnings(HEALTHY | shares | {"val/affinity/spread": 0.06}, RUN) == []


def test_nothing_is_judged_before_it_is_trained():
    wrong = HEALTHY | {"val/predicted_photos/cow": 0.0, "val/miou": 4.0}
    wrong |= {"val/affinity/above": 99.0, "val/affinity/spread": 0.0}
    assert run_warnings(wrong, RUN._replace(trained={"image_labels": "classification"})) == []
    trained = RUN._replace(trained={"pseudo_label": "own", "affinity_label": "pairs"})
    config = {"loss": {"own": {"weight": 0.3}, "pairs": {"weight": 0.2}}}
    affinity, missed, worse = run_warnings(wrong, trained._replace(config=config))
    assert affinity.line.endswith("lower optimizer.logits_lr_factor, or raise loss.pairs.weight (now 0.2)")
    assert missed.line.endswith("raise loss.own.weight (now 0.3)")
    assert "raise loss.own.weight (now 0.3), or lower loss.own.first_step" in worse.line


def test_settings_and_lists():
    assert settings_text(RUN, "trainer.max_steps", "model.depth") == "trainer.max_steps (now 400)"
    assert settings_text(RUN, "a.b", "c") == "a.b and c"
    run = RUN._replace(config={"a": None, "b": True, "c": 1e-4})
    assert settings_text(run, "a", "b", "c", last="or") == "a (now null), b (now True) or c (now 0.0001)"


def test_background_scores_that_find_themselves_have_the_value_that_was_found():
    config = {"supervision": {"low": "auto", "high": 0.5, "walk_low": None}}
    found = {"supervision.low": 0.347, "supervision.high": 0.5, "supervision.walk_low": 0.41}
    run = RUN._replace(config=config, thresholds=found)
    text = "supervision.low (now 0.35, found), supervision.high (now 0.5) and supervision.walk_low (now 0.41, found)"
    assert settings_text(run, *found) == text
    assert listed([]) == ""
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"


WALKED = ("cam", "cam_par", "walk", "pseudo_label", "segmentation")


def test_before_the_walk_begins_labels_are_those_before_it():
    """A walk that nothing learns from yet is not judged, whatever it does to the labels."""
    shares = {f"val/labels/cam_par/{kind}": share for kind, share in (("foreground", 20.0), ("background", 80.0))}
    shares |= {"val/labels/pseudo_label/foreground": 0.1, "val/labels/pseudo_label/background": 99.9}
    shares |= {f"val/labels/{stage}/unknown": 0.0 for stage in ("cam_par", "pseudo_label")}
    scores = HEALTHY | shares | {"val/cam_par_miou": 55.0, "val/pseudo_label_miou": 90.0}
    early = RUN._replace(stages=WALKED, begun=["labels from the CAM"], trained={"pseudo_label": "segmentation"})
    assert (early.label_stage, run_warnings(scores, early)) == ("cam_par", [])
    late = early._replace(begun=["labels from the CAM", WALK_LABELS])
    assert late.label_stage == late._replace(begun=None).label_stage == "pseudo_label"
    assert [warning.kind for warning in run_warnings(scores, late)] == ["labels", "worse than labels"]
    assert RUN._replace(stages=("segmentation",)).label_stage is None


def test_with_a_gate_it_is_named():
    gated, ungated = (RUN._replace(config=CONFIG | {"inference": {"gate": gate}}) for gate in (0.9, None))
    never, below = HEALTHY | {"val/predicted_photos/cow": 0.0}, HEALTHY | {"val/miou": 20.0}
    assert only(never, gated) == f"{only(never)}, or set inference.gate (now 0.9) to none"
    assert only(never, ungated) == only(never)
    assert only(below, gated).endswith("(now 200), or set inference.gate (now 0.9) to none")
    assert only(below, ungated).endswith("(now 200), or set inference.gate (now null) to auto")


def test_label_makers_without_background_scores_have_none_to_lower():
    unlabeled = {
        "val/predicted_photos/cow": 0.0,
        "train/labels/class/cow": 0.0,
        "val/labels/pseudo_label/class/cow": 0.0,
    }
    line = only(HEALTHY | unlabeled, RUN._replace(thresholds={}))
    assert line.endswith("cow (30); no label shows them either: look at the pictures of the labels")


def test_a_walk_that_never_begins():
    never = RUN._replace(walk_never_begins=900, trained={"pseudo_label": "segmentation"})
    assert only(HEALTHY, never) == (
        "no label of the training comes from the walk: it ends before step 900: lower supervision.walk_first_step, "
        "or set it to null if that is meant, or raise trainer.max_steps (now 400)"
    )
    assert not run_warnings(HEALTHY, never._replace(trained={}))  # no loss term learns from labels at all


def test_losses_that_never_begin():
    never = RUN._replace(never_begun={"segmentation": 2001, "affinity": 2001})
    assert only(HEALTHY, never) == (
        "segmentation and affinity never count: training ends before step 2001, at which they would begin: lower "
        "loss.segmentation.first_step (now 200), or raise trainer.max_steps (now 400)"
    )
